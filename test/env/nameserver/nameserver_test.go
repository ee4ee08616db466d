// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE="

const records = `
@            300  TXT   "v=spf1 -all"
a.b          60   TXT   "below an empty non-terminal"
alias        60   CNAME target.example.org.
target       60   TXT   "reached"
away         60   CNAME elsewhere.example.net.
*.wild       120  TXT   "from the wildcard"
there.wild   120  A     192.0.2.1
old          60   DNAME new
x.new        60   TXT   "reached through DNAME"
sub          300  NS    ns.sub.example.org.
ns.sub       300  A     192.0.2.53
quoted       60   TXT   "a\;b" "c \"d\" \\ \200"
big          60   TXT   "` + strings255 + `" "` + strings255 + `" "` + strings255 + `" "` + strings255 + `" "` + strings255 + `" "` + strings255 + `"
`

const (
	strings51  = "012345678901234567890123456789012345678901234567890"
	strings255 = strings51 + strings51 + strings51 + strings51 + strings51
)

func start(t *testing.T) *Running {
	t.Helper()
	w, err := StartWorld(t.Context(), World{
		Keys: []Key{
			{Name: "op", Secret: secret},
			{Name: "txt-only", Secret: secret, Allow: func(_ string, rrtype uint16) bool { return rrtype == dns.TypeTXT }},
		},
		Sites: []Site{{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: records}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func ask(t *testing.T, w *Running, addr, name string, rrtype uint16) *dns.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := w.Exchange(ctx, addr, name, rrtype)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// section is the records of a section without TTL and class.
func section(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		fields := strings.Fields(rr.String())
		out = append(out, strings.Join(slices.Delete(fields, 1, 3), " "))
	}
	slices.Sort(out)
	return out
}

func TestAnswers(t *testing.T) {
	w := start(t)
	const soa = "example.org. SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60"
	for _, c := range []struct {
		title, addr, name string
		rrtype            uint16
		rcode             int
		authority         bool
		answer, ns, extra []string
	}{
		{"the root refers to org with glue", "127.0.0.1", "a.b.example.org", dns.TypeTXT, dns.RcodeSuccess, false, nil, []string{"org. NS ns1.org."}, []string{"ns1.org. A 127.0.0.2"}},
		{
			"org refers to example.org with glue", "127.0.0.2", "a.b.example.org", dns.TypeTXT, dns.RcodeSuccess, false, nil,
			[]string{"example.org. NS ns1.example.org.", "example.org. NS ns2.example.org."},
			[]string{"ns1.example.org. A 127.0.0.3", "ns2.example.org. A 127.0.0.4"},
		},
		{"a record is answered with authority", "127.0.0.4", "A.b.Example.org", dns.TypeTXT, dns.RcodeSuccess, true, []string{`a.b.example.org. TXT "below an empty non-terminal"`}, nil, nil},
		{"a name that is missing is NXDOMAIN", "127.0.0.3", "no.example.org", dns.TypeTXT, dns.RcodeNameError, true, nil, []string{soa}, nil},
		{"another type at the name is NODATA", "127.0.0.3", "a.b.example.org", dns.TypeA, dns.RcodeSuccess, true, nil, []string{soa}, nil},
		{"an empty non-terminal is NODATA", "127.0.0.3", "b.example.org", dns.TypeTXT, dns.RcodeSuccess, true, nil, []string{soa}, nil},
		{"a CNAME is followed", "127.0.0.3", "alias.example.org", dns.TypeTXT, dns.RcodeSuccess, true, []string{"alias.example.org. CNAME target.example.org.", `target.example.org. TXT "reached"`}, nil, nil},
		{"a CNAME out of the zone is left to the asker", "127.0.0.3", "away.example.org", dns.TypeTXT, dns.RcodeSuccess, true, []string{"away.example.org. CNAME elsewhere.example.net."}, nil, nil},
		{"a CNAME is answered as such", "127.0.0.3", "alias.example.org", dns.TypeCNAME, dns.RcodeSuccess, true, []string{"alias.example.org. CNAME target.example.org."}, nil, nil},
		{"a wildcard expands", "127.0.0.3", "x.y.wild.example.org", dns.TypeTXT, dns.RcodeSuccess, true, []string{`x.y.wild.example.org. TXT "from the wildcard"`}, nil, nil},
		{"a wildcard does not cover a name that exists", "127.0.0.3", "there.wild.example.org", dns.TypeTXT, dns.RcodeSuccess, true, nil, []string{soa}, nil},
		{"a wildcard does not cover below a name that exists", "127.0.0.3", "x.there.wild.example.org", dns.TypeTXT, dns.RcodeNameError, true, nil, []string{soa}, nil},
		{
			"a DNAME makes a CNAME", "127.0.0.3", "x.old.example.org", dns.TypeTXT, dns.RcodeSuccess, true,
			[]string{"old.example.org. DNAME new.example.org.", "x.new.example.org. TXT \"reached through DNAME\"", "x.old.example.org. CNAME x.new.example.org."},
			nil, nil,
		},
		{"a delegation is a referral", "127.0.0.3", "x.sub.example.org", dns.TypeTXT, dns.RcodeSuccess, false, nil, []string{"sub.example.org. NS ns.sub.example.org."}, []string{"ns.sub.example.org. A 192.0.2.53"}},
		{"a foreign zone is refused", "127.0.0.3", "example.net", dns.TypeTXT, dns.RcodeRefused, false, nil, nil, nil},
	} {
		t.Run(c.title, func(t *testing.T) {
			m := ask(t, w, c.addr, c.name, c.rrtype)
			if m.Rcode != c.rcode || m.Authoritative != c.authority {
				t.Errorf("got %s, AA %v", dns.RcodeToString[m.Rcode], m.Authoritative)
			}
			for _, s := range []struct {
				name      string
				got, want []string
			}{{"answer", section(m.Answer), c.answer}, {"authority", section(m.Ns), c.ns}, {"additional", section(m.Extra), c.extra}} {
				if diff := cmp.Diff(s.want, s.got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
			}
		})
	}
}

func TestTheTTLOfANegativeAnswerIsTheLowerOfTheTwo(t *testing.T) {
	m := ask(t, start(t), "127.0.0.3", "no.example.org", dns.TypeTXT)
	if got := m.Ns[0].Header().Ttl; got != 60 {
		t.Errorf("got %d", got)
	}
}

func TestALargeAnswerComesOverTCP(t *testing.T) {
	w := start(t)
	q := new(dns.Msg)
	q.SetQuestion("big.example.org.", dns.TypeTXT)
	udp, _, err := new(dns.Client).Exchange(q, w.Server("127.0.0.3").AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	if !udp.Truncated || len(udp.Answer) != 0 || udp.Len() > dns.MinMsgSize {
		t.Errorf("over UDP: %v", udp)
	}
	if m := ask(t, w, "127.0.0.3", "big.example.org", dns.TypeTXT); m.Truncated || len(m.Answer) != 1 {
		t.Errorf("over TCP: %v", m)
	}
}

func TestTXTValuesAreRawOctets(t *testing.T) {
	w := start(t)
	if diff := cmp.Diff([]string{"a;bc \"d\" \\ \xc8"}, w.Zone("example.org").TXT("quoted")); diff != "" {
		t.Error(diff)
	}
}

func TestFaults(t *testing.T) {
	w := start(t)
	s := w.Server("127.0.0.4")
	t.Run("a server that drops is silent", func(t *testing.T) {
		s.SetFaults(Faults{Drop: true})
		q := new(dns.Msg)
		q.SetQuestion("example.org.", dns.TypeTXT)
		_, _, err := (&dns.Client{Timeout: 50 * time.Millisecond}).Exchange(q, s.AddrPort().String())
		if nerr := net.Error(nil); err == nil || !asTimeout(err, &nerr) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server fails with the code it is given", func(t *testing.T) {
		s.SetFaults(Faults{Rcode: dns.RcodeServerFailure})
		if m := ask(t, w, "127.0.0.4", "example.org", dns.TypeTXT); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("got %v", m)
		}
	})
	t.Run("a lame server answers without authority", func(t *testing.T) {
		s.SetFaults(Faults{Lame: true})
		if m := ask(t, w, "127.0.0.4", "example.org", dns.TypeTXT); m.Authoritative || len(m.Answer) != 1 {
			t.Errorf("got %v", m)
		}
	})
	t.Run("a server truncates over UDP only", func(t *testing.T) {
		s.SetFaults(Faults{Truncate: true})
		before := s.Queries("example.org", dns.TypeTXT)
		if m := ask(t, w, "127.0.0.4", "example.org", dns.TypeTXT); len(m.Answer) != 1 {
			t.Errorf("got %v", m)
		}
		if got := s.Queries("example.org", dns.TypeTXT) - before; got != 2 {
			t.Errorf("%d queries", got)
		}
	})
	t.Run("a lie is told", func(t *testing.T) {
		s.SetFaults(Faults{Lie: func(_, a *dns.Msg) *dns.Msg { a.Answer = nil; return a }})
		if m := ask(t, w, "127.0.0.4", "example.org", dns.TypeTXT); len(m.Answer) != 0 {
			t.Errorf("got %v", m)
		}
	})
	t.Run("a server without EDNS says FORMERR", func(t *testing.T) {
		s.SetFaults(Faults{NoEDNS: true})
		if m := ask(t, w, "127.0.0.4", "example.org", dns.TypeTXT); m.Rcode != dns.RcodeFormatError {
			t.Errorf("got %v", m)
		}
	})
	s.SetFaults(Faults{})
	t.Run("a secondary lags until it is released", func(t *testing.T) {
		s.Freeze()
		if err := w.Zone("example.org").Add(`fresh TXT "new"`); err != nil {
			t.Fatal(err)
		}
		if m := ask(t, w, "127.0.0.4", "fresh.example.org", dns.TypeTXT); m.Rcode != dns.RcodeNameError {
			t.Errorf("before: %v", m)
		}
		if m := ask(t, w, "127.0.0.3", "fresh.example.org", dns.TypeTXT); len(m.Answer) != 1 {
			t.Errorf("primary: %v", m)
		}
		s.Release()
		if m := ask(t, w, "127.0.0.4", "fresh.example.org", dns.TypeTXT); len(m.Answer) != 1 {
			t.Errorf("after: %v", m)
		}
	})
	t.Run("a secondary lags by a number of changes", func(t *testing.T) {
		s.SetFaults(Faults{Lag: 1})
		if m := ask(t, w, "127.0.0.4", "fresh.example.org", dns.TypeTXT); m.Rcode != dns.RcodeNameError {
			t.Errorf("got %v", m)
		}
	})
}

func asTimeout(err error, target *net.Error) bool {
	nerr, ok := err.(net.Error) //nolint:errorlint // the client returns it bare
	*target = nerr
	return ok && nerr.Timeout()
}

// send signs m and sends it over TCP.
func send(t *testing.T, w *Running, addr string, m *dns.Msg, key, secret string) (*dns.Msg, error) {
	t.Helper()
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second}
	if key != "" {
		c.TsigSecret = map[string]string{key: secret}
		m.SetTsig(key, dns.HmacSHA256, 300, 0) // the library fills in the time
	}
	r, _, err := c.Exchange(m, w.Server(addr).AddrPort().String())
	return r, err
}

func rr(t *testing.T, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUpdate(t *testing.T) {
	any1 := func(m *dns.Msg, f func([]dns.RR), text string) { f([]dns.RR{rr(t, text)}); _ = m }
	for _, c := range []struct {
		title string
		build func(m *dns.Msg)
		rcode int
		check func(z *Zone) string // "" when right
	}{
		{"a record is added", func(m *dns.Msg) { any1(m, m.Insert, `k.example.org. 60 TXT "v"`) }, dns.RcodeSuccess, want("k", "v")},
		{"a record beside another takes the new TTL for both", func(m *dns.Msg) { any1(m, m.Insert, `target.example.org. 99 TXT "two"`) }, dns.RcodeSuccess, func(z *Zone) string {
			for _, r := range z.Records("target", dns.TypeTXT) {
				if r.Header().Ttl != 99 {
					return r.String()
				}
			}
			return want("target", "reached", "two")(z)
		}},
		{"one record is removed by its exact value", func(m *dns.Msg) { any1(m, m.Remove, `quoted.example.org. 0 TXT "a;b" "c \"d\" \\ \200"`) }, dns.RcodeSuccess, want("quoted")},
		{"the same value in other character-strings is another record", func(m *dns.Msg) { any1(m, m.Remove, `quoted.example.org. 0 TXT "a;bc \"d\" \\ \200"`) }, dns.RcodeSuccess, want("quoted", "a;bc \"d\" \\ \xc8")},
		{"an RRset is removed", func(m *dns.Msg) { any1(m, m.RemoveRRset, `target.example.org. 0 TXT "x"`) }, dns.RcodeSuccess, want("target")},
		{"a name is removed", func(m *dns.Msg) { any1(m, m.RemoveName, `target.example.org. 0 TXT "x"`) }, dns.RcodeSuccess, want("target")},
		{"the apex keeps SOA and NS", func(m *dns.Msg) { any1(m, m.RemoveName, `example.org. 0 TXT "x"`) }, dns.RcodeSuccess, func(z *Zone) string {
			if len(z.Records("@", dns.TypeNS)) != 2 || len(z.Records("@", dns.TypeSOA)) != 1 {
				return "SOA or NS are gone"
			}
			return want("@")(z)
		}},
		{"a CNAME is not added beside other data", func(m *dns.Msg) { any1(m, m.Insert, `target.example.org. 60 CNAME x.`) }, dns.RcodeSuccess, want("target", "reached")},
		{"prerequisite: RRset exists, met", func(m *dns.Msg) {
			any1(m, m.RRsetUsed, `target.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeSuccess, want("k", "v")},
		{"prerequisite: RRset exists, unmet", func(m *dns.Msg) {
			any1(m, m.RRsetUsed, `none.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeNXRrset, want("k")},
		{"prerequisite: RRset with these values, met", func(m *dns.Msg) {
			any1(m, m.Used, `target.example.org. 0 TXT "reached"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeSuccess, want("k", "v")},
		{"prerequisite: RRset with these values, unmet", func(m *dns.Msg) {
			any1(m, m.Used, `target.example.org. 0 TXT "other"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeNXRrset, want("k")},
		{"prerequisite: no RRset, met", func(m *dns.Msg) {
			any1(m, m.RRsetNotUsed, `k.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeSuccess, want("k", "v")},
		{"prerequisite: no RRset, unmet", func(m *dns.Msg) {
			any1(m, m.RRsetNotUsed, `target.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeYXRrset, want("k")},
		{"prerequisite: name in use, met", func(m *dns.Msg) {
			any1(m, m.NameUsed, `target.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeSuccess, want("k", "v")},
		{"prerequisite: name in use, unmet by an empty non-terminal", func(m *dns.Msg) {
			any1(m, m.NameUsed, `b.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeNameError, want("k")},
		{"prerequisite: name not in use, met", func(m *dns.Msg) {
			any1(m, m.NameNotUsed, `k.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeSuccess, want("k", "v")},
		{"prerequisite: name not in use, unmet", func(m *dns.Msg) {
			any1(m, m.NameNotUsed, `target.example.org. 0 TXT "x"`)
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
		}, dns.RcodeYXDomain, want("k")},
		{"a name outside the zone changes nothing", func(m *dns.Msg) {
			any1(m, m.Insert, `k.example.org. 60 TXT "v"`)
			any1(m, m.Insert, `k.example.net. 60 TXT "v"`)
		}, dns.RcodeNotZone, want("k")},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := start(t)
			z := w.Zone("example.org")
			serial, dump := z.Serial(), z.Dump()
			m := new(dns.Msg)
			m.SetUpdate("example.org.")
			c.build(m)
			r, err := send(t, w, "127.0.0.3", m, "op.", secret)
			if err != nil {
				t.Fatal(err)
			}
			if r.Rcode != c.rcode {
				t.Errorf("got %s", dns.RcodeToString[r.Rcode])
			}
			if wrong := c.check(z); wrong != "" {
				t.Error(wrong)
			}
			if changed := z.Dump() != dump; changed != (z.Serial() != serial) || !changed && z.Serial() != serial {
				t.Errorf("changed %v, but the serial went from %d to %d", changed, serial, z.Serial())
			}
		})
	}
}

func want(name string, values ...string) func(*Zone) string {
	return func(z *Zone) string { return cmp.Diff(values, z.TXT(name)) }
}

func TestUpdatesNeedTheRightKey(t *testing.T) {
	w := start(t)
	build := func(text string) *dns.Msg {
		m := new(dns.Msg)
		m.SetUpdate("example.org.")
		m.Insert([]dns.RR{rr(t, text)})
		return m
	}
	txt := `k.example.org. 60 TXT "v"`
	for _, c := range []struct {
		title, addr, key, secret, text string
		rcode                          int
		tsig                           uint16
	}{
		{"unsigned is refused", "127.0.0.3", "", "", txt, dns.RcodeRefused, 0},
		{"an unknown key is BADKEY", "127.0.0.3", "who.", secret, txt, dns.RcodeNotAuth, dns.RcodeBadKey},
		{"a wrong secret is BADSIG", "127.0.0.3", "op.", "d3Jvbmc=", txt, dns.RcodeNotAuth, dns.RcodeBadSig},
		{"the policy refuses a type", "127.0.0.3", "txt-only.", secret, `k.example.org. 60 A 192.0.2.1`, dns.RcodeRefused, 0},
		{"a secondary refuses", "127.0.0.4", "op.", secret, txt, dns.RcodeRefused, 0},
		{"the policy allows a type", "127.0.0.3", "txt-only.", secret, txt, dns.RcodeSuccess, 0},
	} {
		t.Run(c.title, func(t *testing.T) {
			// What BADKEY and BADSIG bring is unsigned (RFC 8945 §5.3.2), which the client reports.
			r, err := send(t, w, c.addr, build(c.text), c.key, c.secret)
			if r == nil || (err != nil) != (c.tsig != 0) {
				t.Fatalf("got %v, %v", r, err)
			}
			if r.Rcode != c.rcode {
				t.Errorf("got %s", dns.RcodeToString[r.Rcode])
			}
			if s := r.IsTsig(); (s == nil) != (c.key == "") || s != nil && s.Error != c.tsig {
				t.Errorf("TSIG %v", s)
			}
		})
	}
	t.Run("an old signature is BADTIME", func(t *testing.T) {
		m := build(txt)
		m.SetTsig("op.", dns.HmacSHA256, 300, 1)
		c := &dns.Client{Net: "tcp", TsigSecret: map[string]string{"op.": secret}}
		r, _, err := c.Exchange(m, w.Server("127.0.0.3").AddrPort().String())
		if r == nil || r.IsTsig() == nil || r.IsTsig().Error != dns.RcodeBadTime || r.IsTsig().MACSize == 0 {
			t.Errorf("got %v, %v", r, err)
		}
	})
	if got := w.Server("127.0.0.3").Changes("k.example.org", dns.TypeTXT); got != 1 {
		t.Errorf("%d changes counted", got)
	}
}

func TestForeignRecordsStayAsTheyAreUnderUpdates(t *testing.T) {
	w := start(t)
	z := w.Zone("example.org")
	before := z.Dump()
	for _, step := range []func(m *dns.Msg, rrs []dns.RR){(*dns.Msg).Insert, (*dns.Msg).Remove} {
		m := new(dns.Msg)
		m.SetUpdate("example.org.")
		step(m, []dns.RR{rr(t, `k.example.org. 60 TXT "v"`)})
		if r, err := send(t, w, "127.0.0.3", m, "op.", secret); err != nil || r.Rcode != 0 {
			t.Fatal(r, err)
		}
	}
	if diff := cmp.Diff(before, z.Dump()); diff != "" {
		t.Error(diff)
	}
	if z.Serial() != 3 {
		t.Errorf("serial %d", z.Serial())
	}
}

func TestNSECRecordsAreServedToThoseWhoAsk(t *testing.T) {
	z, err := ParseZone("example.org", "@ 300 NSEC z.example.org. SOA NSEC\nz 900 NSEC @ TXT NSEC\nz TXT \"z\"\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, dnssec := range []bool{false, true} {
		m := new(dns.Msg)
		m.SetQuestion("b.example.org.", dns.TypeTXT)
		z.current().lookup(m, dnssec)
		got := slices.ContainsFunc(m.Ns, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeNSEC && rr.Header().Name == "example.org."
		})
		if m.Rcode != dns.RcodeNameError || got != dnssec {
			t.Errorf("DO %v: %v", dnssec, m)
		}
	}
}
