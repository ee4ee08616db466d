// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package operator_test

// manyDomains is smaller under the race detector, which makes keys many times slower.
const manyDomains = 40
