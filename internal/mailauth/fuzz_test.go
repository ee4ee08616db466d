// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"
	"github.com/miekg/dns"
)

func FuzzReadClaim(f *testing.F) {
	for _, seed := range []string{
		" " + rsaTags + "; bh=AAAA; b=BBBB", "v=1;a=rsa-sha1;b=;bh=;d=a.b;h=from;s=x", "v=1; a=ed25519-sha256; c=/; d=x.example; i=@y.x.example; l=0; q=dns/txt; t=1; x=2",
		"b=a;bh=b; b = c", ";;;", "=", "v=1; d=bücher.example; s=*", "l=99999999999999999999; x=-1", "b=\r\n\tAA\r\n AA==; h=from:\r\n to",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := readClaim(value)
		if err == nil {
			if c.verdict.Domain == "" || c.verdict.Selector == "" || len(c.names) == 0 || c.length < 0 || c.expires < 0 || c.issued < 0 {
				t.Fatalf("%q: %+v", value, c)
			}
			if !strings.HasSuffix("."+c.identity, "."+c.verdict.Domain.String()) {
				t.Fatalf("%q: speaks for %s", value, c.identity)
			}
		}
		without := withoutSignature(value)
		if len(without) > len(value) || withoutSignature(without) != without {
			t.Fatalf("%q: %q", value, without)
		}
	})
}

func FuzzKeyRecord(f *testing.F) {
	_, records := forgeKeys()
	for _, seed := range []string{records["rsa"], records["ed25519"], "v=DKIM1; p=", "p=AAAA", "t=y:s; s=email; h=sha256; p=", rsaOf(f, 768), rsaOf(f, 8192), "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 9000)} {
		f.Add(seed)
	}
	message := forge(f, rsaTags, letter)
	f.Fuzz(func(t *testing.T, record string) {
		z := zone{records: []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: "sel._domainkey.example.com.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{record},
		}}}
		v := judge(t, Envelope{}, message, z)
		if v.DKIM[0].Result == Pass && !strings.Contains(strings.Join(strings.Fields(record), ""), records["rsa"][len("v=DKIM1; k=rsa; p="):]) {
			t.Fatalf("%q verifies", record)
		}
		mustBeOneField(t, v)
	})
}

func FuzzClaimsToBe(f *testing.F) {
	for _, seed := range []string{" mx.example.net; none", "(a(b)c) \"mx.example.net\" 1 (d); dkim=pass", "mx.example.net.", "(", "\"\\", "; x", "MX . example.net"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		claims := ClaimsToBe(value, "mx.example.net")
		if claims != ClaimsToBe(strings.ToUpper(value), "mx.example.net") && isASCII(value) {
			t.Fatalf("%q: case matters", value)
		}
		// What another parser takes for ours, we take away.
		if id, _, err := authres.Parse(value); err == nil && strings.EqualFold(id, "mx.example.net") && !claims {
			t.Fatalf("%q is left, and go-msgauth takes it for ours", value)
		}
	})
}

func FuzzJudge(f *testing.F) {
	f.Add(rsaTags, letter, "mail.example.com", "alice@example.com", "v=spf1 mx include:%{l}.%{d} exists:%{ir}.x.example redirect=_spf.%{o} -all")
	f.Add(edTags+"; l=3", letter, "[192.0.2.1]", "", "v=spf1 ptr a/0 ~all")
	f.Add("v=1", "From: a@b.example, c@d.example\r\nAuthentication-Results: x\r\n\r\n\r\n\r\n \t\r", "\x00", "\"a@b\"@c\xff", "v=DMARC1; p=reject; psd=y")
	f.Fuzz(func(t *testing.T, tags, message, helo, mailFrom, record string) {
		answers := anything(record)
		v := judge(t, Envelope{Client: netip.AddrFrom4([4]byte{192, 0, 2, 1}), HELO: helo, MailFrom: mailFrom}, "DKIM-Signature: "+tags+"\r\n"+message, answers)
		if n := answers.asked.Load(); n > maxLookups+maxKeyLookups+maxPolicyLookups {
			t.Fatalf("%d questions", n)
		}
		mustBeOneField(t, v)
	})
}

// mustBeOneField holds what we would write to what a field may be.
func mustBeOneField(t *testing.T, v Verdict) {
	t.Helper()
	value := AuthResults("mx.example.net", v)
	for i, line := range strings.Split(value, "\r\n") {
		if i > 0 && (line == "" || line[0] != '\t') || len(line) > maxLine || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Fatalf("line %d of\n%q", i, value)
		}
	}
	id, results, err := authres.Parse(value)
	if err != nil || id != "mx.example.net" || len(results) != max(1, len(v.DKIM))+min(1, v.Unread)+len(v.SPF)+1 {
		t.Fatalf("%v %v\n%s", err, results, value)
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}
