// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord/recordtest"
)

func TestKeyRecordsReadAsTheirFixturesSay(t *testing.T) {
	for _, c := range recordtest.Cases(t, "testdata/record/*.txt") {
		t.Run(c.Name, func(t *testing.T) {
			record, err := dkim.ParseRecord(c.Value)
			c.Check(t, record.String(), err)
			if err != nil {
				return
			}
			key, err := record.PublicKey()
			if err != nil && err.Error() != c.Fields["keyerror"] || err == nil && c.Fields["keyerror"] != "" {
				t.Fatalf("key error\n  got:  %v\n  want: %s", err, c.Fields["keyerror"])
			}
			if got := describe(key); got != c.Fields["key"] {
				t.Fatalf("key is %q, want %q", got, c.Fields["key"])
			}
		})
	}
}

func describe(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return fmt.Sprintf("Ed25519 %d", 8*len(key))
	default:
		return ""
	}
}

func TestTheFlagsOfAKeyRecordMeanWhatTheRFCSays(t *testing.T) {
	type meaning struct{ Testing, StrictIdentity, ForEmail, AllowsSHA256, Revoked bool }
	for value, want := range map[string]meaning{
		"p=AAAA":                       {ForEmail: true, AllowsSHA256: true},
		"p=":                           {ForEmail: true, AllowsSHA256: true, Revoked: true},
		"t=y; p=AAAA":                  {Testing: true, ForEmail: true, AllowsSHA256: true},
		"t=s:y:future; p=AAAA":         {Testing: true, StrictIdentity: true, ForEmail: true, AllowsSHA256: true},
		"s=*; p=AAAA":                  {ForEmail: true, AllowsSHA256: true},
		"s=email:tlsrpt; p=AAAA":       {ForEmail: true, AllowsSHA256: true},
		"s=tlsrpt; p=AAAA":             {AllowsSHA256: true},
		"h=sha256; s=tlsrpt; p=AAAA":   {AllowsSHA256: true},
		"h=sha1; p=AAAA":               {ForEmail: true},
		"h=sha1:sha256; t=S ; p=AAAA;": {StrictIdentity: true, ForEmail: true, AllowsSHA256: true},
	} {
		r, err := dkim.ParseRecord(value)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		got := meaning{r.Testing(), r.StrictIdentity(), r.ForEmail(), r.AllowsSHA256(), r.Revoked()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}

func TestARecordLongerThanItsBoundIsRefused(t *testing.T) {
	if _, err := dkim.ParseRecord("p=" + strings.Repeat("A", dkim.MaxRecord)); err == nil {
		t.Fatal("no error")
	}
}

func TestNewRecordRefusesKeysThatNoVerifierTakes(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var noKey *rsa.PublicKey
	for name, key := range map[string]crypto.PublicKey{
		"nothing":          nil,
		"no RSA key":       noKey,
		"an empty RSA key": &rsa.PublicKey{},
		"RSA 1023":         &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1022), E: 65537},
		"RSA 4097":         &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 4096), E: 65537},
		"short Ed25519":    ed25519.PublicKey(make([]byte, 31)),
		"ECDSA":            p256.Public(),
	} {
		if record, err := dkim.NewRecord(key); err == nil {
			t.Errorf("%s: got %s", name, record)
		}
	}
}

func TestARevokedRecordKeepsItsKeyType(t *testing.T) {
	for algorithm, want := range map[dkim.Algorithm]string{
		dkim.RSA:     "v=DKIM1; k=rsa; p=",
		dkim.Ed25519: "v=DKIM1; k=ed25519; p=",
	} {
		record := dkim.RevokedRecord(algorithm)
		if got := record.String(); got != want || !record.Revoked() || record.PublicKeySHA256() != "" {
			t.Errorf("got %s, revoked %t, hash %q", got, record.Revoked(), record.PublicKeySHA256())
		}
	}
}

func TestEveryRecordThatWePrintReadsBack(t *testing.T) {
	keyword := rapid.StringMatching(`[a-z]([a-z0-9-]{0,8}[a-z0-9])?`)
	keywords := rapid.SliceOfN(keyword, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		want := dkim.Record{
			KeyType:  rapid.OneOf(rapid.Just("rsa"), rapid.Just("ed25519"), keyword).Draw(t, "k"),
			Key:      rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "p"),
			Hashes:   keywords.Draw(t, "h"),
			Services: rapid.OneOf(keywords, rapid.Just([]string{"*"})).Draw(t, "s"),
			Flags:    keywords.Draw(t, "t"),
			Notes:    rapid.StringMatching(`([!-:<-~]([ -:<-~]{0,20}[!-:<-~])?)?`).Draw(t, "n"),
		}
		got, err := dkim.ParseRecord(want.String())
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if got.String() != want.String() || got.PublicKeySHA256() != want.PublicKeySHA256() {
			t.Fatalf("printed %s, read %s", want, got)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, c := range recordtest.Cases(f, "testdata/record/*.txt") {
		f.Add(c.Value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		record, err := dkim.ParseRecord(value)
		if err != nil {
			return
		}
		if key, err := record.PublicKey(); (key == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
		again, err := dkim.ParseRecord(record.String())
		if err != nil {
			t.Fatalf("%q printed as %q: %v", value, record, err)
		}
		if diff := cmp.Diff(record, again); diff != "" {
			t.Fatalf("%q printed as %q:\n%s", value, record, diff)
		}
	})
}

func TestARecordNameIsSelectorAndDomain(t *testing.T) {
	name, err := dkim.RecordName("m1.eu", "example.org")
	if err != nil || name != "m1.eu._domainkey.example.org" {
		t.Fatalf("got %s, %v", name, err)
	}
	long := dnsrecord.Name(strings.Repeat("a.", 119) + "org")
	if name, err := dkim.RecordName("m1", long); err == nil {
		t.Errorf("a name of %d octets was accepted", len(name))
	}
	if _, err := dkim.RecordName("m1", ""); err == nil {
		t.Error("a selector without a domain was accepted")
	}
}

func TestSelectorsAreHeldToTheRFC(t *testing.T) {
	for _, good := range []string{"m1", "m20260801r", "a.b-c.d", "1", "xn--mller-kva", strings.Repeat("a", 63)} {
		if err := dkim.CheckSelector(good); err != nil {
			t.Error(err)
		}
	}
	for bad, want := range map[string]string{
		"":                      `selector "": is empty`,
		"M1":                    `selector "M1": has upper-case letters: the DNS does not tell them apart, write lower case`,
		"*":                     `selector "*": may hold only letters, digits, hyphens and dots (RFC 6376 §3.1)`,
		"a_b":                   `selector "a_b": may hold only letters, digits, hyphens and dots (RFC 6376 §3.1)`,
		"mü":                    `selector "m\u00fc": may hold only letters, digits, hyphens and dots (RFC 6376 §3.1)`,
		"../m1":                 `selector "../m1": has an empty label: a dot stands at an end, or two follow each other`,
		"m1.":                   `selector "m1.": has an empty label: a dot stands at an end, or two follow each other`,
		"-m":                    `selector "-m": has a label that begins or ends with a hyphen`,
		strings.Repeat("a", 64): `selector "` + strings.Repeat("a", 64) + `": has a label longer than 63 octets`,
	} {
		if err := dkim.CheckSelector(bad); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if err := dkim.CheckSelector(strings.Repeat("a.", 300) + "a"); err == nil {
		t.Error("a selector of 601 octets was accepted")
	}
}
