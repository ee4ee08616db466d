// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a private DNS and a prober that moves only when told to.
type bench struct {
	*Prober
	t     *testing.T
	world *nameserver.Running
	clock *clock
}

// target is the record set that most tests watch.
var target = Target{Name: "m1._domainkey.example.org", Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "v=DKIM1; p=abc"}

const ours = `m1._domainkey 300 TXT "v=DKIM1; p=abc"`

func newBench(t *testing.T, sites []nameserver.Site, change ...func(*Options)) *bench {
	t.Helper()
	if len(sites) == 0 {
		sites = []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}}}
	}
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{Sites: sites})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	b := &bench{t: t, world: world, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	o := Options{Now: b.clock.Now, Roots: world.Roots(), Port: world.Port(), MinimumWait: -1, Rate: 1e6, ServerRate: 1e6, Timeout: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	b.Prober = New(o)
	return b
}

func (b *bench) zone() *nameserver.Zone { return b.world.Zone("example.org") }

func (b *bench) add(lines ...string) {
	b.t.Helper()
	if err := b.zone().Add(strings.Join(lines, "\n")); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := b.zone().Remove(name, dns.TypeANY); err != nil {
		b.t.Fatal(err)
	}
}

// round surveys all that is due now, once each.
func (b *bench) round() {
	b.t.Helper()
	for {
		e, _ := b.take()
		if e == nil {
			return
		}
		b.check(b.t.Context(), e)
	}
}

// sweep watches target, asks for a fresh sweep and returns the verdict.
func (b *bench) sweep() Verdict { return b.sweepOf(target, Policy{}) }

func (b *bench) sweepOf(t Target, p Policy) Verdict {
	b.t.Helper()
	b.Watch("owner", p, []Target{t})
	b.Sweep(t)
	b.round()
	v, ok := b.Verdict(t)
	if !ok {
		b.t.Fatal("nobody watches it")
	}
	return v
}

func (b *bench) expect(v Verdict, state State, message string) {
	b.t.Helper()
	if v.State != state || v.Message != message {
		b.t.Errorf("got %s %q, want %s %q", v.State, v.Message, state, message)
	}
}

func TestARecordOnEveryServerIsVerified(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	v := b.sweep()
	b.expect(v, Verified, "")
	if v.Zone != "example.org" || v.Wait != time.Minute || v.WaitReason != "SOA minimum 60 s of example.org" || !slices.Equal(v.Found, []string{target.Value}) {
		t.Errorf("got %+v", v)
	}
	if !v.LastLacking.IsZero() || v.VerifiedSince.IsZero() || v.SweptAt.IsZero() || v.AnswerSize == 0 {
		t.Errorf("got %+v", v)
	}
	for _, addr := range []string{"127.0.0.3", "127.0.0.4"} {
		if got := b.world.Server(addr).Queries(string(target.Name), dns.TypeTXT); got != 1 {
			t.Errorf("%s was asked %d times", addr, got)
		}
	}
	if got := b.world.Server("127.0.0.1").Queries(string(target.Name), dns.TypeTXT); got != 0 {
		t.Errorf("the root was asked for the record %d times", got)
	}
}

func TestALaggingServerBlocks(t *testing.T) {
	b := newBench(t, nil)
	b.world.Server("127.0.0.4").Freeze()
	b.add(ours)
	v := b.sweep()
	b.expect(v, Lacking, "127.0.0.4 (ns2.example.org) answers without it")
	if v.LastLacking != b.clock.Now() || !v.VerifiedSince.IsZero() {
		t.Errorf("got %+v", v)
	}
	b.clock.forward(time.Minute)
	b.world.Server("127.0.0.4").Release()
	v = b.sweep()
	b.expect(v, Verified, "")
	if v.LastLacking != b.clock.Now() || v.VerifiedSince != b.clock.Now() || v.FirstVerified != b.clock.Now() {
		t.Errorf("got %+v", v)
	}
}

func TestARelapseRestartsTheWait(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	first := b.sweep()
	b.clock.forward(20 * time.Minute)
	b.remove("m1._domainkey")
	b.round() // one server at random has lost it: that starts a full sweep
	v, _ := b.Verdict(target)
	b.expect(v, Lacking, "127.0.0.3 (ns1.example.org) answers without it; 127.0.0.4 (ns2.example.org) answers without it")
	b.clock.forward(time.Minute)
	b.add(ours)
	b.round()
	v, _ = b.Verdict(target)
	b.expect(v, Verified, "")
	if v.LastLacking != b.clock.Now() || v.VerifiedSince != b.clock.Now() || v.FirstVerified != first.FirstVerified {
		t.Errorf("got %+v", v)
	}
}

func TestAVerifiedTargetCostsOneQuestionARound(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	b.sweep()
	questions := func() int {
		n := 0
		for _, s := range b.world.Servers() {
			n += s.Queries("", dns.TypeANY)
		}
		return n
	}
	before := questions()
	for range 4 { // the zone's servers are looked up again after an hour
		b.clock.forward(451 * time.Second)
		b.round() // some are not due yet
		b.clock.forward(300 * time.Second)
		b.round()
	}
	if got := questions() - before; got < 4 || got > 7 {
		t.Errorf("%d questions in 50 minutes", got)
	}
}

func TestServersThatCannotBeAsked(t *testing.T) {
	for _, c := range []struct {
		title  string
		faults nameserver.Faults
		detail string
	}{
		{"a lame server", nameserver.Faults{Lame: true}, "is not authoritative"},
		{"a server that refuses", nameserver.Faults{Rcode: dns.RcodeRefused}, "is not authoritative: it answers REFUSED"},
		{"a server that fails", nameserver.Faults{Rcode: dns.RcodeServerFailure}, "answers SERVFAIL"},
	} {
		t.Run(c.title, func(t *testing.T) {
			b := newBench(t, nil, func(o *Options) { o.Timeout = time.Second })
			b.add(ours)
			b.world.Server("127.0.0.4").SetFaults(c.faults)
			line := "127.0.0.4 (ns2.example.org) " + c.detail
			b.expect(b.sweep(), Unreachable, line)
			for range 5 {
				b.clock.forward(11 * time.Minute)
				b.expect(b.sweep(), Unreachable, line)
			}
			b.clock.forward(5 * time.Minute)
			v := b.sweep()
			b.expect(v, Verified, line+" and is no longer waited for")
			if i := slices.IndexFunc(v.Servers, func(s ServerAnswer) bool { return s.Excused }); i < 0 || v.Servers[i].Name != "ns2.example.org" {
				t.Errorf("got %+v", v.Servers)
			}
			b.expect(b.sweepOf(target, Policy{Strict: true}), Unreachable, line)
		})
	}
	t.Run("a server that sends nonsense", func(t *testing.T) {
		b := newBench(t, nil, func(o *Options) { o.Timeout = 400 * time.Millisecond })
		b.add(ours)
		b.world.Server("127.0.0.4").SetFaults(nameserver.Faults{Lie: func(_, a *dns.Msg) *dns.Msg { a.Question[0].Name = "other."; return a }})
		b.expect(b.sweep(), Unreachable, "127.0.0.4 (ns2.example.org) sends answers that cannot be read")
	})
	t.Run("a server that is silent", func(t *testing.T) {
		b := newBench(t, nil, func(o *Options) { o.Timeout = 400 * time.Millisecond })
		b.add(ours)
		b.world.Server("127.0.0.4").SetFaults(nameserver.Faults{Drop: true})
		b.expect(b.sweep(), Unreachable, "127.0.0.4 (ns2.example.org) does not answer")
		asked := b.world.Server("127.0.0.4").Queries("", dns.TypeANY)
		b.expect(b.sweep(), Unreachable, "127.0.0.4 (ns2.example.org) does not answer")
		if got := b.world.Server("127.0.0.4").Queries("", dns.TypeANY); got != asked {
			t.Errorf("it is not left alone: %d more questions", got-asked)
		}
	})
	t.Run("an address where nobody listens", func(t *testing.T) {
		b := newBench(t, nil)
		b.add(ours)
		if err := b.world.Zone("org").Add(strings.Join([]string{"example NS ns3.example", "ns3.example A 127.0.0.99"}, "\n")); err != nil {
			t.Fatal(err)
		}
		v := b.sweep()
		b.expect(v, Unreachable, "127.0.0.99 (ns3.example.org) refuses connections on its port")
		if diff := cmp.Diff([]string{"only the parent of example.org names ns3.example.org as name server"}, v.Notes); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("after the hour another server's lack still blocks", func(t *testing.T) {
		b := newBench(t, nil)
		b.world.Server("127.0.0.4").SetFaults(nameserver.Faults{Lame: true})
		b.sweep()
		b.clock.forward(2 * time.Hour)
		b.expect(b.sweep(), Lacking, "127.0.0.3 (ns1.example.org) answers without it; 127.0.0.4 (ns2.example.org) is not authoritative")
	})
}

func TestServersWithOldHabitsAreUnderstood(t *testing.T) {
	for title, faults := range map[string]nameserver.Faults{
		"truncation":  {Truncate: true},
		"no EDNS":     {NoEDNS: true},
		"no UDP":      {DropUDP: true},
		"other cases": {Lie: func(_, a *dns.Msg) *dns.Msg { a.Question[0].Name = strings.ToUpper(a.Question[0].Name); return a }},
	} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, nil, func(o *Options) { o.Timeout = time.Second })
			b.add(ours)
			b.world.Server("127.0.0.4").SetFaults(faults)
			b.expect(b.sweep(), Verified, "")
		})
	}
}

func TestNameServersOfParentAndChildAreAsked(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}},
		{Zone: "example.net", Addrs: []string{"127.0.0.5", "127.0.0.6"}},
	})
	b.add("@ NS ns2.example.net.") // only the child knows it; and it does not have the zone
	b.add(ours)
	v := b.sweep()
	b.expect(v, Unreachable, "127.0.0.6 (ns2.example.net) is not authoritative: it answers REFUSED")
	if diff := cmp.Diff([]string{"only the zone itself, not the parent, of example.org names ns2.example.net as name server"}, v.Notes); diff != "" {
		t.Error(diff)
	}
	z, err := b.Zone(t.Context(), "a.b.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if z.Apex != "example.org" || !slices.Equal(z.ParentNS, []dnsrecord.Name{"ns1.example.org"}) || !slices.Equal(z.ChildNS, []dnsrecord.Name{"ns1.example.org", "ns2.example.net"}) || len(z.Servers) != 2 {
		t.Errorf("got %+v", z)
	}
}

func TestAFamilyWithoutARouteIsSkipped(t *testing.T) {
	noV6 := func(o *Options) { o.HasRoute = func(a netip.Addr) bool { return a.Is4() } }
	t.Run("beside one with a route", func(t *testing.T) {
		b := newBench(t, nil, noV6)
		b.add(ours, "ns2 AAAA 2001:db8::4")
		v := b.sweep()
		b.expect(v, Verified, "")
		if diff := cmp.Diff([]string{"addresses of IPv6 are skipped: there is no route to them"}, v.Notes); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a zone that has only such servers cannot be asked", func(t *testing.T) {
		b := newBench(t, nil, noV6)
		if err := b.world.Zone("org").Add(strings.Join([]string{"six NS ns1.six", "ns1.six AAAA 2001:db8::6"}, "\n")); err != nil {
			t.Fatal(err)
		}
		six := target
		six.Name = "m1._domainkey.six.org"
		b.expect(b.sweepOf(six, Policy{}), Unreachable, "the name servers for m1._domainkey.six.org cannot be found: the servers of six.org: no address of a server is known that could be asked")
	})
}

func TestAWildcardIsNotOurRecord(t *testing.T) {
	b := newBench(t, nil)
	b.add(`* 120 TXT "v=DKIM1; p=abc"`)
	v := b.sweep()
	b.expect(v, Lacking, "127.0.0.3 (ns1.example.org) answers from the wildcard *.example.org, not with a record at the name; "+
		"127.0.0.4 (ns2.example.org) answers from the wildcard *.example.org, not with a record at the name")
	if v.Wait != 2*time.Minute || v.WaitReason != "TTL 120 s of the wildcard answer at m1._domainkey.example.org" {
		t.Errorf("got %s, %s", v.Wait, v.WaitReason)
	}
	b.add(`m1._domainkey 120 TXT "v=DKIM1; p=abc"`)
	b.expect(b.sweep(), Verified, "")
}

func TestAWildcardCNAMEIsNamed(t *testing.T) {
	b := newBench(t, nil)
	b.add(`* 120 CNAME www.example.org.`, `www A 192.0.2.1`)
	v := b.sweep()
	if v.State != Lacking || !slices.Equal(v.Notes, []string{"the wildcard *.example.org is a CNAME, which answers for every name without records, m1._domainkey.example.org too"}) {
		t.Errorf("got %+v", v)
	}
}

func TestAliasesAreFollowedToTheirOwnServers(t *testing.T) {
	sites := []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}},
		{Zone: "example.net", Addrs: []string{"127.0.0.5", "127.0.0.6"}, TTL: 600, Minimum: 500},
	}
	for title, alias := range map[string]string{
		"CNAME": "m1._domainkey 450 CNAME m1.keys.example.net.",
		"DNAME": "_domainkey 450 DNAME keys.example.net.",
	} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, sites)
			b.add(alias)
			keys := b.world.Zone("example.net")
			b.world.Server("127.0.0.6").Freeze()
			if err := keys.Add(`m1.keys TXT "v=DKIM1; p=abc"`); err != nil {
				t.Fatal(err)
			}
			v := b.sweep()
			b.expect(v, Lacking, "127.0.0.6 (ns2.example.net) answers without it")
			if v.Wait != 500*time.Second || v.WaitReason != "SOA minimum 500 s of example.net" {
				t.Errorf("got %s, %s", v.Wait, v.WaitReason)
			}
			b.world.Server("127.0.0.6").Release()
			b.expect(b.sweep(), Verified, "")
			if err := keys.Replace("@", dns.TypeSOA, "@ 60 SOA ns1 hostmaster 9 3600 600 86400 60"); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("the alias's own TTL counts", func(t *testing.T) {
		b := newBench(t, sites[:1])
		b.add("m1._domainkey 450 CNAME m1.keys", `m1.keys TXT "v=DKIM1; p=abc"`)
		v := b.sweep()
		b.expect(v, Verified, "")
		if v.WaitReason != "TTL 450 s of the CNAME at m1._domainkey.example.org" {
			t.Error(v.WaitReason)
		}
	})
	t.Run("a circle ends", func(t *testing.T) {
		b := newBench(t, sites[:1])
		b.add("m1._domainkey CNAME a", "a CNAME b", "b CNAME a")
		b.expect(b.sweep(), Lacking, "127.0.0.3 (ns1.example.org) answers with a CNAME to a.example.org, which leads in a circle or too far")
	})
	t.Run("an endless chain ends", func(t *testing.T) {
		b := newBench(t, sites[:1])
		b.add("m1._domainkey CNAME x0")
		b.add("x0 CNAME x1", "x1 CNAME x2", "x2 CNAME x3", "x3 CNAME x4", "x4 CNAME x5", "x5 CNAME x6", "x6 CNAME x7", "x7 CNAME x8", "x8 CNAME x9", `x9 TXT "v=DKIM1; p=abc"`)
		b.expect(b.sweep(), Lacking, "127.0.0.3 (ns1.example.org) answers with a CNAME to x8.example.org, which leads in a circle or too far")
	})
}

func TestADelegationForMailRecordsAloneCountsItsParent(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, TTL: 900, Minimum: 800},
		{Zone: "_domainkey.example.org", Addrs: []string{"127.0.0.5"}, Records: `m1 TXT "v=DKIM1; p=abc"`},
	})
	v := b.sweep()
	b.expect(v, Verified, "")
	if v.Zone != "_domainkey.example.org" || v.WaitReason != "SOA minimum 800 s of example.org" {
		t.Errorf("got %s, %s", v.Zone, v.WaitReason)
	}
}

func TestAZoneOnItsParentsServersIsFound(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}},
		{Zone: "mail.example.org", Addrs: []string{"127.0.0.3"}, Records: `m1._domainkey TXT "v=DKIM1; p=abc"`},
	})
	mail := target
	mail.Name = "m1._domainkey.mail.example.org"
	v := b.sweepOf(mail, Policy{})
	b.expect(v, Verified, "")
	if v.Zone != "mail.example.org" {
		t.Errorf("got %s", v.Zone)
	}
}

func TestADomainThatIsNotDelegatedIsNamed(t *testing.T) {
	b := newBench(t, nil)
	other := target
	other.Name = "m1._domainkey.example2.org"
	v := b.sweepOf(other, Policy{})
	b.expect(v, Lacking, "no zone is delegated for m1._domainkey.example2.org: the servers of org answer without it")
	if got := b.world.Server("127.0.0.2").Queries("org", dns.TypeNS); got != 0 {
		t.Errorf("the top-level zone was asked %d times about itself", got)
	}
}

func TestNameServersWithoutGlueAreLookedUp(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.net", Addrs: []string{"127.0.0.5"}, Records: "dns A 127.0.0.3"},
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Undelegated: true, Bare: true, Records: "@ SOA ns. h. 1 1 1 1 60\n@ NS dns.example.net.\n" + ours},
	})
	if err := b.world.Zone("org").Add("example NS dns.example.net."); err != nil {
		t.Fatal(err)
	}
	b.expect(b.sweep(), Verified, "")
}

func TestGlueOutsideTheParentIsIgnored(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.net", Addrs: []string{"127.0.0.5"}, Records: "dns A 127.0.0.3"},
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Undelegated: true, Bare: true, Records: "@ SOA ns. h. 1 1 1 1 60\n@ NS dns.example.net.\n" + ours},
	})
	if err := b.world.Zone("org").Add("example NS dns.example.net."); err != nil {
		t.Fatal(err)
	}
	// The TLD claims another address for a name that is not its own to speak of.
	b.world.Server("127.0.0.2").SetFaults(nameserver.Faults{Lie: func(_, a *dns.Msg) *dns.Msg {
		if len(a.Ns) > 0 && a.Ns[0].Header().Name == "example.org." {
			rr, err := dns.NewRR("dns.example.net. 300 A 127.0.0.66")
			if err == nil {
				a.Extra = append([]dns.RR{rr}, a.Extra...)
			}
		}
		return a
	}})
	b.expect(b.sweep(), Verified, "")
}

func TestHostileDelegationsEnd(t *testing.T) {
	t.Run("name servers that need each other", func(t *testing.T) {
		b := newBench(t, nil)
		if err := b.world.Zone("org").Add("a NS ns.b\nb NS ns.a"); err != nil {
			t.Fatal(err)
		}
		loop := target
		loop.Name = "m1._domainkey.a.org"
		if v := b.sweepOf(loop, Policy{}); v.State != Unreachable {
			t.Errorf("got %+v", v)
		}
		if got := b.world.Server("127.0.0.2").Queries("", dns.TypeANY); got > 4*maxDepth {
			t.Errorf("%d questions", got)
		}
	})
	t.Run("a server that refers to itself for ever", func(t *testing.T) {
		b := newBench(t, nil)
		labels := 0
		b.world.Server("127.0.0.3").SetFaults(nameserver.Faults{Lie: func(q, a *dns.Msg) *dns.Msg {
			labels++
			names := dns.SplitDomainName(q.Question[0].Name)
			zone := strings.Join(names[max(0, len(names)-min(3+labels, len(names))):], ".") + "."
			a.Authoritative, a.Answer, a.Extra, a.Rcode = false, nil, nil, 0
			ns, _ := dns.NewRR(zone + " NS ns." + zone)
			glue, _ := dns.NewRR("ns." + zone + " A 127.0.0.3")
			a.Ns, a.Extra = []dns.RR{ns}, []dns.RR{glue}
			return a
		}})
		b.world.Server("127.0.0.4").SetFaults(nameserver.Faults{Rcode: dns.RcodeRefused})
		deep := target
		deep.Name = dnsrecord.Name(strings.Repeat("a.", 100) + "example.org")
		if v := b.sweepOf(deep, Policy{}); v.State != Unreachable {
			t.Errorf("got %+v", v)
		}
	})
	t.Run("name servers without end", func(t *testing.T) {
		b := newBench(t, nil)
		for _, parent := range []string{"a", "b", "c", "d", "e"} {
			for host := range strings.SplitSeq("a b c d e f g h i j k l m n o p q r s t", " ") {
				if err := b.world.Zone("org").Add(parent + " NS " + host + ".sub." + parent + "x\n" + parent + "x NS " + host + ".sub.b"); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, parent := range []string{"a", "b"} {
			loop := target
			loop.Name = dnsrecord.Name("m1._domainkey." + parent + ".org")
			if v := b.sweepOf(loop, Policy{}); v.State != Unreachable {
				t.Errorf("got %+v", v)
			}
		}
		if got := b.world.Server("127.0.0.2").Queries("", dns.TypeANY); got > 4*maxQuestions {
			t.Errorf("%d questions", got)
		}
	})
}

func TestTheWaitOfASignedZoneCountsItsDenials(t *testing.T) {
	b := newBench(t, []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: `
@ 300 RRSIG SOA 8 2 300 20300101000000 20200101000000 1 example.org. AAAA
@ 3600 NSEC @ SOA NS RRSIG NSEC
`}})
	b.add(ours)
	v := b.sweep()
	b.expect(v, Verified, "")
	if v.WaitReason != "NSEC TTL 3600 s of example.org" || v.Wait != time.Hour {
		t.Errorf("got %s, %s", v.Wait, v.WaitReason)
	}
	if z, err := b.Zone(t.Context(), "example.org"); err != nil || !z.Signed {
		t.Errorf("got %+v, %v", z, err)
	}
}

func TestTheFormerValueIsWaitedOut(t *testing.T) {
	b := newBench(t, nil)
	b.add(`m1._domainkey 7200 TXT "v=DKIM1; p=old"`)
	old := target
	old.Value = "v=DKIM1; p=old"
	b.expect(b.sweepOf(old, Policy{}), Verified, "")
	b.remove("m1._domainkey")
	b.add(ours)
	v := b.sweep() // replaces the old target; no server shows the old value any more
	b.expect(v, Verified, "")
	if v.WaitReason != "TTL 7200 s of the former value at m1._domainkey.example.org" {
		t.Error(v.WaitReason)
	}
	if _, ok := b.Verdict(old); ok {
		t.Error("the old target is still watched")
	}
}

// What somebody else's own server shows under our name is in nobody's cache, and says nothing of the public DNS.
func TestTheServersThatSomebodyNamesAreNotThePublicDNS(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}},
		{Zone: "squat.example", Addrs: []string{"127.0.0.9"}, Undelegated: true},
	})
	squat := Policy{Nameservers: []netip.AddrPort{b.world.Server("127.0.0.9").AddrPort()}}
	b.world.Server("127.0.0.9").SetFaults(nameserver.Faults{Lie: func(q, a *dns.Msg) *dns.Msg {
		soa, _ := dns.NewRR(`example.org. 60 IN SOA ns.squat.example. hostmaster.squat.example. 1 60 60 60 60`)
		txt, _ := dns.NewRR(string(target.Name) + `. 86400 IN TXT "v=DKIM1; p=theirs"`)
		a.Authoritative, a.Answer, a.Ns = true, nil, nil
		switch asked := q.Question[0]; {
		case asked.Name == string(target.Name)+"." && asked.Qtype == dns.TypeTXT:
			a.Rcode, a.Answer = dns.RcodeSuccess, []dns.RR{txt}
		case asked.Name == "example.org." && asked.Qtype == dns.TypeSOA:
			a.Rcode, a.Answer = dns.RcodeSuccess, []dns.RR{soa}
		default:
			a.Rcode, a.Ns = dns.RcodeNameError, []dns.RR{soa}
		}
		return a
	}})
	theirs := target
	theirs.Value = "v=DKIM1; p=theirs"
	b.Watch("squatter", squat, []Target{theirs})
	b.Sweep(theirs)
	b.round()
	if v, _ := b.Verdict(theirs); v.State != Verified || v.Public() {
		t.Errorf("public %v: %+v", v.Public(), v)
	}
	b.add(ours)
	v := b.sweep()
	b.expect(v, Verified, "")
	if !v.Public() || v.Wait >= 24*time.Hour {
		t.Errorf("public %v, waits for %s, %s", v.Public(), v.Wait, v.WaitReason)
	}
	if (Verdict{State: Verified}).Public() || (Verdict{State: Lacking, Servers: v.Servers}).Public() {
		t.Error("nobody has shown it")
	}
}

func TestGivenNameServersReplaceDiscovery(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}},
		{Zone: "corp.example", Addrs: []string{"127.0.0.9"}, Undelegated: true, TTL: 700, Minimum: 600, Records: `m1._domainkey TXT "v=DKIM1; p=abc"`},
	})
	hidden := target
	hidden.Name = "m1._domainkey.corp.example"
	v := b.sweepOf(hidden, Policy{Nameservers: []netip.AddrPort{b.world.Server("127.0.0.9").AddrPort()}})
	b.expect(v, Verified, "")
	if v.Zone != "corp.example" || v.WaitReason != "SOA minimum 600 s of corp.example" {
		t.Errorf("got %s, %s", v.Zone, v.WaitReason)
	}
	if got := b.world.Server("127.0.0.1").Queries("", dns.TypeANY); got != 0 {
		t.Errorf("the root was asked %d times", got)
	}
	b.expect(b.sweepOf(hidden, Policy{}), Lacking, "no zone is delegated for m1._domainkey.corp.example: the servers of example answer without it")
}

func TestModeRecursiveAsksTheResolver(t *testing.T) {
	b := newBench(t, nil)
	b.world.Server("127.0.0.3").SetFaults(nameserver.Faults{Lie: func(q, a *dns.Msg) *dns.Msg {
		a.Authoritative, a.RecursionAvailable = false, q.RecursionDesired
		return a
	}})
	p := Policy{Mode: Recursive, Nameservers: []netip.AddrPort{b.world.Server("127.0.0.3").AddrPort()}}
	v := b.sweepOf(target, p)
	b.expect(v, Lacking, "127.0.0.3 answers without it")
	if got := b.world.Server("127.0.0.3").Queries("", dns.TypeSOA); got != 0 {
		t.Errorf("%d questions for SOA, before the name is there", got)
	}
	b.add("m1._domainkey 450 CNAME m1.keys", `m1.keys TXT "v=DKIM1; p=abc"`)
	v = b.sweepOf(target, p)
	b.expect(v, Verified, "")
	if v.Zone != "example.org" || v.WaitReason != "TTL 450 s of the CNAME at m1._domainkey.example.org" {
		t.Errorf("got %s, %s", v.Zone, v.WaitReason)
	}
	b.expect(b.sweepOf(target, Policy{Mode: Recursive, Nameservers: []netip.AddrPort{b.world.Server("127.0.0.4").AddrPort()}}), Unreachable, "127.0.0.4 is not a resolver: it offers no recursion")
}

func TestModeNoneChecksNothing(t *testing.T) {
	b := newBench(t, nil, func(o *Options) { o.MinimumWait = time.Minute })
	v := b.sweepOf(target, Policy{Mode: None})
	if v.State != Unchecked || v.Wait != time.Minute {
		t.Errorf("got %+v", v)
	}
	if got := b.world.Server("127.0.0.1").Queries("", dns.TypeANY); got != 0 {
		t.Errorf("%d questions", got)
	}
}

func TestAnOwnerIsWokenByChangesOnly(t *testing.T) {
	b := newBench(t, nil)
	woken := func() bool {
		owner, ok := b.wake.take()
		if ok && owner != "owner" {
			t.Errorf("%q was woken", owner)
		}
		return ok
	}
	b.Watch("owner", Policy{}, []Target{target})
	b.round()
	if !woken() {
		t.Error("the first verdict wakes")
	}
	b.clock.forward(time.Minute)
	b.round()
	if woken() {
		t.Error("the same verdict wakes nobody")
	}
	b.Sweep(target)
	b.round()
	if !woken() {
		t.Error("a sweep that was asked for wakes")
	}
	if woken() {
		t.Error("an owner is in the queue once")
	}
}

func TestASweepIsFresh(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	b.sweep()
	b.clock.forward(time.Second)
	asked := b.clock.Now()
	// A server that the parent has named a moment ago is asked at once.
	if err := b.world.Zone("org").Add(strings.Join([]string{"example NS ns3.example", "ns3.example A 127.0.0.99"}, "\n")); err != nil {
		t.Fatal(err)
	}
	v := b.sweep()
	if v.SweptAt.Before(asked) || v.State != Unreachable {
		t.Errorf("got %+v", v)
	}
	if v.VerifiedSince.IsZero() {
		t.Error("a server that cannot be asked restarts no wait")
	}
}

func TestASweepThatSomeoneWaitsForComesFirst(t *testing.T) {
	b := newBench(t, nil)
	other := target
	other.Name = "m2._domainkey.example.org"
	b.Watch("owner", Policy{}, []Target{other})
	b.clock.forward(time.Second)
	b.Watch("rotation", Policy{}, []Target{target})
	b.Sweep(target)
	if e, _ := b.take(); e == nil || e.target != target {
		t.Errorf("got %+v", e)
	}
	if e, _ := b.take(); e == nil || e.target != other {
		t.Errorf("then %+v", e)
	}
	if e, sleep := b.take(); e != nil || sleep <= 0 {
		t.Errorf("then %+v, and sleeps %s", e, sleep)
	}
}

func TestTwoOwnersShareAVerdict(t *testing.T) {
	b := newBench(t, nil)
	b.add(ours)
	b.Watch("b", Policy{Mode: None}, []Target{target})
	b.Watch("a", Policy{}, []Target{target, target})
	b.round()
	if v, _ := b.Verdict(target); v.State != Verified {
		t.Errorf("got %s under the first owner's policy", v.State)
	}
	b.Watch("b", Policy{Mode: None}, []Target{target})
	if v, _ := b.Verdict(target); v.State != Verified {
		t.Errorf("the second owner's policy changed the verdict to %s", v.State)
	}
	b.Forget("a")
	if v, _ := b.Verdict(target); v.State != Unchecked {
		t.Errorf("got %s under the last owner's policy", v.State)
	}
	b.Forget("b")
	if _, ok := b.Verdict(target); ok || len(b.targets) != 0 || len(b.owners) != 0 {
		t.Error("nobody watches it")
	}
}

func TestAProberThatRunsFindsWhatIsPublished(t *testing.T) {
	b := newBench(t, nil)
	b.Prober = New(Options{
		Roots: b.world.Roots(), Port: b.world.Port(), Rate: 1e6, ServerRate: 1e6,
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
		Now: func() time.Time { // every look at the clock takes a millisecond
			b.clock.forward(time.Millisecond)
			return b.clock.Now()
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	b.Watch("owner", Policy{}, []Target{target})
	<-b.Wake()
	b.add(ours)
	for range b.Wake() {
		if v, _ := b.Verdict(target); v.State == Verified {
			break
		}
	}
}
