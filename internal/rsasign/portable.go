// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !openssl

package rsasign

func open() Engine { return goEngine(nil) }
