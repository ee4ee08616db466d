// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// maxKeys is how many key records at one name are tried. There should be one, and a verifier may try each (RFC 6376 §6.1.2).
const maxKeys = 4

// askKey asks for the key of a signature that may yet be good.
func (s *examined) askKey(ctx context.Context, dns Resolver, now time.Time) {
	if s.err == nil {
		s.err = s.checkTime(now)
	}
	if s.err != nil {
		return
	}
	name := s.keyName()
	values, err := dns.LookupTXT(ctx, name)
	switch {
	case notFound(err):
		s.err = flaw{PermError, "there is no key at " + name}
	case err != nil:
		s.err = flaw{TempError, fmt.Sprintf("the key at %s cannot be asked for now: %s", name, problem(err))}
	default:
		s.keys = values[:min(len(values), maxKeys)]
	}
}

func (s *examined) keyName() string {
	return s.verdict.Selector + "._domainkey." + s.verdict.Domain.String()
}

// judge judges a signature whose key was asked for.
func (j *Judgement) judge(s *examined) Signature {
	err := s.err
	if err == nil {
		err = j.tryKeys(s)
	}
	out := s.verdict
	out.Result = Pass
	if f := (flaw{}); errors.As(err, &f) {
		out.Result, out.Reason = f.result, f.reason
	}
	return out
}

// tryKeys tries every record that stands at the selector: the best result counts.
func (j *Judgement) tryKeys(s *examined) error {
	name := s.keyName()
	var worst error
	for _, value := range s.keys {
		err := j.tryKey(s, name, value)
		if err == nil {
			return nil
		}
		if f := (flaw{}); worst == nil || errors.As(err, &f) && f.result == Fail {
			worst = err
		}
	}
	if worst == nil {
		worst = flaw{PermError, "there is no key at " + name}
	}
	return worst
}

// tryKey holds the signature against one record (RFC 6376 §6.1.2, §6.1.3).
func (j *Judgement) tryKey(s *examined, name, value string) error {
	record, err := dkim.ParseRecord(value)
	if err != nil {
		return flaw{PermError, fmt.Sprintf("the record at %s is no key: %s", name, err)}
	}
	s.verdict.Testing = record.Testing()
	if record.Revoked() {
		return flaw{Fail, "the key at " + name + " was revoked"}
	}
	keyType, _, _ := strings.Cut(s.verdict.Algorithm, "-")
	switch {
	case !record.AllowsSHA256():
		return flaw{PermError, "the key at " + name + " may not be used with SHA-256 (h=)"}
	case !record.ForEmail():
		return flaw{PermError, "the key at " + name + " is not for mail (s=)"}
	case record.KeyType != keyType:
		return flaw{PermError, fmt.Sprintf("the key at %s is of another type than %s (k=)", name, s.verdict.Algorithm)}
	case record.StrictIdentity() && s.identity != string(s.verdict.Domain):
		return flaw{PermError, fmt.Sprintf("the key at %s may not speak for %s (t=s)", name, s.identity)}
	}
	key, err := record.PublicKey()
	var length dkim.KeyLengthError
	switch {
	case errors.As(err, &length):
		s.verdict.Bits = length.Bits
		return flaw{Unacceptable, fmt.Sprintf("the key at %s: %s", name, err)}
	case err != nil:
		return flaw{PermError, fmt.Sprintf("the key at %s: %s", name, err)}
	}
	return j.compute(s, key)
}

// compute compares the body's hash, then the signature.
func (j *Judgement) compute(s *examined, key crypto.PublicKey) error {
	hash, size := j.bodies.sum(s.bodyForm, s.length)
	switch {
	case s.length != wholeBody && size < s.length:
		return flaw{PermError, fmt.Sprintf("l= says that %d octets of the body are signed, and it has %d", s.length, size)}
	case hash != s.bodyHash:
		return flaw{Fail, "the body was changed after it was signed"}
	}
	digest := sha256.Sum256(j.hashInput(s))
	switch key := key.(type) {
	case *rsa.PublicKey:
		s.verdict.Bits = key.N.BitLen()
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], s.signature) != nil {
			return errChanged
		}
	case ed25519.PublicKey:
		// RFC 8463 §3: the digest is the message that Ed25519 signs.
		if !ed25519.Verify(key, digest[:], s.signature) {
			return errChanged
		}
	}
	// RFC 6376 §8.2: what stands behind l= may be anybody's.
	if size > s.length {
		return flaw{Unacceptable, fmt.Sprintf("only the first %d octets of the body are signed (l=), and %d follow", s.length, size-s.length)}
	}
	return nil
}

var errChanged = flaw{Fail, "the header was changed after it was signed, or it was signed with another key"}

// hashInput is what was signed: the fields of h=, from the lowest of each name
// upwards, then the signature's own field with an empty b= (RFC 6376 §3.7, §5.4.2).
func (j *Judgement) hashInput(s *examined) []byte {
	var input []byte
	left := map[string]int{}
	for _, name := range s.names {
		places := j.places[name]
		n, seen := left[name]
		if !seen {
			n = len(places)
		}
		if n--; n >= 0 {
			input = j.fields[places[n]].appendIn(s.headerForm, input)
			input = append(input, "\r\n"...)
		}
		left[name] = max(n, 0)
	}
	own := j.fields[s.place]
	own.value = withoutSignature(own.value)
	return own.appendIn(s.headerForm, input)
}

// appendIn appends the field in a form, without its final CRLF.
func (f rawField) appendIn(form form, dst []byte) []byte {
	if form == relaxed {
		return canonicalField(dst, strings.TrimRight(f.name, " \t"), f.value)
	}
	dst = append(append(dst, f.name...), ':')
	return append(dst, f.value...)
}
