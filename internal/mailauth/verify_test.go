// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	rsaTags = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=sel; h=from:to:subject"
	edTags  = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=sel; h=from:to:subject"
	letter  = "From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: Hi\r\n\r\nHello, Bob.\r\n"
)

// at is a DNS with records at the one selector; {rsa} and {ed25519} stand for the keys that sign.
func at(tb testing.TB, records ...string) zone {
	tb.Helper()
	_, known := forgeKeys()
	var z zone
	for _, r := range records {
		r = strings.NewReplacer("{rsa}", known["rsa"], "{ed25519}", known["ed25519"],
			"{rsa p}", strings.TrimPrefix(known["rsa"], "v=DKIM1; ")).Replace(r)
		z.records = append(z.records, parseZone(tb, fmt.Sprintf("sel._domainkey.example.com. TXT %q", r)).records...)
	}
	return z
}

// rsaOf is a record with a public key of so many bits that nobody has the private half of.
func rsaOf(tb testing.TB, bits uint) string {
	tb.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	n.SetBit(n, 0, 1)
	return "v=DKIM1; k=rsa; p=" + pkix(tb, &rsa.PublicKey{N: n, E: 65537})
}

func TestResultsOfSignatures(t *testing.T) {
	yesterday, tomorrow := judgeNow.Add(-24*time.Hour).Unix(), judgeNow.Add(24*time.Hour).Unix()
	changed := func(old, now string) func(string) string {
		return func(m string) string { return strings.Replace(m, old, now, 1) }
	}
	tests := []struct {
		name   string
		tags   string
		dns    []string // records at the selector
		change func(string) string
		want   Result
		reason string // a part of it
	}{
		{name: "RSA, relaxed/relaxed", tags: rsaTags, dns: []string{"{rsa}"}, want: Pass},
		{name: "RSA, relaxed/simple", tags: strings.Replace(rsaTags, "relaxed/relaxed", "relaxed/simple", 1), dns: []string{"{rsa}"}, want: Pass},
		{name: "RSA, relaxed alone means a simple body", tags: strings.Replace(rsaTags, "relaxed/relaxed", "relaxed", 1), dns: []string{"{rsa}"}, want: Pass},
		{name: "RSA, simple/relaxed", tags: strings.Replace(rsaTags, "relaxed/relaxed", "simple/relaxed", 1), dns: []string{"{rsa}"}, want: Pass},
		{name: "RSA, no c= is simple/simple", tags: strings.Replace(rsaTags, "c=relaxed/relaxed; ", "", 1), dns: []string{"{rsa}"}, want: Pass},
		{name: "Ed25519", tags: edTags, dns: []string{"{ed25519}"}, want: Pass},
		{name: "words without case", tags: strings.NewReplacer("rsa-sha256", "RSA-SHA256", "example.com", "EXAMPLE.com", "s=sel", "s=SEL").Replace(rsaTags), dns: []string{"{rsa}"}, want: Pass},
		{name: "names in h= that are not there", tags: rsaTags + ":reply-to:subject:x-y", dns: []string{"{rsa}"}, want: Pass},
		{name: "a tag that nobody knows", tags: rsaTags + "; zz=1", dns: []string{"{rsa}"}, want: Pass},
		{name: "a final semicolon in the record", tags: rsaTags, dns: []string{"{rsa p};"}, want: Pass},

		{name: "the body was changed", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("Hello", "Hallo"), want: Fail, reason: "the body was changed"},
		{name: "a signed field was changed", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("Subject: Hi", "Subject: Ho"), want: Fail, reason: "the header was changed"},
		{name: "an oversigned field was added", tags: rsaTags + ":subject", dns: []string{"{rsa}"}, change: changed("From:", "Subject: x\r\nFrom:"), want: Fail, reason: "the header was changed"},
		{name: "a field that is not signed was added", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("From:", "X: y\r\nFrom:"), want: Pass},
		{name: "folds in relaxed form", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("Subject: Hi", "SUBJECT:\r\n\tHi \r\n "), want: Pass},
		{name: "white space in b=", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("; b=", ";\r\n b = \r\n\t"), want: Fail, reason: "the header was changed"},
		{name: "folds after b=", tags: rsaTags, dns: []string{"{rsa}"}, change: changed("; b=", "; b=\r\n\t "), want: Pass},
		{name: "Ed25519 that was changed", tags: edTags, dns: []string{"{ed25519}"}, change: changed("Subject: Hi", "Subject: Ho"), want: Fail},

		{name: "no DKIM version", tags: strings.Replace(rsaTags, "v=1; ", "", 1), want: Neutral, reason: "has no v="},
		{name: "another version", tags: strings.Replace(rsaTags, "v=1", "v=2", 1), want: Neutral, reason: `version "2"`},
		{name: "no algorithm", tags: strings.Replace(rsaTags, "a=rsa-sha256; ", "", 1), want: Neutral, reason: "has no a="},
		{name: "no domain", tags: strings.Replace(rsaTags, "d=example.com; ", "", 1), want: Neutral, reason: "has no d="},
		{name: "no selector", tags: strings.Replace(rsaTags, "s=sel; ", "", 1), want: Neutral, reason: "has no s="},
		{name: "no h=", tags: strings.Replace(rsaTags, "; h=from:to:subject", "", 1), want: Neutral, reason: "has no h="},
		{name: "a tag that is there twice", tags: rsaTags + "; d=example.org", want: Neutral, reason: `"d"= twice`},
		{name: "no tag list", tags: rsaTags + "; and so on", want: Neutral, reason: "no list of name=value"},
		{name: "octets that are no text", tags: rsaTags + "; z=\xff", want: Neutral, reason: "not UTF-8"},
		{name: "an algorithm that nobody knows", tags: strings.Replace(rsaTags, "rsa-sha256", "dsa-sha512", 1), want: Neutral, reason: `"dsa-sha512" is not known`},
		{name: "a canonicalization that nobody knows", tags: strings.Replace(rsaTags, "relaxed/relaxed", "relaxed/nowsp", 1), want: Neutral, reason: "nowsp"},
		{name: "a way to the key that nobody knows", tags: rsaTags + "; q=http", want: Neutral, reason: "only dns/txt exists"},
		{name: "one way to the key that is known", tags: rsaTags + "; q=http:dns/txt", dns: []string{"{rsa}"}, want: Pass},
		{name: "d= that is no domain", tags: strings.Replace(rsaTags, "d=example.com", "d=example_com", 1), want: Neutral, reason: "d="},
		{name: "s= that is no selector", tags: strings.Replace(rsaTags, "s=sel", "s=*", 1), want: Neutral, reason: "s="},
		{name: "b= that is not base64", tags: rsaTags + "; b=%%%", want: Neutral, reason: "b= is not base64"},
		{name: "bh= that is not base64", tags: rsaTags + "; bh=%%%", want: Neutral, reason: "bh= is not base64"},
		{name: "From is not signed", tags: strings.Replace(rsaTags, "from:", "", 1), want: PermError, reason: "From field is not signed"},
		{name: "SHA-1", tags: strings.Replace(rsaTags, "sha256", "sha1", 1), dns: []string{"{rsa}"}, want: Unacceptable, reason: "rsa-sha1"},

		{name: "i= in the domain", tags: rsaTags + "; i=@shop.example.com", dns: []string{"{rsa}"}, want: Pass},
		{name: "i= of another domain", tags: rsaTags + "; i=a@badexample.com", want: PermError, reason: "badexample.com"},
		{name: "i= without a domain", tags: rsaTags + "; i=alice", want: Neutral, reason: "i= has no domain"},
		{name: "i= below a strict key", tags: rsaTags + "; i=@shop.example.com", dns: []string{"t=s; {rsa p}"}, want: PermError, reason: "t=s"},
		{name: "i= at a strict key", tags: rsaTags + "; i=x@example.com", dns: []string{"t=y:s; {rsa p}"}, want: Pass},

		{name: "it expired", tags: fmt.Sprintf("%s; t=%d; x=%d", rsaTags, yesterday-1, yesterday), want: Fail, reason: "expired at 2026-07-31T04:00:00Z"},
		{name: "it will expire", tags: fmt.Sprintf("%s; t=%d; x=%d", rsaTags, yesterday, tomorrow), dns: []string{"{rsa}"}, want: Pass},
		{name: "it never expires", tags: rsaTags + "; x=99999999999999999999999999", dns: []string{"{rsa}"}, want: Pass},
		{name: "it expired before it was made", tags: fmt.Sprintf("%s; t=%d; x=%d", rsaTags, tomorrow, yesterday), want: Neutral, reason: "before it was made"},
		{name: "it comes from the future", tags: fmt.Sprintf("%s; t=%d", rsaTags, tomorrow), want: Unacceptable, reason: "still to come"},
		{name: "a clock that is a little ahead", tags: fmt.Sprintf("%s; t=%d", rsaTags, judgeNow.Add(time.Hour).Unix()), dns: []string{"{rsa}"}, want: Pass},
		{name: "x= that is no time", tags: rsaTags + "; x=soon", want: Neutral, reason: `x="soon"`},
		{name: "t= below zero", tags: rsaTags + "; t=-1", want: Neutral, reason: `t="-1"`},

		{name: "l= of the whole body", tags: rsaTags + "; l=13", dns: []string{"{rsa}"}, want: Pass},
		{name: "l= of less", tags: rsaTags + "; l=5", dns: []string{"{rsa}"}, want: Unacceptable, reason: "only the first 5 octets"},
		{name: "l= of nothing", tags: rsaTags + "; l=0", dns: []string{"{rsa}"}, want: Unacceptable, reason: "only the first 0 octets"},
		{name: "l= of more", tags: rsaTags + "; l=14", dns: []string{"{rsa}"}, want: PermError, reason: "14 octets"},
		{name: "l= of 76 digits", tags: rsaTags + "; l=" + strings.Repeat("9", 76), dns: []string{"{rsa}"}, want: PermError, reason: "l="},
		{name: "l= of 77 digits", tags: rsaTags + "; l=" + strings.Repeat("9", 77), want: Neutral, reason: "no number"},
		{name: "l= and something was added", tags: rsaTags + "; l=13", dns: []string{"{rsa}"}, change: func(m string) string { return m + "Buy this!\r\n" }, want: Unacceptable, reason: "11 follow"},
		{name: "l= and the signed part was changed", tags: rsaTags + "; l=5", dns: []string{"{rsa}"}, change: changed("Hello", "Hallo"), want: Fail},

		{name: "no key", tags: rsaTags, want: PermError, reason: "there is no key at sel._domainkey.example.com"},
		{name: "revoked", tags: rsaTags, dns: []string{"v=DKIM1; p="}, want: Fail, reason: "was revoked"},
		{name: "no key record", tags: rsaTags, dns: []string{"hello world"}, want: PermError, reason: "is no key"},
		{name: "a key that was cut", tags: rsaTags, dns: []string{"v=DKIM1; p=MIGfMA0G"}, want: PermError, reason: "cut"},
		{name: "a key for another service", tags: rsaTags, dns: []string{"s=tlsrpt; {rsa p}"}, want: PermError, reason: "not for mail"},
		{name: "a key for mail", tags: rsaTags, dns: []string{"s=tlsrpt:email; {rsa p}"}, want: Pass},
		{name: "a key for SHA-1 alone", tags: rsaTags, dns: []string{"h=sha1; {rsa p}"}, want: PermError, reason: "SHA-256"},
		{name: "a key for both hashes", tags: rsaTags, dns: []string{"h=sha1:sha256; {rsa p}"}, want: Pass},
		{name: "a key of another type", tags: rsaTags, dns: []string{"{ed25519}"}, want: PermError, reason: "another type"},
		{name: "a key of 768 bits", tags: rsaTags, dns: []string{rsaOf(t, 768)}, want: Unacceptable, reason: "768 bits is too short"},
		{name: "a key of 8192 bits", tags: rsaTags, dns: []string{rsaOf(t, 8192)}, want: Unacceptable, reason: "8192 bits is too long"},
		{name: "the key of somebody else", tags: rsaTags, dns: []string{rsaOf(t, 2048)}, want: Fail, reason: "another key"},
		{name: "two keys, the second is it", tags: rsaTags, dns: []string{rsaOf(t, 2048), "{rsa}"}, want: Pass},
		{name: "two keys, one revoked", tags: rsaTags, dns: []string{"v=DKIM1; p=", "{rsa}"}, want: Pass},
		{name: "five keys, the last is it", tags: rsaTags, dns: []string{"a", "b", "c", "d", "{rsa}"}, want: PermError},
		{name: "tests are no excuse", tags: rsaTags, dns: []string{"t=y; {rsa p}"}, change: changed("Hello", "Hallo"), want: Fail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			message := forge(t, tt.tags, letter)
			if tt.change != nil {
				before := message
				if message = tt.change(message); message == before {
					t.Fatal("nothing was changed")
				}
			}
			v := judge(t, Envelope{}, message, at(t, tt.dns...))
			if len(v.DKIM) != 1 {
				t.Fatalf("%d verdicts", len(v.DKIM))
			}
			if got := v.DKIM[0]; got.Result != tt.want || !strings.Contains(got.Reason, tt.reason) || (got.Result == Pass) != (got.Reason == "") {
				t.Errorf("got %s (%s), want %s (%s)", got.Result, got.Reason, tt.want, tt.reason)
			}
		})
	}
}

func TestASignatureNamesItself(t *testing.T) {
	v := judge(t, Envelope{}, forge(t, rsaTags, letter), at(t, "t=y; {rsa p}"))
	v.DKIM[0].Prefix = v.DKIM[0].Prefix[:0]
	want := []Signature{{Result: Pass, Domain: "example.com", Selector: "sel", Algorithm: "rsa-sha256", Bits: 2048, Testing: true}}
	if diff := cmp.Diff(want, v.DKIM); diff != "" {
		t.Error("want (-), got (+):\n" + diff)
	}
}

func TestInternationalisedDomainsAreAskedForAsTheDNSHasThem(t *testing.T) {
	message := forge(t, strings.Replace(rsaTags, "d=example.com", "d=bücher.example", 1)+"; i=ä@bücher.example", letter)
	z := at(t, "{rsa}")
	z.records[0].Header().Name = "sel._domainkey.xn--bcher-kva.example."
	if v := judge(t, Envelope{}, message, z); v.DKIM[0].Result != Pass {
		t.Errorf("%+v", v.DKIM[0])
	}
}

func TestSelectorsAreReadAsPeoplePublishThem(t *testing.T) {
	for selector, owner := range map[string]string{"a_b": "a_b", "s1.mail": "s1.mail", "UP": "up", "-x": "-x"} {
		message := forge(t, strings.Replace(rsaTags, "s=sel", "s="+selector, 1), letter)
		z := at(t, "{rsa}")
		z.records[0].Header().Name = owner + "._domainkey.example.com."
		if v := judge(t, Envelope{}, message, z); v.DKIM[0].Result != Pass {
			t.Errorf("%s: %+v", selector, v.DKIM[0])
		}
	}
}

func TestSignaturesBeyondABoundAreCountedAndNotJudged(t *testing.T) {
	message := letter
	for range maxSignatures + 3 {
		message = forge(t, edTags, message)
	}
	v := judge(t, Envelope{}, message, at(t, "{ed25519}"))
	if len(v.DKIM) != maxSignatures || v.Unread != 3 {
		t.Errorf("%d judged, %d not", len(v.DKIM), v.Unread)
	}
	if text := AuthResults("mx.example.net", v); !strings.Contains(text, "dkim=policy (3 more signatures were not looked at)") {
		t.Error(text)
	}
}

func TestEachWayToTakeABodyIsHashedOnce(t *testing.T) {
	message := letter
	for _, tags := range []string{"", "; l=13", "; l=5"} {
		for _, c := range []string{"relaxed/relaxed", "relaxed/simple", "simple/simple"} {
			message = forge(t, strings.Replace(edTags, "relaxed/relaxed", c, 1)+tags, message)
		}
	}
	j := NewJudgement(Envelope{})
	header, _, _ := strings.Cut(message, "\r\n\r\n")
	for _, f := range split(header) {
		j.Header(f.name, []byte(f.value))
	}
	j.Body(nil)
	if len(j.bodies.forms) != 2 || len(j.bodies.forms[relaxed].sums) != 3 || len(j.bodies.forms[simple].sums) != 3 {
		t.Errorf("%+v", j.bodies)
	}
}

func TestAHeaderThatIsTooLargeIsNotKept(t *testing.T) {
	j := NewJudgement(Envelope{})
	signature := split(forge(t, edTags, letter))
	for _, f := range signature {
		j.Header(f.name, []byte(f.value))
	}
	for range 1 << 16 {
		j.Header("X", []byte("y"))
	}
	if n := len(j.fields); n > maxKept/fieldCost {
		t.Errorf("%d fields are kept", n)
	}
	v := j.Verdict(t.Context(), at(t, "{ed25519}"), judgeNow)
	if v.DKIM[0].Result != Unacceptable || !strings.Contains(v.DKIM[0].Reason, "too large") {
		t.Errorf("%+v", v.DKIM)
	}
}

// TestOurVerifierAgreesWithGoMsgauth on messages that were changed and messages that were not.
func TestOurVerifierAgreesWithGoMsgauth(t *testing.T) {
	z := at(t, "{rsa}")
	ed := at(t, "{ed25519}")
	passed, failed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		tags, dns := rsaTags, z
		if rapid.Bool().Draw(rt, "ed25519") {
			tags, dns = edTags, ed
		}
		c := rapid.SampledFrom([]string{"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"}).Draw(rt, "c")
		message := "From: Alice <alice@example.com>\r\nTo:  b@example.net \r\nSubject:" +
			rapid.SampledFrom([]string{"", " Hi", " a\tb ", "\r\n folded \r\n\ttwice", " \xc3\xa4"}).Draw(rt, "subject") +
			"\r\n\r\n" + strings.ReplaceAll(drawTravelling(rt), "\r\r\n", "\r\n")
		message = forge(t, strings.Replace(tags, "relaxed/relaxed", c, 1), message)
		if rapid.Bool().Draw(rt, "change") {
			header := strings.Index(message, "\r\n\r\n")
			at := rapid.IntRange(strings.Index(message, "From:"), len(message)-1).Draw(rt, "at")
			if c := message[at]; c > ' ' && c != ':' && (at < header || at > header+4) {
				message = message[:at] + "Z" + message[at+1:]
			}
		}
		found, err := msgauth.VerifyWithOptions(bytes.NewReader([]byte(message)), &msgauth.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) { return dns.LookupTXT(t.Context(), name) },
		})
		if err != nil || len(found) != 1 {
			rt.Skip("no message for it", err)
		}
		v := judgeIn(t, Envelope{}, message, dns, rapid.IntRange(1, 100).Draw(rt, "chunk"))
		if (v.DKIM[0].Result == Pass) != (found[0].Err == nil) {
			rt.Fatalf("we say %+v, go-msgauth says %v\n%q", v.DKIM[0], found[0].Err, message)
		}
		if v.DKIM[0].Result == Pass {
			passed++
		} else {
			failed++
		}
	})
	if passed == 0 || failed == 0 {
		t.Errorf("%d passed and %d failed: this compares nothing", passed, failed)
	}
}

func TestBodiesInBothForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := drawBody(t)
		for f, whole := range map[form]string{simple: simpleBody(body), relaxed: relaxedBody(body)} {
			length := int64(rapid.IntRange(0, len(body)+3).Draw(t, "l"))
			var b bodyHashes
			b.want(f, wholeBody)
			b.want(f, length)
			rest := []byte(body)
			for len(rest) > 0 {
				n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
				b.write(rest[:n])
				rest = rest[n:]
			}
			b.end()
			for l, want := range map[int64]string{wholeBody: whole, length: whole[:min(int(length), len(whole))]} {
				if got, size := b.sum(f, l); got != sha(want) || size != int64(len(whole)) {
					t.Fatalf("%s of %q, l=%d: size %d, want %d", f, body, l, size, len(whole))
				}
			}
		}
	})
}

func TestJudgingABodyKeepsNothingOfIt(t *testing.T) {
	j := NewJudgement(Envelope{})
	header, _, _ := strings.Cut(forge(t, edTags, forge(t, strings.Replace(edTags, "relaxed/relaxed", "simple/simple", 1)+"; l=9", letter)), "\r\n\r\n")
	for _, f := range split(header) {
		j.Header(f.name, []byte(f.value))
	}
	chunk := []byte(strings.Repeat("some text \t here\r\n\r\n", 3000))
	j.Body(chunk)
	if n := testing.AllocsPerRun(10, func() { j.Body(chunk) }); n > 0 {
		t.Errorf("%v allocations for each chunk", n)
	}
}

func TestNoMessageMakesUsAskWithoutEnd(t *testing.T) {
	var asked atomic.Int32
	z := at(t, "{ed25519}")
	z.asked = &asked
	z.records = append(z.records, parseZone(t, "evil.example. TXT \"v=spf1 mx:a.evil.example mx:b.evil.example mx:c.evil.example mx:d.evil.example mx:e.evil.example "+
		"mx:f.evil.example mx:g.evil.example mx:h.evil.example mx:i.evil.example -all\"\n"+manyMX()).records...)
	message := strings.Replace(letter, "From: Alice <alice@example.com>", "From: a@evil.example, b@a.b.c.d.e.f.g.h.example.org, c@i.j.k.l.m.n.o.p.example.info", 1)
	for i := range maxSignatures {
		message = forge(t, strings.Replace(edTags, "d=example.com", fmt.Sprintf("d=a.b.c.d.e.f.g%d.example.com", i), 1), message)
	}
	v := judge(t, Envelope{Client: addrOf(t, "192.0.2.1"), HELO: "evil.example", MailFrom: "x@evil.example"}, message, z)
	// LookupIPAddr asks twice.
	if n := asked.Load(); n > 2*maxLookups+maxKeyLookups+maxPolicyLookups {
		t.Errorf("%d questions", n)
	}
	if v.SPF[1].Result != TempError || !strings.Contains(v.SPF[1].Reason, errBudget.Error()) {
		t.Errorf("%+v", v.SPF)
	}
}

// manyMX are nine domains with nine mail servers each, none of which exists.
func manyMX() string {
	var b strings.Builder
	for _, domain := range "abcdefghi" {
		for i := range 9 {
			fmt.Fprintf(&b, "%c.evil.example. MX 10 h%d.%c.evil.example.\n", domain, i, domain)
			fmt.Fprintf(&b, "h%d.%c.evil.example. A 203.0.113.9\n", i, domain)
		}
	}
	return b.String()
}
