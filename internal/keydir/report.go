// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import "time"

// Report is what a signer says at /keys: which keys it holds, and since when.
//
// The operator reads it as evidence that a selector is in use or out of use.
// It holds no private key.
type Report struct {
	// Time is the signer's clock when it answered.
	Time time.Time `json:"time"`
	// Read is when the key tree was last read; zero: never.
	Read time.Time `json:"read"`
	// Blind is why domains may exist that are not listed; empty if there can be none.
	Blind   string         `json:"blind,omitempty"`
	Faults  []ReportFault  `json:"faults"`
	Domains []ReportDomain `json:"domains"`
}

// ReportFault is what is wrong with a directory, a file or a domain.
type ReportFault struct {
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// ReportDomain is one domain that a signer speaks for.
type ReportDomain struct {
	Domain string `json:"domain"`
	// State is signing, keyless, stale (kept from an earlier reading) or unread (never read well).
	State      string      `json:"state"`
	Required   bool        `json:"required"`
	Subdomains bool        `json:"subdomains"`
	Since      time.Time   `json:"since"`
	Fault      string      `json:"fault,omitempty"`
	Keys       []ReportKey `json:"keys"`
}

// ReportKey is one key that signs.
type ReportKey struct {
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"` // as in a=
	// PublicKeySHA256 is that of dkim.KeyPair, in hex.
	PublicKeySHA256 string    `json:"publicKeySHA256"`
	Since           time.Time `json:"since"`
	// Unused is why the key does not sign for now; empty: it does.
	Unused string `json:"unused,omitempty"`
}
