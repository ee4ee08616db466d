// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// MaxPEM is how long a PEM file may be, in octets: a key of 4096 bits with remarks around it is far shorter.
const MaxPEM = 32 << 10

// The labels of the two forms that we read (RFC 7468 §10 and its predecessor of PKCS #1).
const (
	labelPKCS8 = "PRIVATE KEY"
	labelPKCS1 = "RSA PRIVATE KEY"
)

// PEM returns the private key as PKCS#8 PEM, the one form that this project writes (RFC 5958).
func (k KeyPair) PEM() ([]byte, error) {
	if k.IsZero() {
		return nil, errors.New("write a DKIM key as PEM: there is no key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private())
	if err != nil {
		return nil, fmt.Errorf("write a DKIM key as PEM: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: labelPKCS8, Bytes: der}), nil
}

// ParsePEM reads a private key: RSA of 1024 to 4096 bits as PKCS#1 or PKCS#8, Ed25519 as PKCS#8.
//
// Text around the one private key, and its public half, are passed over. An error says what the file holds instead
// and what to do, and never repeats a piece of it.
//
// A file that was read before costs next to nothing as long as somebody holds what came of it.
func ParsePEM(data []byte) (KeyPair, error) {
	if len(data) > MaxPEM {
		return KeyPair{}, fmt.Errorf("private key: is longer than %d octets: this is no DKIM key", MaxPEM)
	}
	return inUse.read(data, func() (KeyPair, error) {
		pair, err := parsePEM(data)
		if err != nil {
			return KeyPair{}, fmt.Errorf("private key: %w", err)
		}
		return pair, nil
	})
}

func parsePEM(data []byte) (KeyPair, error) {
	block, err := privateBlock(data)
	if err != nil {
		return KeyPair{}, err
	}
	private, err := parseBlock(block)
	if err != nil {
		return KeyPair{}, err
	}
	return newKeyPair(private)
}

// privateBlock finds the one private key among the blocks of a file.
func privateBlock(data []byte) (*pem.Block, error) {
	var found *pem.Block
	var other error
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if err := explainBlock(block); err != nil {
			if other == nil {
				other = err
			}
			continue
		}
		if found != nil {
			return nil, errors.New("holds more than one private key: keep the one that belongs to this selector")
		}
		found = block
	}
	switch {
	case found != nil:
		return found, nil
	case other != nil:
		return nil, other
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return nil, errors.New(`is damaged PEM: each line must be a line of its own (no literal "\n"), and the END line must match the BEGIN line`)
	default:
		return nil, errors.New(`is not PEM: it must begin with a line "-----BEGIN PRIVATE KEY-----"`)
	}
}

// explainBlock says why a block is not a key that we read; nil if it may be one.
func explainBlock(block *pem.Block) error {
	switch label := block.Type; {
	case label == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return errors.New("is encrypted, and nobody is there to type the passphrase: decrypt it with openssl pkey -in FILE")
	case label == labelPKCS1 || label == labelPKCS8:
		return nil
	case label == "EC PRIVATE KEY" || label == "DSA PRIVATE KEY":
		return errors.New("is neither RSA nor Ed25519: DKIM has no signatures for other kinds")
	case label == "OPENSSH PRIVATE KEY":
		return errors.New("is in the form of OpenSSH: DKIM keys are PKCS#8, as openssl genpkey makes them")
	case strings.HasSuffix(label, "PUBLIC KEY"):
		return errors.New("holds only a public key: the private key is wanted")
	default:
		return errors.New(`holds no block "PRIVATE KEY" or "RSA PRIVATE KEY", but one of another kind`)
	}
}

func parseBlock(block *pem.Block) (crypto.Signer, error) {
	pkcs1, isPKCS8 := unwrapPKCS8(block.Bytes)
	switch {
	case block.Type == labelPKCS8 && !isPKCS8 && rsaBits(block.Bytes) > 0:
		return nil, errors.New(`is labelled "PRIVATE KEY" (PKCS#8) but holds PKCS#1: its label should be "RSA PRIVATE KEY"`)
	case block.Type == labelPKCS1 && isPKCS8:
		return nil, errors.New(`is labelled "RSA PRIVATE KEY" (PKCS#1) but holds PKCS#8: its label should be "PRIVATE KEY"`)
	}
	if bits := rsaBits(pkcs1); bits > 0 {
		// Before anything is computed with it: a hostile modulus costs seconds.
		if err := checkBits(bits); err != nil {
			return nil, err
		}
	}
	// The errors of package x509 speak of ASN.1 and may repeat what they read: they go no further.
	if block.Type == labelPKCS1 {
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, errBroken()
		}
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errBroken()
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	default:
		return nil, errors.New("is neither RSA nor Ed25519: DKIM has no signatures for other kinds")
	}
}

func errBroken() error {
	return errors.New("does not decode, or its numbers do not belong together: copy the file again, or make a new key")
}

// unwrapPKCS8 returns the inner key of PrivateKeyInfo (RFC 5958 §2); false and the input if it is none.
func unwrapPKCS8(der []byte) ([]byte, bool) {
	var fields []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &fields); err != nil || len(fields) < 3 {
		return der, false
	}
	if fields[1].Tag != asn1.TagSequence || fields[2].Tag != asn1.TagOctetString {
		return der, false
	}
	return fields[2].Bytes, true
}

// rsaBits returns the length of the modulus in RSAPrivateKey (RFC 8017 §A.1.2), 0 if this is none.
func rsaBits(der []byte) int {
	var fields []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &fields); err != nil || len(fields) < 9 {
		return 0
	}
	modulus := bytes.TrimLeft(fields[1].Bytes, "\x00")
	if fields[1].Tag != asn1.TagInteger || len(modulus) == 0 {
		return 0
	}
	bits := 8 * len(modulus)
	for top := modulus[0]; top < 0x80; top <<= 1 {
		bits--
	}
	return bits
}
