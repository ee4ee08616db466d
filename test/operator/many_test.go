// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package operator_test

// manyDomains is how many MailDomains share a signing Secret.
const manyDomains = 300
