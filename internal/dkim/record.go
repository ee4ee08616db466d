// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// MaxRecord is how long a key record may be, in octets: far more than a key of 4096 bits with notes needs.
const MaxRecord = 8192

// version is the one value of v= (RFC 6376 §3.6.1).
const version = "DKIM1"

// Record is a DKIM key record: what a verifier learns about a selector (RFC 6376 §3.6.1).
//
// The zero value of a field is its default, which is not printed. Tags that the RFC does not know, among them the
// historic g=, are read over.
type Record struct {
	// KeyType is k=, in lower case: "rsa" (also where the tag is missing), "ed25519" or one that we do not know.
	KeyType string
	// Key is p=, decoded; empty means that the key was revoked.
	Key []byte
	// Hashes is h=, the hash algorithms that the key may be used with; empty means all.
	Hashes []string
	// Services is s=; empty means all ("*").
	Services []string
	// Flags is t=: "y" for a domain that tests DKIM, "s" for one whose signatures may not name subdomains in i=.
	Flags []string
	// Notes is n=, for people, in its quoted-printable form.
	Notes string
}

// NewRecord makes the record of a public key: an *rsa.PublicKey of 1024 to 4096 bits or an ed25519.PublicKey.
func NewRecord(key crypto.PublicKey) (Record, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil {
			return Record{}, errors.New("DKIM key record: no public key was given")
		}
		if err := checkBits(key.N.BitLen()); err != nil {
			return Record{}, fmt.Errorf("DKIM key record: %w", err)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return Record{}, fmt.Errorf("DKIM key record: %w", err)
		}
		return Record{KeyType: RSA.KeyType(), Key: der}, nil
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return Record{}, fmt.Errorf("DKIM key record: an Ed25519 key has %d octets, not %d", ed25519.PublicKeySize, len(key))
		}
		// RFC 8463 §4.2: the raw 32 octets, not SubjectPublicKeyInfo as for RSA.
		return Record{KeyType: Ed25519.KeyType(), Key: slices.Clone(key)}, nil
	default:
		return Record{}, fmt.Errorf("DKIM key record: a key of type %T is neither RSA nor Ed25519", key)
	}
}

// RevokedRecord is what replaces the record of a key that must not be trusted any more: its p= is empty.
func RevokedRecord(a Algorithm) Record {
	return Record{KeyType: a.KeyType()}
}

// ParseRecord reads the logical value of a key record.
//
// It reads what a verifier would (RFC 6376 §3.6.1); whether p= holds a usable key is PublicKey's to say. Errors are for
// records that a verifier must discard, and for those longer than MaxRecord.
func ParseRecord(value string) (Record, error) {
	record, err := parseRecord(value)
	if err != nil {
		return Record{}, fmt.Errorf("DKIM key record: %w", err)
	}
	return record, nil
}

func parseRecord(value string) (Record, error) {
	if len(value) > MaxRecord {
		return Record{}, fmt.Errorf("is longer than %d octets", MaxRecord)
	}
	tags, err := dnsrecord.ParseTags(value)
	if err != nil {
		return Record{}, err
	}
	if err := checkVersion(tags); err != nil {
		return Record{}, err
	}
	p, found := tags.Get("p")
	if !found {
		return Record{}, errors.New("has no p= with the public key (an empty p= would mean that the key was revoked)")
	}
	record := Record{KeyType: RSA.KeyType()}
	if record.Key, err = base64.StdEncoding.DecodeString(dnsrecord.RemoveBlanks(p)); err != nil {
		return Record{}, errors.New("p= is not base64: the record was cut or changed on its way into the DNS")
	}
	if len(record.Key) == 0 {
		record.Key = nil
	}
	if k, found := tags.Get("k"); found {
		if !isKeyword(k) {
			return Record{}, fmt.Errorf("k=%s is no name of a key type", dnsrecord.Quote(k))
		}
		record.KeyType = strings.ToLower(k)
	}
	if record.Hashes, err = list(tags, "h"); err != nil {
		return Record{}, err
	}
	if record.Services, err = list(tags, "s"); err != nil {
		return Record{}, err
	}
	if record.Flags, err = list(tags, "t"); err != nil {
		return Record{}, err
	}
	record.Notes, _ = tags.Get("n")
	return record, nil
}

// checkVersion holds v= to RFC 6376 §3.6.1: it may be missing, but otherwise comes first and says DKIM1, in this case.
func checkVersion(tags dnsrecord.Tags) error {
	v, found := tags.Get("v")
	switch {
	case !found:
		return nil
	case tags[0].Name != "v":
		return errors.New("v= is not the first tag (RFC 6376 §3.6.1)")
	case v != version:
		return fmt.Errorf("v=%s is not DKIM1", dnsrecord.Quote(v))
	}
	return nil
}

// list reads a colon-separated list of keywords; the names in h=, s= and t= have no case (RFC 5234 §2.3).
func list(tags dnsrecord.Tags, name string) ([]string, error) {
	value, found := tags.Get(name)
	if !found {
		return nil, nil
	}
	var items []string
	for item := range strings.SplitSeq(value, ":") {
		item = strings.ToLower(dnsrecord.TrimBlanks(item))
		if !isKeyword(item) && (name != "s" || item != "*") {
			return nil, fmt.Errorf("%s= has %s, which is not a name", name, dnsrecord.Quote(item))
		}
		items = append(items, item)
	}
	return items, nil
}

// hyphenated-word = ALPHA [ *(ALPHA / DIGIT / "-") (ALPHA / DIGIT) ] (RFC 6376 §3.6.1).
func isKeyword(s string) bool {
	s = strings.ToLower(s)
	if s == "" || s[0] < 'a' || s[0] > 'z' || strings.HasSuffix(s, "-") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// String prints the record: v= first, then k= even where it is the default, p= last.
func (r Record) String() string {
	var b strings.Builder
	b.WriteString("v=" + version)
	tag := func(name, value string) {
		if value != "" {
			b.WriteString("; " + name + "=" + value)
		}
	}
	tag("h", strings.Join(r.Hashes, ":"))
	tag("k", r.KeyType)
	tag("n", r.Notes)
	tag("s", strings.Join(r.Services, ":"))
	tag("t", strings.Join(r.Flags, ":"))
	b.WriteString("; p=" + base64.StdEncoding.EncodeToString(r.Key))
	return b.String()
}

// Revoked says whether p= is empty: signatures with this selector are to fail (RFC 6376 §3.6.1).
func (r Record) Revoked() bool {
	return len(r.Key) == 0
}

// Testing says whether t= has the flag y. It gives signatures no leniency (RFC 6376 §3.6.1).
func (r Record) Testing() bool {
	return slices.Contains(r.Flags, "y")
}

// StrictIdentity says whether t= has the flag s: i= of a signature must be at d= itself, not below it (RFC 6376 §3.6.1).
func (r Record) StrictIdentity() bool {
	return slices.Contains(r.Flags, "s")
}

// ForEmail says whether s= allows the key to sign mail.
func (r Record) ForEmail() bool {
	return len(r.Services) == 0 || slices.Contains(r.Services, "*") || slices.Contains(r.Services, "email")
}

// AllowsSHA256 says whether h= allows the one hash that is in use (RFC 8301 §3.1).
func (r Record) AllowsSHA256() bool {
	return len(r.Hashes) == 0 || slices.Contains(r.Hashes, "sha256")
}

// PublicKeySHA256 names the public key: the SHA-256 of the decoded p=, in hexadecimal; "" for a revoked key.
func (r Record) PublicKeySHA256() string {
	if r.Revoked() {
		return ""
	}
	sum := sha256.Sum256(r.Key)
	return hex.EncodeToString(sum[:])
}

// PublicKey returns the key in p=: an *rsa.PublicKey or an ed25519.PublicKey.
//
// It is an error if the key was revoked, is of a type that we do not know, does not decode or has a length that
// RFC 8301 §3.2 refuses (KeyLengthError).
func (r Record) PublicKey() (crypto.PublicKey, error) {
	key, err := r.publicKey()
	if err != nil {
		return nil, fmt.Errorf("DKIM key record: %w", err)
	}
	return key, nil
}

func (r Record) publicKey() (crypto.PublicKey, error) {
	if r.Revoked() {
		return nil, errors.New("the key was revoked: p= is empty")
	}
	switch r.KeyType {
	case RSA.KeyType():
		return parseRSA(r.Key)
	case Ed25519.KeyType():
		return parseEd25519(r.Key)
	default:
		return nil, fmt.Errorf("k=%s is not a key type that we know", dnsrecord.Quote(r.KeyType))
	}
}

// parseRSA reads SubjectPublicKeyInfo, as everyone publishes it, or RSAPublicKey, as RFC 6376 §3.6.1 says by its letter.
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	var key *rsa.PublicKey
	if pkix, err := x509.ParsePKIXPublicKey(der); err == nil {
		var isRSA bool
		if key, isRSA = pkix.(*rsa.PublicKey); !isRSA {
			return nil, errors.New("k= says rsa, but p= holds a key of another type")
		}
	} else if key, err = x509.ParsePKCS1PublicKey(der); err != nil {
		if len(der) == ed25519.PublicKeySize {
			return nil, errors.New("k= says rsa, but p= has 32 octets as an Ed25519 key has: k=ed25519 is missing")
		}
		return nil, errors.New("p= does not hold an RSA public key: the record was cut or changed on its way into the DNS")
	}
	if err := checkBits(key.N.BitLen()); err != nil {
		return nil, err
	}
	return key, nil
}

// ed25519SPKI is what precedes the 32 octets in SubjectPublicKeyInfo (RFC 8410 §4).
const ed25519SPKI = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

func parseEd25519(raw []byte) (ed25519.PublicKey, error) {
	switch {
	case len(raw) == ed25519.PublicKeySize:
		return slices.Clone(raw), nil
	case len(raw) == len(ed25519SPKI)+ed25519.PublicKeySize && strings.HasPrefix(string(raw), ed25519SPKI):
		return nil, fmt.Errorf("p= holds the Ed25519 key as SubjectPublicKeyInfo (44 octets): RFC 8463 §4.2 wants the raw key, "+
			"the last 32 of them: p=%s", base64.StdEncoding.EncodeToString(raw[len(ed25519SPKI):]))
	default:
		return nil, fmt.Errorf("p= has %d octets, but an Ed25519 key has 32 (RFC 8463 §4.2)", len(raw))
	}
}

// KeyLengthError says that an RSA key has a length that verifiers refuse (RFC 8301 §3.2).
type KeyLengthError struct{ Bits int }

func (e KeyLengthError) Error() string {
	if e.Bits < MinRSABits {
		return fmt.Sprintf("an RSA key of %d bits is too short: verifiers refuse fewer than %d (RFC 8301 §3.2)", e.Bits, MinRSABits)
	}
	return fmt.Sprintf("an RSA key of %d bits is too long: verifiers need not accept more than %d (RFC 8301 §3.2)", e.Bits, MaxRSABits)
}

func checkBits(bits int) error {
	if bits < MinRSABits || bits > MaxRSABits {
		return KeyLengthError{bits}
	}
	return nil
}
