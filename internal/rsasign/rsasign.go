// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rsasign decides who computes RSA signatures: OpenSSL, which on CPUs with AVX512-IFMA needs a quarter of the
// time, or Go, which runs everywhere.
//
// A build with the tag openssl (and cgo) loads libcrypto when the first key comes; one that cannot says why and goes on
// with Go. A build without the tag has no C in it. Both sign the same octets: PKCS #1 v1.5 has no chance in it.
package rsasign

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// Engine is what computes RSA signatures in this process.
type Engine struct {
	// Name is for people, such as "OpenSSL 3.0.19 27 Jan 2026" or "Go 1.26.8".
	Name string
	// Missing is why an engine that this build was made for is not the one; nil if it is, or if there is none.
	Missing error

	// hold moves a private key into the engine; nil where the key is Go's already.
	hold func(*rsa.PrivateKey) (crypto.Signer, error)
}

// Current returns the engine of this process, and loads it the first time.
var Current = sync.OnceValue(open)

// goEngine is crypto/rsa; missing is why it stands in for another.
func goEngine(missing error) Engine {
	return Engine{Name: "Go " + strings.TrimPrefix(runtime.Version(), "go"), Missing: missing}
}

// Hold hands a key pair over to the engine of this process. What is not RSA stays with Go, and so does an RSA key that
// the engine does not take or does not sign well with.
func Hold(pair dkim.KeyPair) dkim.KeyPair { return Current().Hold(pair) }

// Hold hands a key pair over to the engine. The copy that Go had is not referred to by the result.
func (e Engine) Hold(pair dkim.KeyPair) dkim.KeyPair {
	if e.hold == nil {
		return pair
	}
	held, err := pair.HeldBy(func(private crypto.Signer) (crypto.Signer, error) {
		key, isRSA := private.(*rsa.PrivateKey)
		if !isRSA {
			return private, nil
		}
		return e.try(key)
	})
	if err != nil {
		return pair
	}
	return held
}

// String names the engine, and says what is missing.
func (e Engine) String() string {
	if e.Missing != nil {
		return fmt.Sprintf("%s, since %v", e.Name, e.Missing)
	}
	return e.Name
}

// errTwoPrimes says that a key is of a kind that engines know little of (RFC 8017 §3.2, multi-prime).
var errTwoPrimes = errors.New("the key has not two primes")

// try hands a key over and has it sign once: nothing is signed by an engine that was not seen to sign with this key.
func (e Engine) try(key *rsa.PrivateKey) (crypto.Signer, error) {
	if len(key.Primes) != 2 {
		return nil, errTwoPrimes
	}
	held, err := e.hold(key)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("maildomain-operator"))
	signature, err := held.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return held, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature)
}
