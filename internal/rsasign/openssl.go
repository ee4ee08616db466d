// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build openssl

package rsasign

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/golang-fips/openssl/v2"
	"github.com/golang-fips/openssl/v2/bbig"
)

// library is the name under which the dynamic linker finds OpenSSL 3: its ABI is the same for all of 3.x.
const library = "libcrypto.so.3"

func open() Engine { return load(library) }

// load loads libcrypto; without it the engine is Go.
func load(file string) Engine {
	if exists, _ := openssl.CheckVersion(file); !exists {
		return goEngine(fmt.Errorf("%s cannot be loaded (Debian: apt-get install libssl3)", file))
	}
	if err := openssl.Init(file); err != nil {
		return goEngine(err)
	}
	return Engine{Name: openssl.VersionText(), hold: hold}
}

// key is an RSA key whose private half is in OpenSSL's memory alone. It is cleared and freed when nothing refers to the
// key any more, so that a message that began before a reload ends with the key that it began with.
type key struct {
	public  rsa.PublicKey
	private *openssl.PrivateKeyRSA
}

func hold(k *rsa.PrivateKey) (crypto.Signer, error) {
	k.Precompute()
	p := k.Precomputed
	private, err := openssl.NewPrivateKeyRSA(
		bbig.Enc(k.N), openssl.BigInt{uint(k.E)}, bbig.Enc(k.D),
		bbig.Enc(k.Primes[0]), bbig.Enc(k.Primes[1]), bbig.Enc(p.Dp), bbig.Enc(p.Dq), bbig.Enc(p.Qinv))
	if err != nil {
		return nil, errors.New("OpenSSL does not take the key") // Its own words may tell of the key.
	}
	return &key{public: k.PublicKey, private: private}, nil
}

// Public returns the public key.
func (k *key) Public() crypto.PublicKey { return &k.public }

// Sign signs a digest by PKCS #1 v1.5. Nothing random is in it but the blinding, for which OpenSSL has its own source.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if len(digest) != opts.HashFunc().Size() {
		return nil, errors.New("the digest has not the length of its hash")
	}
	return openssl.SignRSAPKCS1v15(k.private, opts.HashFunc(), digest)
}
