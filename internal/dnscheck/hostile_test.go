// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// A zone says how much work it makes, and it may say anything.
func TestWhatAHostileZoneCosts(t *testing.T) {
	for title, c := range map[string]struct {
		lie       func(q, a *dns.Msg) *dns.Msg // of example.org's server
		questions int
	}{
		"hundreds of name servers": {func(q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeNS {
				for i := range 600 {
					a.Answer = append(a.Answer, rr(t, fmt.Sprintf("example.org. 60 NS ns%d.example.net.", i)))
				}
			}
			return a
		}, maxQuestions},
		"hundreds of addresses": {func(q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeA {
				for i := range 600 {
					a.Answer = append(a.Answer, rr(t, fmt.Sprintf("%s 60 A 127.1.%d.%d", q.Question[0].Name, i/250, i%250)))
				}
			}
			return a
		}, 4 * maxServers},
		"a CNAME to ever another name": {func(q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeTXT {
				a.Rcode, a.Ns = 0, nil
				a.Answer = []dns.RR{rr(t, fmt.Sprintf("%s 60 CNAME x%d.example.org.", q.Question[0].Name, len(q.Question[0].Name)))}
			}
			return a
		}, maxQuestions},
		"an answer of 64 KiB": {func(q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeTXT {
				a.Rcode, a.Ns = 0, nil
				for i := range 220 {
					a.Answer = append(a.Answer, rr(t, fmt.Sprintf(`%s 60 TXT "%03d%s"`, q.Question[0].Name, i, strings.Repeat("x", 240))))
				}
			}
			return a
		}, 40},
		"records of other names and types": {func(_, a *dns.Msg) *dns.Msg {
			for i := range 100 {
				a.Answer = append(a.Answer, rr(t, fmt.Sprintf(`n%d.example.org. 60 TXT "x"`, i)), rr(t, fmt.Sprintf("n%d.example.org. 60 CNAME example.net.", i)))
				a.Extra = append(a.Extra, rr(t, fmt.Sprintf("ns%d.example.net. 60 A 127.0.0.66", i)))
			}
			return a
		}, 40},
	} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}}})
			b.world.Server("127.0.0.3").SetFaults(nameserver.Faults{Lie: c.lie})
			v := b.sweep()
			if v.State == Verified {
				t.Errorf("verified: %+v", v)
			}
			checkBounds(t, v)
			if n := b.world.Server("127.0.0.3").Queries("", dns.TypeANY); n > c.questions {
				t.Errorf("%d questions, more than %d", n, c.questions)
			}
		})
	}
}

func rr(t *testing.T, line string) dns.RR {
	t.Helper()
	out, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkBounds makes sure that a verdict fits into a status whatever was answered.
func checkBounds(tb testing.TB, v Verdict) {
	tb.Helper()
	if len(v.Message) > 8*maxLine || len(v.Found) > maxFound || len(v.Notes) > maxFound || len(v.Servers) > maxServers*(maxAliases+1) || len(v.Path.Aliases) > maxAliases {
		tb.Errorf("a message of %d octets, %d values, %d notes, %d servers, %d aliases", len(v.Message), len(v.Found), len(v.Notes), len(v.Servers), len(v.Path.Aliases))
	}
	for _, value := range v.Found {
		if len(value) > maxValue+len("…") {
			tb.Errorf("a value of %d octets", len(value))
		}
	}
}

// maxLine is a generous bound on what is said of one server.
const maxLine = 1024

// Whoever delegates a zone chooses whom we ask. It shall be nobody behind our own firewall, unless a person says so.
func TestPrivateAddressesAreNotAskedOfThePublicDNS(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	b.surveyor.resolver.client.private = false // as with public roots
	b.surveyor.resolver.client.exchange = func(ctx context.Context, network string, addr netip.AddrPort, q question, m *dns.Msg) (*dns.Msg, error) {
		if q.name.In("example.org") && q.rrtype == dns.TypeTXT {
			t.Errorf("%s was asked", addr)
		}
		return overNetwork(ctx, network, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, addr.Addr().As4()[3]}), addr.Port()), q, m)
	}
	b.surveyor.resolver.roots = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), b.world.Port())}
	public := nameserver.Faults{Lie: func(_, a *dns.Msg) *dns.Msg { // the root and the top-level zone are public
		for _, rr := range slices.Concat(a.Answer, a.Extra) {
			if a, ok := rr.(*dns.A); ok && a.A[3] < 3 {
				a.A[0], a.A[1], a.A[2] = 192, 0, 2
			}
		}
		return a
	}}
	b.world.Server("127.0.0.1").SetFaults(public)
	b.world.Server("127.0.0.2").SetFaults(public)
	v := b.sweep()
	if v.State != Unreachable || !strings.Contains(v.Message, "127.0.0.3 (ns1.example.org) is not asked, for its address is not of the public Internet") {
		t.Errorf("got %s: %s", v.State, v.Message)
	}
	for addr, public := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "100.63.0.1": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "fd00::1": false, "fe80::1": false, "0.0.0.0": false, "224.0.0.1": false,
	} {
		if isPublic(netip.MustParseAddr(addr)) != public {
			t.Errorf("%s is public: %v", addr, !public)
		}
	}
}

func TestHowAnswersTravel(t *testing.T) {
	for title, c := range map[string]struct {
		octets int
		want   Carriage
	}{"small": {100, ByUDP}, "more than 512": {600, ByEDNS}, "more than 1232": {1300, ByTCP}} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, nil)
			spf := target
			spf.Name, spf.Kind, spf.Value = "example.org", "SPF", "v=spf1 -all"
			b.add(`@ 300 TXT "v=spf1 -all"`)
			if v := b.sweepOf(spf, Policy{}); v.Carriage() != ByUDP {
				t.Errorf("%d and %d octets", v.AnswerSize, v.PlainSize)
			}
			for i := 0; i < c.octets; i += 200 { // somebody adds text, which a single server is enough to see
				b.add(fmt.Sprintf(`@ 300 TXT "%d%s"`, i, strings.Repeat("x", min(200, c.octets-i))))
			}
			b.clock.forward(b.options.Interval * 2)
			b.round()
			v, _ := b.Verdict(spf)
			if v.State != Verified || v.Carriage() != c.want {
				t.Errorf("%s, %d and %d octets", v.State, v.AnswerSize, v.PlainSize)
			}
		})
	}
}

// FuzzSurvey lets every server of the world answer with the same few packets in turn, and looks at a name, an alias and a zone.
func FuzzSurvey(f *testing.F) {
	seed := func(authoritative bool, records ...string) []byte { return reply(f, authoritative, 0, records...) }
	refer := seed(false, "authority: example.org. 60 NS ns.example.org.", "extra: ns.example.org. 60 A 192.0.2.3")
	soa := seed(true, "answer: example.org. 60 SOA ns. h. 1 2 3 4 60", "authority: example.org. 60 NS ns.example.org.", "extra: ns.example.org. 60 AAAA 2001:db8::1")
	f.Add(refer, soa, seed(true, `answer: m1._domainkey.example.org. 60 TXT "v=DKIM1; p=abc"`))
	f.Add(refer, soa, seed(true, "answer: m1._domainkey.example.org. 60 CNAME m1._domainkey.example.org."))
	f.Add(refer, soa, seed(true, "answer: _domainkey.example.org. 60 DNAME _domainkey._domainkey.example.org."))
	f.Add(soa, refer, seed(true, `answer: *.example.org. 60 TXT "\"\\\000"`))
	f.Add(seed(false, "authority: org. 60 NS a.org.", "authority: org. 60 NS b.org."), refer, []byte{0})
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		packets := [][]byte{first, second, third}
		var asked atomic.Int32
		p := New(Options{Now: (&clock{}).Now, Rate: 1e9, ServerRate: 1e9, HasRoute: func(netip.Addr) bool { return true }})
		p.surveyor.resolver.client.exchange = func(_ context.Context, _ string, _ netip.AddrPort, q question, m *dns.Msg) (*dns.Msg, error) {
			r := new(dns.Msg)
			if err := r.Unpack(packets[int(asked.Add(1)-1)%len(packets)]); err != nil {
				return nil, errUnreadable
			}
			r.Id, r.Response, r.Question = m.Id, true, m.Question
			for _, rr := range slices.Concat(r.Answer, r.Ns) { // what stands at the name of the packet stands at every name
				if rr.Header().Name == name.FQDN() {
					rr.Header().Name = q.name.FQDN()
				}
			}
			return r, nil
		}
		before := Target{Name: name, Type: dnsrecord.TXT, Kind: "Exclusive", Value: "v=DKIM1; p=abc"}
		s, err := p.surveyor.sweep(t.Context(), before, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory(p.options.Now(), 0)
		m.remember(judge(before, s, patience{}), p.options.Now(), p.options.Now(), 0)
		checkBounds(t, m.verdict)
		if n := asked.Load(); n > maxQuestions {
			t.Errorf("%d questions", n)
		}
		if _, err := p.Trace(t.Context(), name, Policy{}); err != nil && len(err.Error()) > 16*maxLine {
			t.Errorf("an error of %d octets", len(err.Error()))
		}
	})
}
