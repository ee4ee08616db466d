// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dkim reads and prints DKIM key records and the key pairs behind them (RFC 6376, RFC 8301, RFC 8463).
package dkim

// Algorithm is a kind of key pair, in the words of our API.
type Algorithm string

// The algorithms of RFC 8301 §3.1 and RFC 8463. Every message is signed with RSA; Ed25519 comes beside it.
const (
	RSA     Algorithm = "RSA"
	Ed25519 Algorithm = "Ed25519"
)

// The lengths of RSA keys, in bits.
const (
	// MinRSABits is the shortest that a verifier may accept (RFC 8301 §3.2).
	MinRSABits = 1024
	// DefaultRSABits is the shortest that a signer should use (RFC 8301 §3.2).
	DefaultRSABits = 2048
	// MaxRSABits is the longest that every verifier must accept (RFC 8301 §3.2), and the longest that we read: the cost of a
	// hostile key grows with its length.
	MaxRSABits = 4096
)

// KeyType returns the value of k= in a key record: "rsa" or "ed25519"; "" for an unknown algorithm.
func (a Algorithm) KeyType() string {
	switch a {
	case RSA:
		return "rsa"
	case Ed25519:
		return "ed25519"
	default:
		return ""
	}
}

// SignatureName returns the value of a= in a signature: "rsa-sha256" or "ed25519-sha256"; "" for an unknown algorithm.
func (a Algorithm) SignatureName() string {
	if keyType := a.KeyType(); keyType != "" {
		return keyType + "-sha256"
	}
	return ""
}
