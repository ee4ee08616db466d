// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
)

var testNow = time.Date(2026, 8, 1, 4, 0, 0, 0, time.UTC)

var testPairs = sync.OnceValues(func() ([]dkim.KeyPair, error) {
	rsa, err := dkim.Generate(context.Background(), dkim.RSA, 0)
	if err != nil {
		return nil, err
	}
	ed25519, err := dkim.Generate(context.Background(), dkim.Ed25519, 0)
	return []dkim.KeyPair{rsa, ed25519}, err
})

// testKeys are selector "rsa" and selector "ed" of example.org, and the TXT records that publish them.
func testKeys(tb testing.TB) ([]Key, func(string) ([]string, error)) {
	tb.Helper()
	pairs, err := testPairs()
	if err != nil {
		tb.Fatal(err)
	}
	keys := []Key{{"rsa", dkim.RSA, rsasign.Hold(pairs[0]).Signer()}, {"ed", dkim.Ed25519, pairs[1].Signer()}}
	txt := map[string]string{
		"rsa._domainkey.example.org": pairs[0].Record().String(),
		"ed._domainkey.example.org":  pairs[1].Record().String(),
	}
	return keys, func(name string) ([]string, error) {
		if value, ok := txt[name]; ok {
			return []string{value}, nil
		}
		return nil, errors.New("no such name: " + name)
	}
}

// testField is a header field: what follows the name is after the colon, folds included.
type testField struct{ name, value string }

// message is what leaves: header fields, an empty line, and the body.
func message(fields []testField, body string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.name + ":" + f.value + "\r\n")
	}
	return b.String() + "\r\n" + body
}

// signed signs a message with each key, above its header.
func signed(t interface{ Fatal(...any) }, fields []testField, body string, keys []Key, opt Options) []testField {
	var h Header
	for _, f := range fields {
		h.Add(f.name, []byte(f.value))
	}
	hash, _ := hashIn(t, []byte(body), 1000)
	out := slices.Clone(fields)
	for _, k := range keys {
		value, err := Sign(&h, hash, "example.org", k, opt)
		if err != nil {
			t.Fatal(err)
		}
		out = slices.Insert(out, 0, testField{SignatureField, " " + value})
	}
	return out
}

// verdicts are what go-msgauth says of each signature.
func verdicts(t interface{ Fatal(...any) }, message string, lookup func(string) ([]string, error)) []error {
	found, err := msgauth.VerifyWithOptions(strings.NewReader(message), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	for _, v := range found {
		errs = append(errs, v.Err)
	}
	return errs
}

func TestASignatureLooksAsItShould(t *testing.T) {
	keys, _ := testKeys(t)
	fields := []testField{
		{"Received", " from x"},
		{"Return-Path", " <a@example.org>"},
		{"From", " a@example.org"},
		{"bcc", " secret@example.org"},
		{"Subject", " one"},
		{"SUBJECT", " two"},
		{"Message-Id", " <1@example.org>"},
		{"List-Unsubscribe-Post", " List-Unsubscribe=One-Click"},
		{"Resent-To", " b@example.org"},
		{"X-Other", " x"},
	}
	got := signed(t, fields, "Hi\r\n", keys, Options{Now: testNow, Expiry: 240 * time.Hour})[:2]
	unfold := strings.NewReplacer("\r\n\t", "", " ", "")
	bodyHash := sha256.Sum256([]byte("Hi\r\n"))
	signature := regexp.MustCompile(`b=[A-Za-z0-9+/=]+$`)
	for i, a := range []string{"a=ed25519-sha256;c=relaxed/relaxed;d=example.org;s=ed", "a=rsa-sha256;c=relaxed/relaxed;d=example.org;s=rsa"} {
		want := "v=1;" + a + ";i=@example.org;t=1785556800;x=1786420800;" +
			"h=From:From:To:Cc:Subject:Subject:Subject:Reply-To:Message-ID:Message-ID:List-Unsubscribe-Post:Resent-To;" +
			"bh=" + base64.StdEncoding.EncodeToString(bodyHash[:]) + ";b="
		text := unfold.Replace(got[i].value)
		if diff := cmp.Diff(want, signature.ReplaceAllString(text, "b=")); diff != "" {
			t.Errorf("signature (-want +got):\n%s", diff)
		}
		for line := range strings.SplitSeq(SignatureField+":"+got[i].value, "\r\n") {
			if columns := len(strings.ReplaceAll(line, "\t", "        ")); columns >= 78 {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
}

func TestWhichFieldsAreSigned(t *testing.T) {
	keys, _ := testKeys(t)
	classes := []struct {
		names          string
		absent, single int // how often h= names it
	}{
		{"From To Cc Subject Reply-To", 1, 2},
		{"Sender Date Message-ID MIME-Version Content-Type Content-Transfer-Encoding In-Reply-To References", 0, 2},
		{"List-Id List-Unsubscribe List-Unsubscribe-Post List-Subscribe List-Post List-Owner List-Help List-Archive", 0, 1},
		{"Resent-Date Resent-From Resent-Sender Resent-To Resent-Cc Resent-Message-ID", 0, 1},
		{"Bcc Resent-Bcc Return-Path Received DKIM-Signature Authentication-Results ARC-Seal X-Any Comments", 0, 0},
	}
	for _, class := range classes {
		for name := range strings.FieldsSeq(class.names) {
			fields := []testField{{"From", " a@example.org"}}
			if name != "From" {
				fields = append(fields, testField{strings.ToUpper(name), " x"})
			}
			value := strings.NewReplacer("\r\n\t", "", " ", "").Replace(signed(t, fields, "", keys[1:], Options{Now: testNow})[0].value)
			_, list, _ := strings.Cut(value, ";h=")
			list, _, _ = strings.Cut(list, ";")
			counts := map[string]int{}
			for n := range strings.SplitSeq(list, ":") {
				counts[n]++
			}
			for _, other := range classes {
				for n := range strings.FieldsSeq(other.names) {
					want := other.absent
					if n == name || n == "From" {
						want = other.single
					}
					if counts[n] != want {
						t.Errorf("with one %s, h= names %s %d times, not %d: %s", name, n, counts[n], want, list)
					}
					delete(counts, n)
				}
			}
			if len(counts) > 0 {
				t.Errorf("with one %s, h= names %v too", name, counts)
			}
		}
	}
}

func TestSignaturesVerifyWhateverTheHeaderHolds(t *testing.T) {
	keys, lookup := testKeys(t)
	from := testField{"From", " Alice <alice@example.org>"}
	tests := []struct {
		name   string
		fields []testField
		body   string
	}{
		{"a plain message", []testField{from, {"To", " b@example.net"}, {"Subject", " Hi"}}, "Hello\r\n"},
		{"an empty body", []testField{from}, ""},
		{"empty values", []testField{from, {"Subject", ""}, {"To", " "}}, "x\r\n"},
		{"continuation lines", []testField{{"From", "\r\n\tAlice\r\n <alice@example.org>"}, {"Subject", " a\r\n b\r\n\t c "}}, "x\r\n"},
		{"a line over 998 octets", []testField{from, {"Subject", " " + strings.Repeat("x", 2000)}}, strings.Repeat("y", 2000) + "\r\n"},
		{"8-bit octets", []testField{{"From", " \xc3\x84 <a@example.org>"}, {"Subject", " gr\xfc\xdfe"}}, "\xe4\r\n"},
		{"two From fields", []testField{from, {"Subject", " x"}, {"from", " b@example.org"}}, "x\r\n"},
		{"names in odd case and many times", []testField{{"fROM", " a@example.org"}, {"TO", " a"}, {"To", " b"}, {"to", " c"}, {"References", " <1@x>"}}, "x\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := signed(t, tt.fields, tt.body, keys, Options{Now: testNow})
			got := verdicts(t, message(out, tt.body), lookup)
			if diff := cmp.Diff(make([]error, 2), got, cmp.Comparer(errors.Is)); diff != "" {
				t.Errorf("verdicts: %s", diff)
			}
			for name := range map[string]bool{"From": true, "Subject": true, "To": true, "Cc": true, "Reply-To": true} {
				more := slices.Insert(slices.Clone(out), 2, testField{name, " forged@example.org"})
				for _, err := range verdicts(t, message(more, tt.body), lookup) {
					if err == nil {
						t.Errorf("a %s that was added is not noticed", name)
					}
				}
			}
		})
	}
}

func drawFields(t *rapid.T) []testField {
	fields := []testField{{"From", rapid.SampledFrom([]string{" a@example.org", "a@example.org ", "\r\n\tA\r\n <a@example.org>"}).Draw(t, "from")}}
	name := rapid.SampledFrom([]string{"To", "Cc", "subject", "Date", "Message-ID", "Sender", "List-Id", "X-Foo", "Received", "Resent-From", "References", "MIME-Version", "From"})
	value := rapid.Custom(func(t *rapid.T) string {
		part := rapid.OneOf(rapid.StringMatching(`[!-~]{1,30}`), rapid.SampledFrom([]string{" ", "\t", "\r\n ", "\r\n\t", "\xe4", "  "}))
		return strings.TrimRight(strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), ""), " \t\r\n")
	})
	for range rapid.IntRange(0, 12).Draw(t, "more fields") {
		fields = append(fields, testField{name.Draw(t, "name"), value.Draw(t, "value")})
	}
	return fields
}

// drawTravelling draws a body that verifiers agree upon: what they make of a bare CR beside white space differs.
func drawTravelling(t *rapid.T) string {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{" ", "\t", "\r\n", "\r\n\r\n", "\n", "x\ry", " \r\n", ".\r\n", "\xff", "\t\t a"}),
		rapid.StringMatching(`[ -~]{0,90}`),
	)
	return strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "body"), "")
}

func TestAnyMessageSignedVerifies(t *testing.T) {
	keys, lookup := testKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		fields, body := drawFields(t), drawTravelling(t)
		out := message(signed(t, fields, body, keys, Options{Now: testNow}), body)
		for i, err := range verdicts(t, out, lookup) {
			if err != nil {
				t.Fatalf("signature %d: %v\n%q", i, err, out)
			}
		}
	})
}

func TestAnyFlippedOctetOfTheBodyFails(t *testing.T) {
	keys, lookup := testKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(rapid.StringMatching(`[!-~]{1,60}( [!-~]{1,20}){0,3}\r\n`).Draw(t, "body"))
		fields := signed(t, []testField{{"From", " a@example.org"}}, string(body), keys[1:], Options{Now: testNow})
		// A flip of bit 6 makes no white space out of printable octets, which relaxed form may ignore.
		at := rapid.IntRange(0, len(body)-1).Draw(t, "at")
		body[at] ^= 0x40
		for _, err := range verdicts(t, message(fields, string(body)), lookup) {
			if err == nil {
				t.Fatalf("octet %d of the body was changed to %q and nobody noticed", at, body[at])
			}
		}
	})
}

func TestAMessageWithoutFromIsNotSigned(t *testing.T) {
	keys, _ := testKeys(t)
	var h Header
	h.Add("Subject", []byte(" x"))
	if _, err := Sign(&h, [32]byte{}, "example.org", keys[0], Options{Now: testNow}); !errors.Is(err, ErrNoFrom) {
		t.Errorf("error: %v", err)
	}
}

func TestAHeaderHasALimit(t *testing.T) {
	keys, _ := testKeys(t)
	for name, fill := range map[string]func(*Header){
		"octets": func(h *Header) { h.Add("Subject", bytes.Repeat([]byte("x"), maxHeaderOctets)) },
		"fields": func(h *Header) {
			for range maxHeaderFields {
				h.Add("To", []byte("x"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h Header
			h.Add("From", []byte(" a@example.org"))
			h.Add("X-Unsigned", bytes.Repeat([]byte("x"), maxHeaderOctets)) // Costs nothing.
			if _, err := Sign(&h, [32]byte{}, "example.org", keys[1], Options{Now: testNow}); err != nil {
				t.Fatal(err)
			}
			fill(&h)
			if _, err := Sign(&h, [32]byte{}, "example.org", keys[1], Options{Now: testNow}); !errors.Is(err, ErrHeaderTooLarge) {
				t.Errorf("error: %v", err)
			}
			if h.Reset(); h.err != nil || len(h.fields) != 0 || len(h.From()) != 0 {
				t.Errorf("Reset leaves %+v", h)
			}
		})
	}
}

func TestFlawsOfAHeader(t *testing.T) {
	tests := []struct {
		name, value string
		want        []string
	}{
		{"none", " plain\r\n folded\n\tboth ways", nil},
		{"8-bit", " \xe4", []string{"8bit"}},
		{"a line too long", " " + strings.Repeat("x", 998), []string{"long_line"}},
		{"long, but folded", strings.Repeat(" "+strings.Repeat("x", 900)+"\n", 3), nil},
		{"a bare CR", " a\rb", []string{"bare_cr"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h Header
			h.Add("X-Any", []byte(tt.value))
			if diff := cmp.Diff(tt.want, h.Flaws().Names()); diff != "" {
				t.Errorf("flaws (-want +got):\n%s", diff)
			}
		})
	}
}

type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("token is gone")
}

func TestAKeyThatFailsIsNamed(t *testing.T) {
	var h Header
	h.Add("From", []byte(" a@example.org"))
	_, err := Sign(&h, [32]byte{}, "example.org", Key{"s1", dkim.RSA, brokenSigner{}}, Options{Now: testNow})
	if err == nil || err.Error() != "selector s1 of example.org: token is gone" {
		t.Errorf("error: %v", err)
	}
}

func FuzzSign(f *testing.F) {
	f.Add("Subject", []byte(" x\r\n y"), []byte("Hi\r\n"))
	f.Add("from", []byte(" b@example.org"), []byte(""))
	f.Add("List-Id", []byte("\x00;h=x"), []byte("\r\n"))
	keys, lookup := testKeys(f)
	f.Fuzz(func(t *testing.T, name string, value, body []byte) {
		isName := regexp.MustCompile(`^[A-Za-z0-9-]{1,60}$`).MatchString(name)
		text := strings.Trim(regexp.MustCompile(`[\r\n]+`).ReplaceAllString(string(value), "\r\n "), "\r\n \t")
		if !isName || strings.EqualFold(name, SignatureField) || bytes.Contains(body, []byte("\r")) || regexp.MustCompile(`\r\n[ \t]+\r\n`).MatchString(text) {
			t.Skip()
		}
		fields := []testField{{"From", " a@example.org"}, {name, " " + text}}
		out := message(signed(t, fields, string(body), keys[1:], Options{Now: testNow}), string(body))
		for _, err := range verdicts(t, out, lookup) {
			if err != nil {
				t.Fatalf("%v\n%q", err, out)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	keys, _ := testKeys(b)
	for _, key := range keys {
		b.Run(string(key.Algorithm), func(b *testing.B) {
			for b.Loop() {
				var h Header
				for _, f := range []testField{{"From", "a@example.org"}, {"To", "b"}, {"Subject", "x"}, {"Date", "x"}, {"Message-ID", "y"}} {
					h.Add(f.name, []byte(f.value))
				}
				if _, err := Sign(&h, [32]byte{}, "example.org", key, Options{Now: testNow}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
