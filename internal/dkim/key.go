// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeyPair is a private key with its public record. It shows its public half only, however it is printed or encoded.
//
// The zero KeyPair has no key; IsZero tells it.
type KeyPair struct {
	algorithm Algorithm
	bits      int
	// sha256 is the name of the public key, by which key pairs are compared and shown.
	sha256 string
	// private returns the private key. It is a func because no printer, encoder or dumper looks inside one: a field with the
	// key would be shown by reflection wherever a KeyPair stands in an unexported field of another struct.
	private func() crypto.Signer
}

// Generate makes a new key pair from the operating system's randomness.
//
// bits is 2048, 3072 or 4096 for RSA, 0 meaning 2048; for Ed25519 it is 0. A long RSA key takes seconds: the context is looked
// at before and after.
func Generate(ctx context.Context, a Algorithm, bits int) (KeyPair, error) {
	if err := ctx.Err(); err != nil {
		return KeyPair{}, fmt.Errorf("generate a DKIM key: %w", err)
	}
	pair, err := generate(a, bits)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return KeyPair{}, fmt.Errorf("generate a DKIM key: %w", err)
	}
	return pair, nil
}

func generate(a Algorithm, bits int) (KeyPair, error) {
	switch a {
	case RSA:
		if bits == 0 {
			bits = DefaultRSABits
		}
		if bits != 2048 && bits != 3072 && bits != 4096 {
			return KeyPair{}, fmt.Errorf("an RSA key has 2048, 3072 or 4096 bits, not %d", bits)
		}
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return KeyPair{}, err
		}
		return newKeyPair(key)
	case Ed25519:
		if bits != 0 {
			return KeyPair{}, fmt.Errorf("an Ed25519 key has one length: leave the bits out instead of asking for %d", bits)
		}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return KeyPair{}, err
		}
		return newKeyPair(key)
	default:
		return KeyPair{}, fmt.Errorf("algorithm %q is neither RSA nor Ed25519", string(a))
	}
}

// newKeyPair takes an *rsa.PrivateKey or an ed25519.PrivateKey.
func newKeyPair(private crypto.Signer) (KeyPair, error) {
	record, err := NewRecord(private.Public())
	if err != nil {
		return KeyPair{}, err
	}
	pair := KeyPair{sha256: record.PublicKeySHA256(), private: func() crypto.Signer { return private }}
	switch key := private.(type) {
	case *rsa.PrivateKey:
		pair.algorithm, pair.bits = RSA, key.N.BitLen()
	case ed25519.PrivateKey:
		pair.algorithm, pair.bits = Ed25519, 8*ed25519.PublicKeySize
	default:
		return KeyPair{}, errors.New("the private key is neither RSA nor Ed25519")
	}
	return pair, nil
}

// IsZero says whether there is no key.
func (k KeyPair) IsZero() bool {
	return k.private == nil
}

// Algorithm returns the kind of key; "" for the zero KeyPair.
func (k KeyPair) Algorithm() Algorithm {
	return k.algorithm
}

// Bits returns the length of an RSA modulus, 256 for Ed25519, 0 for the zero KeyPair.
func (k KeyPair) Bits() int {
	return k.bits
}

// Record returns the record that belongs in the DNS; for the zero KeyPair the zero Record.
func (k KeyPair) Record() Record {
	if k.IsZero() {
		return Record{}
	}
	record, err := NewRecord(k.private().Public())
	if err != nil {
		return Record{} // newKeyPair has made this same record before
	}
	return record
}

// PublicKeySHA256 names the public key: the SHA-256 of the decoded p=, in hexadecimal; "" for the zero KeyPair.
func (k KeyPair) PublicKeySHA256() string {
	return k.sha256
}

// Equal says whether both are the same key.
func (k KeyPair) Equal(other KeyPair) bool {
	return k.sha256 == other.sha256
}

// Signer returns what signs with the private key and tells the public key; nil for the zero KeyPair. It prints as KeyPair does.
//
// It is safe for concurrent use.
func (k KeyPair) Signer() crypto.Signer {
	if k.IsZero() {
		return nil
	}
	return signer{k}
}

// HeldBy returns the same key pair with its private key in the keeping of another implementation, such as a C library:
// hold is given the private key and returns what signs from then on. The result has no PEM form.
func (k KeyPair) HeldBy(hold func(crypto.Signer) (crypto.Signer, error)) (KeyPair, error) {
	if k.IsZero() {
		return k, nil
	}
	held, err := hold(k.private())
	if err != nil {
		return KeyPair{}, fmt.Errorf("%s: %w", k, err)
	}
	k.private = func() crypto.Signer { return held }
	return k, nil
}

// signer keeps the private key out of sight as KeyPair does, wherever a crypto.Signer is stored or printed.
type signer struct {
	KeyPair
}

func (s signer) Public() crypto.PublicKey {
	return s.private().Public()
}

func (s signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private().Sign(random, digest, opts)
}

// String describes the key without its private half: its algorithm, length and the start of its public hash.
func (k KeyPair) String() string {
	switch {
	case k.IsZero():
		return "no DKIM key"
	case k.algorithm == RSA:
		return fmt.Sprintf("RSA %d key %.16s", k.bits, k.sha256)
	default:
		return fmt.Sprintf("%s key %.16s", k.algorithm, k.sha256)
	}
}

// GoString is String, for %#v.
func (k KeyPair) GoString() string {
	return k.String()
}

// Format prints String for every verb, so that %x or %d cannot reach the fields.
func (k KeyPair) Format(state fmt.State, _ rune) {
	// A failed write has nobody to hear of it here, as in the rest of package fmt.
	_, _ = io.WriteString(state, k.String())
}

// MarshalText encodes String: for JSON, YAML and XML. There is no way back; PEM is the form that can be stored.
func (k KeyPair) MarshalText() ([]byte, error) {
	return []byte(k.String()), nil
}

// MarshalJSON encodes String.
func (k KeyPair) MarshalJSON() ([]byte, error) {
	return []byte(`"` + k.String() + `"`), nil
}

// LogValue is String, for slog.
func (k KeyPair) LogValue() slog.Value {
	return slog.StringValue(k.String())
}

// MarshalLog is String, for logr.
func (k KeyPair) MarshalLog() any {
	return k.String()
}
