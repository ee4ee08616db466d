// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package dnsprovider_test

// raceDetector: data races are seen, as in `make test`.
const raceDetector = true
