// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const name = dnsrecord.Name("m1._domainkey.example.org")

func ns(n byte) Server {
	return Server{
		Name: dnsrecord.Name("ns" + string('0'+rune(n)) + ".example.org"),
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53),
	}
}

func values(n byte, v ...string) answer {
	return answer{server: ns(n), said: saidValues, values: v, ttl: 300}
}
func none(n byte) answer { return answer{server: ns(n), said: saidNone} }

var silent2 = answer{server: ns(2), detail: "does not answer"}

func TestJudge(t *testing.T) {
	exclusive := Target{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "ours"}
	gone := Target{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive}
	spfTarget := Target{Name: "example.org", Type: dnsrecord.TXT, Kind: dnsplan.SPF, Value: "v=spf1 mx -all"}
	spfGone := Target{Name: "example.org", Type: dnsrecord.TXT, Kind: dnsplan.SPF}
	alias := func(n byte, to dnsrecord.Name) answer {
		return answer{server: ns(n), said: saidAlias, alias: to, aliasType: dnsrecord.CNAME, ttl: 77}
	}
	wild := func(a answer) answer { a.wildcard = "*.example.org"; return a }
	at := func(answers ...answer) []node { return []node{{name: name, zone: "example.org", answers: answers}} }
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failingFor := func(d time.Duration, n byte) patience {
		return patience{now: now, limit: time.Hour, since: map[place]time.Time{{"example.org", ns(n).Addr}: now.Add(-d)}}
	}
	strict := func(p patience) patience { p.strict = true; return p }

	for _, c := range []struct {
		title    string
		target   Target
		nodes    []node
		patience patience
		state    State
		message  string
	}{
		{"every server has it", exclusive, at(values(1, "ours"), values(2, "ours")), patience{}, Verified, ""},
		{"one server lacks it", exclusive, at(values(1, "ours"), none(2)), patience{}, Lacking, "192.0.2.2 (ns2.example.org) answers without it"},
		{"nobody has it", exclusive, at(none(2), none(1)), patience{}, Lacking, "192.0.2.1 (ns1.example.org) answers without it; 192.0.2.2 (ns2.example.org) answers without it"},
		{"another value stands there", exclusive, at(values(1, "theirs")), patience{}, Differs, "192.0.2.1 (ns1.example.org) answers with another TXT record"},
		{"a second value is a conflict", exclusive, at(values(1, "ours", "theirs")), patience{}, Conflict, "192.0.2.1 (ns1.example.org) answers with it and with 1 other TXT record beside it"},
		{"many other values", exclusive, at(values(1, "a", "b")), patience{}, Differs, "192.0.2.1 (ns1.example.org) answers with 2 other TXT records"},
		{"what should be gone is gone", gone, at(none(1)), patience{}, Verified, ""},
		{"what should be gone stands there", gone, at(none(1), values(2, "old")), patience{}, Differs, "192.0.2.2 (ns2.example.org) still answers with 1 TXT record"},

		{"SPF among other values", spfTarget, at(values(1, "google-site-verification=x", "v=spf1 mx -all")), patience{}, Verified, ""},
		{"SPF lacks among other values", spfTarget, at(values(1, "google-site-verification=x")), patience{}, Lacking, "192.0.2.1 (ns1.example.org) answers without it"},
		{"a second SPF record is a conflict", spfTarget, at(values(1, "v=spf1 -all", "v=spf1 mx -all")), patience{}, Conflict, "192.0.2.1 (ns1.example.org) answers with it and with 1 other SPF record beside it"},
		{"another SPF record", spfTarget, at(values(1, "v=spf1 -all")), patience{}, Differs, "192.0.2.1 (ns1.example.org) answers with another SPF record"},
		{"v=spf10 is no SPF record", spfTarget, at(values(1, "v=spf10 x", "v=spf1 mx -all")), patience{}, Verified, ""},
		{"no SPF record is wanted and none is there", spfGone, at(values(1, "other")), patience{}, Verified, ""},
		{"no SPF record is wanted and one is there", spfGone, at(values(1, "v=spf1 -all")), patience{}, Differs, "192.0.2.1 (ns1.example.org) still answers with 1 SPF record"},

		{"a silent server blocks", exclusive, at(values(1, "ours"), silent2), failingFor(59*time.Minute, 2), Unreachable, "192.0.2.2 (ns2.example.org) does not answer"},
		{"after an hour it is named and blocks no longer", exclusive, at(values(1, "ours"), silent2), failingFor(time.Hour, 2), Verified, "192.0.2.2 (ns2.example.org) does not answer and is no longer waited for"},
		{"strict waits on", exclusive, at(values(1, "ours"), silent2), strict(failingFor(100*time.Hour, 2)), Unreachable, "192.0.2.2 (ns2.example.org) does not answer"},
		{"nobody is excused while another server lacks it", exclusive, at(none(1), silent2), failingFor(time.Hour, 2), Lacking, "192.0.2.1 (ns1.example.org) answers without it; 192.0.2.2 (ns2.example.org) does not answer"},
		{"nobody is excused when nobody answers", exclusive, at(silent2), failingFor(time.Hour, 2), Unreachable, "192.0.2.2 (ns2.example.org) does not answer"},
		{"a server that was silent elsewhere has its own hour here", exclusive, at(values(1, "ours"), silent2), failingFor(time.Hour, 3), Unreachable, "192.0.2.2 (ns2.example.org) does not answer"},

		{"a family without a route is skipped", exclusive, at(values(1, "ours"), answer{server: ns(2), said: saidNoRoute}), patience{}, Verified, ""},
		{"all families without a route leave nobody", exclusive, at(answer{server: ns(2), said: saidNoRoute}), patience{}, Unreachable, "no server of example.org can be asked"},
		{"a zone that is not found blocks", exclusive, []node{{name: name, failure: "the name servers for it cannot be found"}}, patience{}, Unreachable, "the name servers for it cannot be found"},

		{"a wildcard's value is not our record", exclusive, at(wild(values(1, "ours"))), patience{}, Lacking, "192.0.2.1 (ns1.example.org) answers from the wildcard *.example.org, not with a record at the name"},
		{"what should be gone may be answered by a wildcard", gone, at(wild(values(1, "old"))), patience{}, Verified, ""},
		{"an alias is followed", exclusive, append(at(alias(1, "t.example.net")), node{name: "t.example.net", zone: "example.net", answers: []answer{values(3, "ours")}}), patience{}, Verified, ""},
		{"an alias to nothing lacks", exclusive, append(at(alias(1, "t.example.net")), node{name: "t.example.net", zone: "example.net", answers: []answer{none(3)}}), patience{}, Lacking, "192.0.2.3 (ns3.example.org) answers without it"},
		{"an alias to itself is a circle", exclusive, at(alias(1, name)), patience{}, Lacking, "192.0.2.1 (ns1.example.org) answers with a CNAME to m1._domainkey.example.org, which leads in a circle or too far"},
		{"a circle of two", exclusive, append(at(alias(1, "t.example.net")), node{name: "t.example.net", zone: "example.net", answers: []answer{alias(3, name)}}), patience{}, Lacking, "192.0.2.3 (ns3.example.org) answers with a CNAME to m1._domainkey.example.org, which leads in a circle or too far"},
		{"an undelegated domain lacks, whichever server of the top level was asked", exclusive, []node{{name: name, zone: "org", undelegated: true, answers: []answer{none(4)}}}, patience{}, Lacking, "no zone is delegated for m1._domainkey.example.org: the servers of org answer without it"},

		{"long lists are cut", exclusive, at(none(1), none(2), none(3), none(4), none(5), none(6)), patience{}, Lacking, "192.0.2.1 (ns1.example.org) answers without it; 192.0.2.2 (ns2.example.org) answers without it; 192.0.2.3 (ns3.example.org) answers without it; 192.0.2.4 (ns4.example.org) answers without it; and 2 more"},
	} {
		t.Run(c.title, func(t *testing.T) {
			f := judge(c.target, survey{nodes: c.nodes}, c.patience)
			if f.state != c.state || f.message != c.message {
				t.Errorf("got %s %q, want %s %q", f.state, f.message, c.state, c.message)
			}
		})
	}
}

func TestTheHighestFactIsKept(t *testing.T) {
	target := Target{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "ours"}
	facts := func(a answer, f ...fact) answer { a.facts = f; return a }
	soa := negativeFact("example.org", 3600, 60)
	for _, c := range []struct {
		title  string
		node   node
		reason string
	}{
		{"a value as wanted keeps nobody waiting", node{answers: []answer{values(1, "ours")}}, ""},
		{"the zone's SOA", node{facts: []fact{soa}, answers: []answer{values(1, "ours")}}, "SOA minimum 60 s of example.org"},
		{"a negative answer's SOA", node{answers: []answer{facts(none(1), negativeFact("example.org", 30, 60))}}, "SOA TTL 30 s of example.org"},
		{"NSEC outlasts the SOA", node{facts: []fact{soa, denialFact("example.org", "NSEC", 900)}}, "NSEC TTL 900 s of example.org"},
		{"another value outlasts the SOA", node{facts: []fact{soa}, answers: []answer{values(1, "theirs")}}, "TTL 300 s of the other value at m1._domainkey.example.org"},
		{"a wildcard's answer", node{facts: []fact{soa}, answers: []answer{{server: ns(1), said: saidValues, wildcard: "*.example.org", ttl: 120}}}, "TTL 120 s of the wildcard answer at m1._domainkey.example.org"},
		{"a CNAME", node{facts: []fact{soa}, answers: []answer{{server: ns(1), said: saidAlias, alias: "x.example.net", aliasType: dnsrecord.CNAME, ttl: 77}}}, "TTL 77 s of the CNAME at m1._domainkey.example.org"},
		{"equal ones in the order of the alphabet", node{facts: []fact{denialFact("b", "NSEC", 60), soa}}, "NSEC TTL 60 s of b"},
	} {
		t.Run(c.title, func(t *testing.T) {
			c.node.name, c.node.zone = name, "example.org"
			f := judge(target, survey{nodes: []node{c.node}}, patience{})
			if f.highest.reason != c.reason {
				t.Errorf("got %q, want %q", f.highest.reason, c.reason)
			}
		})
	}
}

func TestWait(t *testing.T) {
	for _, c := range []struct {
		title   string
		highest fact
		minimum time.Duration
		want    time.Duration
		reason  string
	}{
		{"the minimum holds when less is known", negativeFact("z", 60, 60), 15 * time.Minute, 15 * time.Minute, "minimum wait of 15m0s"},
		{"a fact beats the minimum", negativeFact("z", 3600, 1800), 15 * time.Minute, 30 * time.Minute, "SOA minimum 1800 s of z"},
		{"no hostile TTL counts for more than a week", negativeFact("z", 1<<31, 1<<31), 0, 7 * 24 * time.Hour, "SOA minimum 2147483648 s of z, counted as a week (RFC 8767)"},
		{"nothing is known", fact{}, 0, 0, "minimum wait of 0s"},
	} {
		t.Run(c.title, func(t *testing.T) {
			if d, reason := wait(c.highest, c.minimum); d != c.want || reason != c.reason {
				t.Errorf("got %s %q", d, reason)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	good, lacks, unknown := finding{state: Verified}, finding{state: Lacking}, finding{state: Unreachable}
	withTTL := func(f finding, ttl uint32) finding {
		f.highest = negativeFact("z", ttl, ttl)
		return f
	}
	sweep := func(m *memory, f finding, s int) { m.remember(f, at(s), at(s+1), 0) }
	type times struct {
		State                               State
		First, Since, Lacking               int
		HasFirst, HasSince, HasEverBeenGone bool
	}
	see := func(m memory) times {
		v := m.verdict
		since := func(x time.Time) int {
			if x.IsZero() {
				return 0
			}
			return int(x.Sub(t0).Seconds())
		}
		return times{v.State, since(v.FirstVerified), since(v.VerifiedSince), since(v.LastLacking), !v.FirstVerified.IsZero(), !v.VerifiedSince.IsZero(), !v.LastLacking.IsZero()}
	}
	for _, c := range []struct {
		title string
		do    func(m *memory)
		want  times
	}{
		{"seen at once: never lacking", func(m *memory) { sweep(m, good, 10) }, times{Verified, 11, 11, 0, true, true, false}},
		{"lacking counts to the end of its sweep", func(m *memory) { sweep(m, lacks, 10) }, times{Lacking, 0, 0, 11, false, false, true}},
		{"it may have lacked until the sweep that found it", func(m *memory) { sweep(m, lacks, 10); sweep(m, good, 20) }, times{Verified, 21, 21, 21, true, true, true}},
		{"staying verified moves nothing", func(m *memory) { sweep(m, lacks, 10); sweep(m, good, 20); sweep(m, good, 30) }, times{Verified, 21, 21, 21, true, true, true}},
		{"a relapse restarts", func(m *memory) { sweep(m, good, 10); sweep(m, lacks, 20); sweep(m, good, 30) }, times{Verified, 11, 31, 31, true, true, true}},
		{"unknown is not absent", func(m *memory) { sweep(m, good, 10); sweep(m, unknown, 20); sweep(m, good, 30) }, times{Verified, 11, 11, 0, true, true, false}},
	} {
		t.Run(c.title, func(t *testing.T) {
			m := newMemory(t0, 0)
			c.do(&m)
			if diff := cmp.Diff(c.want, see(m)); diff != "" {
				t.Error(diff)
			}
		})
	}

	t.Run("the wait is the highest of everything observed until the value was everywhere", func(t *testing.T) {
		m := newMemory(t0, 0)
		sweep(&m, withTTL(lacks, 100), 0)
		sweep(&m, withTTL(lacks, 50), 10)
		sweep(&m, withTTL(good, 70), 20)
		sweep(&m, withTTL(good, 9999), 30)
		if m.verdict.Wait != 100*time.Second || m.verdict.WaitReason != "SOA minimum 100 s of z" {
			t.Errorf("got %s %s", m.verdict.Wait, m.verdict.WaitReason)
		}
	})
	t.Run("a relapse within the wait keeps what was observed", func(t *testing.T) {
		m := newMemory(t0, 0)
		sweep(&m, withTTL(lacks, 100), 0)
		sweep(&m, withTTL(good, 50), 10)
		sweep(&m, withTTL(lacks, 50), 60)
		if m.verdict.Wait != 100*time.Second {
			t.Errorf("got %s", m.verdict.Wait)
		}
	})
	t.Run("a relapse after the wait begins anew", func(t *testing.T) {
		m := newMemory(t0, 0)
		sweep(&m, withTTL(lacks, 100), 0)
		sweep(&m, withTTL(good, 50), 10)
		sweep(&m, withTTL(lacks, 50), 200)
		if m.verdict.Wait != 50*time.Second {
			t.Errorf("got %s", m.verdict.Wait)
		}
	})
	t.Run("a reader is told of changes only", func(t *testing.T) {
		m := newMemory(t0, 0)
		for i, want := range []bool{true, false, false} {
			if got := m.remember(lacks, at(i), at(i), 0); got != want {
				t.Errorf("sweep %d: changed %v", i, got)
			}
		}
		if !m.remember(good, at(9), at(9), 0) || m.remember(good, at(10), at(10), 0) {
			t.Error("the change to Verified is one change")
		}
	})
}

func TestDelays(t *testing.T) {
	for _, c := range []struct {
		unverified, want time.Duration
	}{
		{0, time.Second},
		{40 * time.Second, 5 * time.Second},
		{10 * time.Minute, 30 * time.Second},
		{time.Hour, 30 * time.Second},
		{4 * time.Hour, 2 * time.Minute},
		{1000 * time.Hour, 10 * time.Minute},
	} {
		if got := retryDelay(c.unverified, time.Second, 30*time.Second, 10*time.Minute); got != c.want {
			t.Errorf("unverified for %s: %s, want %s", c.unverified, got, c.want)
		}
	}
	if lo, hi := steadyDelay(10*time.Minute, 0), steadyDelay(10*time.Minute, 0.999999); lo != 450*time.Second || hi > 750*time.Second || hi < 749*time.Second {
		t.Errorf("steady %s to %s", lo, hi)
	}
}

// Where MX is asked for, MX alone counts; where TXT is, TXT alone.
func TestAnMXIsReadAsItStandsInAZoneFile(t *testing.T) {
	target := Target{Name: "example.org", Type: dnsrecord.MX, Kind: dnsplan.Exclusive, Value: "0 ."}
	for title, c := range map[string]struct {
		answer []string
		want   State
		detail string
	}{
		"nothing":             {nil, Lacking, "answers without it"},
		"a null MX":           {[]string{"example.org. 60 MX 0 ."}, Verified, "answers with it"},
		"another MX":          {[]string{"example.org. 60 MX 10 Mail.example.org."}, Differs, "answers with another MX record"},
		"another beside it":   {[]string{"example.org. 60 MX 0 .", "example.org. 60 MX 10 mail.example.org."}, Conflict, "answers with it and with 1 other MX record beside it"},
		"TXT is no MX":        {[]string{`example.org. 60 TXT "0 ."`}, Lacking, "answers without it"},
		"of a name elsewhere": {[]string{"www.example.org. 60 MX 0 ."}, Lacking, "answers without it"},
	} {
		m := new(dns.Msg)
		m.SetQuestion("example.org.", dns.TypeMX)
		m.Response, m.Authoritative, m.Answer = true, true, records(c.answer...)
		a := readAnswer(ns(1), target.Name, "example.org", m)
		if state, detail := (survey{}).judgeAnswer(target, target.Name, a); state != c.want || detail != c.detail {
			t.Errorf("%s: %s, %q", title, state, detail)
		}
	}
	m := new(dns.Msg)
	m.SetQuestion("example.org.", dns.TypeTXT)
	m.Response, m.Authoritative, m.Answer = true, true, records("example.org. 60 MX 0 .")
	if a := readAnswer(ns(1), "example.org", "example.org", m); a.said != saidNone {
		t.Errorf("an MX is taken for TXT: %+v", a)
	}
}
