// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// What docs/probing.md computes with: each domain has two keys that sign, two that stand by, SPF and DMARC.
const (
	recordsPerDomain = 6
	// walkQuestions is what it takes to find a zone with two name servers anew, and to ask it about itself.
	walkQuestions = 8
)

// hosters is a DNS without servers: every domain d<n>.test is on two of its addresses, and every record is in place. It
// counts the questions of each second.
type hosters struct {
	mu      sync.Mutex
	begin   time.Time
	seconds map[int]int
	servers map[netip.Addr]int
	txt     int
}

// bubbleTime is the fake time of testing/synctest.
func bubbleTime() time.Time { return time.Now() } //nolint:forbidigo // the time of the bubble

func (h *hosters) exchange(_ context.Context, _ string, addr netip.AddrPort, q question, m *dns.Msg) (*dns.Msg, error) {
	now := bubbleTime()
	h.mu.Lock()
	h.seconds[int(now.Sub(h.begin)/time.Second)]++
	h.servers[addr.Addr()]++
	if q.rrtype == dns.TypeTXT {
		h.txt++
	}
	h.mu.Unlock()
	<-time.After(20 * time.Millisecond) // of the bubble's time
	r := new(dns.Msg)
	r.SetReply(m)
	labels := q.name.Labels()
	domain := strings.Join(labels[max(0, len(labels)-2):], ".")
	var n int
	_, _ = fmt.Sscanf(domain, "d%d.test", &n)
	name := q.name.FQDN()
	switch {
	case q.rrtype == dns.TypeNS && len(labels) == 0:
		r.Authoritative, r.Answer, r.Extra = true, records(". 86400 NS a.root."), records("a.root. 86400 A 192.0.2.1")
	case addr.Addr() == netip.MustParseAddr("192.0.2.1"):
		r.Ns, r.Extra = records("test. 86400 NS a.nic.test."), records("a.nic.test. 86400 A 192.0.2.2")
	case addr.Addr() == netip.MustParseAddr("192.0.2.2"):
		r.Ns = records(domain+". 86400 NS ns1."+domain+".", domain+". 86400 NS ns2."+domain+".")
		r.Extra = records(fmt.Sprintf("ns1.%s. 86400 A 198.51.100.%d", domain, n%100), fmt.Sprintf("ns2.%s. 86400 A 203.0.113.%d", domain, n%100))
	default:
		r.Authoritative = true
		h.answer(r, q, name, domain, n)
	}
	return r, nil
}

func (h *hosters) answer(r *dns.Msg, q question, name, domain string, n int) {
	soa := records(domain + ". 300 SOA ns1." + domain + ". h. 1 3600 600 86400 60")
	switch {
	case q.rrtype == dns.TypeTXT && len(q.name.Labels()) == 4: // and nothing below, as a wildcard would have
		r.Answer = records(name + ` 300 TXT "v=DKIM1; p=abc"`)
	case q.rrtype == dns.TypeNS:
		r.Answer = records(domain+". 300 NS ns1."+domain+".", domain+". 300 NS ns2."+domain+".")
	case q.rrtype == dns.TypeA && strings.HasPrefix(name, "ns1."):
		r.Answer = records(fmt.Sprintf("%s 300 A 198.51.100.%d", name, n%100))
	case q.rrtype == dns.TypeA && strings.HasPrefix(name, "ns2."):
		r.Answer = records(fmt.Sprintf("%s 300 A 203.0.113.%d", name, n%100))
	case q.rrtype == dns.TypeSOA && string(q.name) == domain:
		r.Answer = soa
	default:
		r.Ns = soa
	}
}

func records(lines ...string) []dns.RR {
	var out []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		out = append(out, rr)
	}
	return out
}

// span counts the questions from one moment to another, and the most in one second.
func (h *hosters) span(from, to time.Duration) (total, most int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := int(from / time.Second); s < int(to/time.Second); s++ {
		total += h.seconds[s]
		most = max(most, h.seconds[s])
	}
	return total, most
}

// watchDomains runs a prober for n domains for a while of fake time.
func watchDomains(t *testing.T, n int, rate float64, d time.Duration, check func(*Prober, *hosters)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hosters{begin: bubbleTime(), seconds: map[int]int{}, servers: map[netip.Addr]int{}}
		p := New(Options{Now: bubbleTime, Rate: rate, HasRoute: func(a netip.Addr) bool { return a.Is4() }})
		p.surveyor.resolver.client.exchange = h.exchange
		p.surveyor.resolver.roots = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
		for i := range n {
			var targets []Target
			for r := range recordsPerDomain {
				name := dnsrecord.Name(fmt.Sprintf("r%d._domainkey.d%d.test", r, i))
				targets = append(targets, Target{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "v=DKIM1; p=abc"})
			}
			p.Watch(fmt.Sprint(i), Policy{}, targets)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Start(ctx) }()
		go func() {
			for {
				select {
				case <-p.Wake():
				case <-ctx.Done():
					return
				}
			}
		}()
		<-time.After(d)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		check(p, h)
	})
}

func TestInTheSteadyStateOneServerIsAskedOnceARound(t *testing.T) {
	const domains, warm, measured = 200, time.Hour, 3 * time.Hour
	watchDomains(t, domains, 0, warm+measured, func(p *Prober, h *hosters) {
		total, _ := h.span(warm, warm+measured)
		hours := measured.Hours()
		rounds := hours * 3600 / p.options.Interval.Seconds()
		want := domains * (recordsPerDomain*rounds + hours*walkQuestions)
		if ratio := float64(total) / want; ratio < 0.9 || ratio > 1.1 {
			t.Errorf("%d questions in %s, %.2f of the %.0f that docs/probing.md computes with", total, measured, ratio, want)
		}
		t.Logf("%d questions for %d domains in %s; computed: %.0f", total, domains, measured, want)
		for i := range p.agenda {
			if v := p.agenda[i].memory.verdict; v.State != Verified {
				t.Fatalf("%s is %s: %s", p.agenda[i].target.Name, v.State, v.Message)
			}
		}
	})
}

// Whatever is due, no second has more questions than the rate, but for the first ones, when the bucket is full.
func TestTheRateHolds(t *testing.T) {
	const rate, during = 50, 10 * time.Minute
	watchDomains(t, 1000, rate, during, func(_ *Prober, h *hosters) {
		total, most := h.span(2*time.Second, during)
		if limit := rate * int(during/time.Second); total > limit || most > rate+1 {
			t.Errorf("%d questions in %s, %d in one second, at %d a second", total, during, most, rate)
		}
		if total < rate*int(during/time.Second)*8/10 {
			t.Errorf("%d questions only: the limiter is not what holds them", total)
		}
		for server, n := range h.servers {
			if limit := 20 * (int(during/time.Second) + 1); n > limit {
				t.Errorf("%s was asked %d times in %s", server, n, during)
			}
		}
	})
}

func TestProbingIsDocumentedAsItIs(t *testing.T) {
	text, err := os.ReadFile("../../docs/probing.md")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Now: bubbleTime}.withDefaults()
	const domains = 10000
	samples := domains * recordsPerDomain / o.Interval.Seconds()
	walks := domains * walkQuestions / maxTopAge.Seconds()
	sweeps := float64(domains * (walkQuestions + 2*2*recordsPerDomain))
	for _, line := range []string{
		fmt.Sprintf("10,000 × %d records / %.0f s = %.0f questions a second", recordsPerDomain, o.Interval.Seconds(), samples),
		fmt.Sprintf("10,000 × %d questions / %.0f s = %.0f questions a second", walkQuestions, maxTopAge.Seconds(), walks),
		fmt.Sprintf("**%.0f questions a second**", samples+walks),
		fmt.Sprintf("at most %.0f a second", o.Rate),
		fmt.Sprintf("%.0f a second to one address", o.ServerRate),
		fmt.Sprintf("%.0f minutes after a start", math.Ceil(sweeps/o.Rate/60)),
		fmt.Sprintf("%d questions", maxQuestions),
		fmt.Sprintf("%d aliases", maxAliases),
		fmt.Sprintf("%d referrals", maxReferrals),
		fmt.Sprintf("%d name servers", maxNames),
		fmt.Sprintf("%d addresses", maxServers),
		fmt.Sprintf("%d records", maxRecords),
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/probing.md does not say %q", line)
		}
	}
	if samples+walks > o.Rate {
		t.Errorf("10,000 domains take %.0f questions a second, and %.0f are allowed", samples+walks, o.Rate)
	}
	if domains > maxZones || domains*recordsPerDomain > 8*maxZones {
		t.Error("10,000 domains do not fit into the cache of zones")
	}
}
