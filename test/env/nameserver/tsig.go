// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// Key is a TSIG key that may update (RFC 8945).
type Key struct {
	// Name is the key's name, for example "op".
	Name string
	// Secret is base64.
	Secret string
	// Algorithm is dns.HmacSHA256 (also when empty) or dns.HmacSHA512.
	Algorithm string
	// Allow says whether the key may change this owner name and type
	// (dns.TypeANY for "every type"); nil allows all. A change it does not allow
	// makes the server refuse the whole message.
	Allow func(name string, rrtype uint16) bool
}

var (
	errBadKey = errors.New("unknown TSIG key or algorithm")
	errBadSig = errors.New("wrong TSIG signature")
)

// keyring is the server's TSIG keys; it satisfies dns.TsigProvider.
type keyring map[string]Key

func newKeyring(keys []Key) (keyring, error) {
	ring := keyring{}
	for _, k := range keys {
		k.Name = dns.CanonicalName(k.Name)
		if k.Algorithm == "" {
			k.Algorithm = dns.HmacSHA256
		}
		k.Algorithm = dns.CanonicalName(k.Algorithm)
		if k.Algorithm != dns.HmacSHA256 && k.Algorithm != dns.HmacSHA512 {
			return nil, fmt.Errorf("key %s: algorithm %s is not known here: use %s", k.Name, k.Algorithm, dns.HmacSHA256)
		}
		if _, err := base64.StdEncoding.DecodeString(k.Secret); err != nil {
			return nil, fmt.Errorf("key %s: its secret is not base64", k.Name)
		}
		ring[k.Name] = k
	}
	return ring, nil
}

// Generate computes the MAC of msg with the key that t names.
func (r keyring) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	key, ok := r[dns.CanonicalName(t.Hdr.Name)]
	if !ok || dns.CanonicalName(t.Algorithm) != key.Algorithm {
		return nil, errBadKey
	}
	secret, err := base64.StdEncoding.DecodeString(key.Secret)
	if err != nil {
		return nil, errBadKey
	}
	mac := hmac.New(sha256.New, secret)
	if key.Algorithm == dns.HmacSHA512 {
		mac = hmac.New(sha512.New, secret)
	}
	mac.Write(msg)
	return mac.Sum(nil), nil
}

// Verify compares the MAC that t carries.
func (r keyring) Verify(msg []byte, t *dns.TSIG) error {
	want, err := r.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(want, got) {
		return errBadSig
	}
	return nil
}

// sign adds to reply the TSIG record that answers the request's (RFC 8945
// §5.3). BADKEY and BADSIG go unsigned, BADTIME signed and with our time;
// the library fills in the MAC as it writes.
func sign(reply *dns.Msg, request *dns.TSIG, status error) {
	t := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: request.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: request.Algorithm,
		Fudge:     request.Fudge,
		OrigId:    reply.Id,
	}
	switch {
	case status == nil:
	case errors.Is(status, dns.ErrTime):
		t.Error = dns.RcodeBadTime
		t.TimeSigned = request.TimeSigned
		now := time.Now().Unix() //nolint:forbidigo // RFC 8945 §5.2.3: the server's own time, which TSIG compares
		t.OtherLen = 6
		t.OtherData = fmt.Sprintf("%012x", now)
	case errors.Is(status, errBadKey):
		t.Error = dns.RcodeBadKey
	default:
		t.Error = dns.RcodeBadSig
	}
	if status != nil {
		reply.Rcode = dns.RcodeNotAuth
	}
	reply.Extra = append(reply.Extra, t)
}
