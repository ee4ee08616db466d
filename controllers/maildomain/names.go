// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	maxName    = 253 // of an object
	maxManager = 128 // of a field manager
)

// childName names a DKIMKey after its MailDomain and selector. It is the same whenever it is computed, so that a crash
// after creating a key never makes a second one.
func childName(domain, selector string) string {
	return bounded(domain+"-"+strings.ToLower(selector), maxName)
}

// bounded cuts a name that is too long and makes it distinct by a hash of the whole.
func bounded(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "-" + hex.EncodeToString(sum[:8])
	return strings.TrimRight(name[:limit-len(hash)], "-.") + hash
}
