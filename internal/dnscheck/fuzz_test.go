// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// reply packs a reply with records for the sections, each "section: record".
func reply(tb testing.TB, authoritative bool, rcode int, records ...string) []byte {
	tb.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name.FQDN(), dns.TypeTXT)
	m.Response, m.Authoritative, m.Rcode = true, authoritative, rcode
	for _, r := range records {
		section, text, _ := strings.Cut(r, ": ")
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatal(err)
		}
		switch section {
		case "answer":
			m.Answer = append(m.Answer, rr)
		case "authority":
			m.Ns = append(m.Ns, rr)
		default:
			m.Extra = append(m.Extra, rr)
		}
	}
	buf, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return buf
}

func FuzzReadAnswer(f *testing.F) {
	soa := "authority: example.org. 60 SOA ns. h. 1 2 3 4 60"
	f.Add(reply(f, true, 0, `answer: m1._domainkey.example.org. 60 TXT "ours"`))
	f.Add(reply(f, true, 0, `answer: m1._domainkey.example.org. 60 TXT "a\"\\\;b\200" "c"`, `answer: x.example.org. 60 TXT "no"`))
	f.Add(reply(f, true, 0, soa))
	f.Add(reply(f, true, dns.RcodeNameError, soa, "authority: example.org. 60 NSEC a.example.org. TXT"))
	f.Add(reply(f, true, 0, "answer: m1._domainkey.example.org. 60 CNAME x.example.net.", `answer: x.example.net. 60 TXT "ours"`))
	f.Add(reply(f, true, 0, "answer: _domainkey.example.org. 60 DNAME example.net.", "answer: m1._domainkey.example.org. 60 CNAME m1.example.net."))
	f.Add(reply(f, true, 0, `answer: m1._domainkey.example.org. 60 CNAME a\.b\000.example.net.`))
	f.Add(reply(f, false, 0, "authority: _domainkey.example.org. 60 NS ns._domainkey.example.org.", "extra: ns._domainkey.example.org. 60 A 192.0.2.1", "extra: ns.example.net. 60 A 192.0.2.2"))
	f.Add(reply(f, false, dns.RcodeRefused))
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			return
		}
		a := readAnswer(ns(1), name, "example.org", m)
		if a.said == saidValues && (len(a.values) == 0 || len(a.values) > maxRecords) {
			t.Errorf("%d values", len(a.values))
		}
		if a.said != saidNothing && !m.Authoritative {
			t.Error("an answer without authority was taken")
		}
		readRecursive(ns(1), name, m)
		if apex, ok := readApex(m, name, "org"); ok && (!name.In(apex) || !apex.In("org")) {
			t.Errorf("%s is no zone of %s", apex, name)
		}
		checkReferral(t, m)
		checkFinding(t, a)
	})
}

func checkReferral(t *testing.T, m *dns.Msg) {
	t.Helper()
	d, ok := readReferral(m, "example.org", name)
	if !ok {
		return
	}
	if !name.In(d.zone) || d.zone == "example.org" || !d.zone.In("example.org") || len(d.names) > maxNames {
		t.Errorf("a referral to %s with %d servers", d.zone, len(d.names))
	}
	for host, addrs := range d.glue {
		if !host.In("example.org") || len(addrs) > maxNames {
			t.Errorf("glue for %s: %v", host, addrs)
		}
	}
}

func checkFinding(t *testing.T, a answer) {
	t.Helper()
	for _, kind := range []dnsplan.Kind{dnsplan.Exclusive, dnsplan.SPF} {
		for _, value := range []string{"ours", "", "v=spf1 -all"} {
			target := Target{Name: name, Type: dnsrecord.TXT, Kind: kind, Value: value}
			got := judge(target, survey{nodes: []node{{name: name, zone: "example.org", answers: []answer{a}}}}, patience{})
			if got.state == Verified && value != "" && (a.said != saidValues || len(relevant(kind, a.values)) != 1) {
				t.Errorf("%q was verified by %+v", value, a)
			}
			if (got.state == Verified) != (got.message == "") {
				t.Errorf("%s with the message %q", got.state, got.message)
			}
			if len(got.message) > 2000 || len(got.found) > maxFound {
				t.Errorf("too long: %q %q", got.message, got.found)
			}
		}
	}
}

func FuzzTXTValuesSurviveTheWire(f *testing.F) {
	f.Add([]byte(`v=DKIM1; p="\200;`), 3)
	f.Add([]byte{0, 1, 255, '\\', '"', ';', '\n', '0'}, 1)
	f.Fuzz(func(t *testing.T, value []byte, size int) {
		size = 1 + max(0, size)%255
		wire := []byte{0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0} // the root's TXT, without its length and data
		var data []byte
		for rest := value; len(rest) > 0; {
			n := min(size, len(rest))
			data = append(append(data, byte(n)), rest[:n]...)
			rest = rest[n:]
		}
		if len(data) == 0 || len(data) > 60000 {
			return
		}
		wire[9], wire[10] = byte(len(data)>>8), byte(len(data))
		rr, _, err := dns.UnpackRR(append(wire, data...), 0)
		if err != nil {
			t.Fatal(err)
		}
		txt, ok := rr.(*dns.TXT)
		if !ok {
			t.Fatalf("%T", rr)
		}
		if got := txtValue(txt); got != string(value) {
			t.Errorf("got %q, want %q", got, value)
		}
	})
}
