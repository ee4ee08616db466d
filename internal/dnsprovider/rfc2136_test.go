// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

func at(name dnsrecord.Name) Question { return Question{Name: name, Type: dnsrecord.TXT} }

func readOne(tb testing.TB, z Zone, name dnsrecord.Name) dnsrecord.Set {
	tb.Helper()
	seen, err := z.Read(tb.Context(), []Question{at(name)})
	if err != nil {
		tb.Fatal(err)
	}
	return seen[at(name)]
}

func TestRFC2136ReadsWhatStands(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	key := func(name dnsrecord.Name, typ dnsrecord.Type) Question { return Question{Name: name, Type: typ} }
	for name, c := range map[string]struct {
		ask  dnsrecord.Name
		want map[Question][]string
	}{
		"a name with two records, one cut in three": {"example.org", map[Question][]string{at("example.org"): {"docs=1", "v=spf1 -allx"}}},
		"strings are joined with nothing between":   {"cut.example.org", map[Question][]string{at("cut.example.org"): {"v=DKIM1; p=a"}}},
		"a name without anything":                   {"none.example.org", map[Question][]string{at("none.example.org"): nil}},
		"a CNAME stands in the way":                 {"alias.example.org", map[Question][]string{at("alias.example.org"): nil, key("alias.example.org", dnsrecord.CNAME): {"target.example.org."}}},
		"a DNAME above stands in the way":           {"x.old.example.org", map[Question][]string{at("x.old.example.org"): nil, key("old.example.org", dnsrecord.DNAME): {"new.example.org."}}},
		"a zone cut stands in the way":              {"x.sub.example.org", map[Question][]string{at("x.sub.example.org"): nil, key("sub.example.org", dnsrecord.NS): {"ns1.sub.example.org."}}},
		"what a wildcard makes up does not stand":   {"x.wild.example.org", map[Question][]string{at("x.wild.example.org"): nil}},
		"what says the same as a wildcard does":     {"same.wild.example.org", map[Question][]string{at("same.wild.example.org"): {"from the wildcard"}}},
		"the wildcard itself does":                  {"*.wild.example.org", map[Question][]string{at("*.wild.example.org"): {"from the wildcard"}}},
		"a wildcard CNAME is told, but not as ours": {"x.star.example.org", map[Question][]string{at("x.star.example.org"): nil, key("*.star.example.org", dnsrecord.CNAME): {"target.example.org."}}},
		"an answer too long for UDP comes over TCP": {"big.example.org", map[Question][]string{at("big.example.org"): {strings.Repeat("0123456789", 4*34)}}},
	} {
		t.Run(name, func(t *testing.T) {
			seen, err := zone.Read(t.Context(), []Question{at(c.ask)})
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) != len(c.want) {
				t.Errorf("got %v", seen)
			}
			for k, want := range c.want {
				set, ok := seen[k]
				slices.Sort(set.Values)
				if !ok || !slices.Equal(set.Values, want) {
					t.Errorf("%v: got %q, want %q", k, set.Values, want)
				}
			}
		})
	}
}

func TestRFC2136KeepsEveryOctet(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	special := []string{`"quoted" \; \ \\ "`, "semi;colon", "büch\u2603er", "\x00\xff\x7f", `\032 \"`, "(paren) @ $ORIGIN", strings.Repeat("é", 200), " lead and trail "}
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.OneOf(rapid.SampledFrom(special), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 700), func(b []byte) string { return string(b) })).Draw(rt, "value")
		foreign := string(rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "foreign"))
		name := dnsrecord.Name("octets.example.org")
		before := readOne(t, zone, name)
		write := func(del, add []string) {
			set := readOne(t, zone, name)
			if err := zone.Apply(t.Context(), []dnsplan.Change{{Name: name, Type: dnsrecord.TXT, TTL: 60, Delete: del, Add: add, Prerequisite: set}})[0]; err != nil {
				rt.Fatal(err)
			}
		}
		write(before.Values, []string{foreign})
		if foreign != value {
			write(nil, []string{value})
			if got := readOne(t, zone, name); !got.Has(value) || !got.Has(foreign) || len(got.Values) != 2 {
				rt.Fatalf("read %q, wrote %q beside %q", got.Values, value, foreign)
			}
			write([]string{value}, nil)
		}
		if got := readOne(t, zone, name); !slices.Equal(got.Values, []string{foreign}) {
			rt.Fatalf("left %q, want %q", got.Values, foreign)
		}
	})
}

func TestRFC2136ReplacesRecordsHoweverTheyAreCut(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	set := readOne(t, zone, "cut.example.org")
	errs := zone.Apply(t.Context(), []dnsplan.Change{{
		Name: "cut.example.org", Type: dnsrecord.TXT, TTL: 60, Delete: set.Values, Add: []string{"v=DKIM1; p="}, Prerequisite: set,
	}})
	if got := readOne(t, zone, "cut.example.org"); errs[0] != nil || !slices.Equal(got.Values, []string{"v=DKIM1; p="}) || got.TTL != 60 {
		t.Errorf("got %+v, %v", got, errs[0])
	}
}

func TestRFC2136LeavesTheTTLOfOthers(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	set := readOne(t, zone, "example.org")
	errs := zone.Apply(t.Context(), []dnsplan.Change{{Name: "example.org", Type: dnsrecord.TXT, TTL: 60, Add: []string{"ours"}, Prerequisite: set}})
	if got := readOne(t, zone, "example.org"); errs[0] != nil || len(got.Values) != 3 || got.TTL != 300 {
		t.Errorf("got %+v, %v", got, errs[0])
	}
}

func TestRFC2136NeverWritesOverAChange(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	change := dnsplan.Change{Name: "new.example.org", Type: dnsrecord.TXT, TTL: 60, Add: []string{"ours"}, Prerequisite: dnsrecord.Set{Name: "new.example.org", Type: dnsrecord.TXT}}
	t.Run("made before it looks", func(t *testing.T) {
		if err := f.zone.Add(`new 60 TXT "theirs"`); err != nil {
			t.Fatal(err)
		}
		if err := zone.Apply(t.Context(), []dnsplan.Change{change})[0]; !errors.Is(err, ErrChanged) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("made between its look and its write", func(t *testing.T) {
		if err := f.zone.Remove("new", dns.TypeTXT); err != nil {
			t.Fatal(err)
		}
		f.set(func(req *dns.Msg) {
			if req.Opcode == dns.OpcodeUpdate {
				_ = f.zone.Add(`new 60 TXT "theirs"`)
			}
		}, nil)
		defer f.set(nil, nil)
		if err := zone.Apply(t.Context(), []dnsplan.Change{change})[0]; !errors.Is(err, ErrChanged) {
			t.Errorf("got %v", err)
		}
		if got := f.zone.TXT("new"); !slices.Equal(got, []string{"theirs"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("in which a record changed beside ours", func(t *testing.T) {
		set := readOne(t, zone, "example.org")
		f.set(func(req *dns.Msg) {
			if req.Opcode == dns.OpcodeUpdate {
				_ = f.zone.Add(`@ 300 TXT "another"`)
			}
		}, nil)
		defer f.set(nil, nil)
		err := zone.Apply(t.Context(), []dnsplan.Change{{Name: "example.org", Type: dnsrecord.TXT, Add: []string{"ours"}, Prerequisite: set}})[0]
		if !errors.Is(err, ErrChanged) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRFC2136GivesWayToNoWildcard(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	for _, name := range []dnsrecord.Name{"x.wild.example.org", "x.star.example.org"} {
		set := readOne(t, zone, name)
		errs := zone.Apply(t.Context(), []dnsplan.Change{{Name: name, Type: dnsrecord.TXT, TTL: 60, Add: []string{"ours"}, Prerequisite: set}})
		if got := readOne(t, zone, name); errs[0] != nil || !slices.Equal(got.Values, []string{"ours"}) {
			t.Errorf("%s: got %+v, %v", name, got, errs[0])
		}
	}
}

func TestRFC2136SplitsLargeBatchesAndIsolatesRefusals(t *testing.T) {
	f := startFront(t)
	zone := f.open(t, nil).Driver.Zone("example.org")
	var changes []dnsplan.Change
	value := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 392)
	for i := range 100 {
		name := dnsrecord.Name(fmt.Sprintf("m%d._domainkey.example.org", i))
		changes = append(changes, dnsplan.Change{Name: name, Type: dnsrecord.TXT, TTL: 60, Add: []string{value}})
	}
	changes[50].Name = "forbidden.example.org"
	f.updates()
	errs := zone.Apply(t.Context(), changes)
	sizes := f.updates()
	if slices.Max(sizes) > maxUpdate+tsigRoom || len(sizes) < 3 {
		t.Errorf("messages of %v octets", sizes)
	}
	for i, err := range errs {
		var e *Error
		if i == 50 {
			if !errors.As(err, &e) || e.Reason != Refused {
				t.Errorf("the forbidden one: %v", err)
			}
			continue
		}
		if err != nil || len(f.zone.TXT(string(changes[i].Name)+".")) != 1 {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

func TestRFC2136SaysWhatIsWrong(t *testing.T) {
	f := startFront(t)
	read := func(ctx context.Context, a *Account) error {
		_, err := a.Driver.Zone("example.org").Read(ctx, []Question{at("a.example.org")})
		return err
	}
	writes := 0
	write := func(ctx context.Context, a *Account) error {
		writes++
		name := dnsrecord.Name(fmt.Sprintf("w%d.example.org", writes))
		return a.Driver.Zone("example.org").Apply(ctx, []dnsplan.Change{{Name: name, Type: dnsrecord.TXT, TTL: 1, Add: []string{"x"}}})[0]
	}
	check := func(zones ...dnsrecord.Name) func(context.Context, *Account) error {
		return func(ctx context.Context, a *Account) error { return a.Driver.Check(ctx, zones) }
	}
	for name, c := range map[string]struct {
		spec   func(*v1alpha1.RFC2136)
		faults nameserver.Faults
		change func(req, reply *dns.Msg)
		do     func(context.Context, *Account) error
		reason Reason // "" for no error
		words  string
	}{
		"all is well":                {do: check("example.org")},
		"all is well without a zone": {do: check()},
		"another secret": {
			spec: func(s *v1alpha1.RFC2136) { s.TSIG.SecretRef.Key = "other" }, do: check("example.org"), reason: Unauthorized, words: "another secret for the TSIG key op",
		},
		"another secret, without a zone": {
			spec: func(s *v1alpha1.RFC2136) { s.TSIG.SecretRef.Key = "other" }, do: check(), reason: Unauthorized, words: "TSIG key op",
		},
		"an unknown key": {
			change: func(_, m *dns.Msg) { m.Rcode = dns.RcodeNotAuth; m.IsTsig().Error = dns.RcodeBadKey },
			do:     read, reason: Unauthorized, words: "does not know the TSIG key op with the algorithm hmac-sha256",
		},
		"a clock that is wrong": {
			change: func(_, m *dns.Msg) { m.Rcode = dns.RcodeNotAuth; m.IsTsig().Error = dns.RcodeBadTime },
			do:     read, reason: Unauthorized, words: "clock",
		},
		"a reply without a signature": {
			change: func(_, m *dns.Msg) { m.Extra = nil }, do: read, reason: Unauthorized, words: "did not sign",
		},
		"a reply signed for something else": {
			change: func(_, m *dns.Msg) { m.SetTsig("op.", dns.HmacSHA256, 300, 1); m.Extra = m.Extra[len(m.Extra)-1:] },
			do:     read, reason: Unauthorized, words: "clocks are more than 300 s apart",
		},
		"a key without the right": {
			do: func(ctx context.Context, a *Account) error {
				return a.Driver.Zone("example.org").Apply(ctx, []dnsplan.Change{{Name: "forbidden.example.org", Type: dnsrecord.TXT, Add: []string{"x"}}})[0]
			},
			reason: Refused, words: "update-policy or allow-update",
		},
		"a zone that is not there": {do: check("example.net"), reason: ZoneNotFound, words: "questions about the zone example.net"},
		"a zone that is only a name in another": {
			do: check("a.example.org"), reason: ZoneNotFound, words: "does not hold the zone a.example.org",
		},
		"updates to a server that is not authoritative": {
			faults: nameserver.Faults{UpdateRcode: dns.RcodeNotAuth}, do: write, reason: ZoneNotFound, words: "not authoritative for the zone example.org",
		},
		"a server that takes no updates": {
			faults: nameserver.Faults{UpdateRcode: dns.RcodeNotImplemented}, do: write, reason: Refused, words: "NOTIMP",
		},
		"a server that is ill": {faults: nameserver.Faults{Rcode: dns.RcodeServerFailure}, do: read, reason: Unreachable, words: "SERVFAIL"},
		"a lame server":        {faults: nameserver.Faults{Lame: true}, do: read, reason: ZoneNotFound, words: "does not hold the zone"},
		"no UDP":               {faults: nameserver.Faults{DropUDP: true}, do: read},
		"answers cut on UDP":   {faults: nameserver.Faults{Truncate: true}, do: read},
		"no EDNS":              {faults: nameserver.Faults{NoEDNS: true}, do: read},
		"no answer at all":     {faults: nameserver.Faults{Drop: true}, do: read, reason: Unreachable, words: "did not answer over tcp: no answer in time"},
		"no server": {
			spec: func(s *v1alpha1.RFC2136) { s.Server = "127.0.0.1:1" }, do: read, reason: Unreachable, words: "connection refused",
		},
		"updates over UDP": {spec: func(s *v1alpha1.RFC2136) { s.Transport = v1alpha1.TransportUDP }, do: write},
	} {
		t.Run(name, func(t *testing.T) {
			f.inner.SetFaults(c.faults)
			f.set(nil, c.change)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := c.do(ctx, f.open(t, c.spec))
			var e *Error
			if c.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.As(err, &e) || e.Reason != c.reason || !strings.Contains(e.Message, c.words) {
				t.Fatalf("got %v (%+v), want %s with %q", err, e, c.reason, c.words)
			}
			if e.Temporary() != (c.reason == Unreachable) || strings.Contains(e.Message, testSecret) || len(e.Message) > maxMessage {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestRFC2136IsCutOffWithItsContext(t *testing.T) {
	f := startFront(t)
	f.inner.SetFaults(nameserver.Faults{Drop: true})
	account := f.open(t, nil)
	driver, ok := account.Driver.(*rfc2136)
	if !ok {
		t.Fatal("no rfc2136")
	}
	driver.udpTimeout, driver.tcpTimeout = time.Hour, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func(*dns.Msg) { cancel() }, nil)
	if _, err := driver.Zone("example.org").Read(ctx, []Question{at("a.example.org")}); err == nil {
		t.Error("no error")
	}
}

func TestNothingOfAnAccountGoesIntoALog(t *testing.T) {
	account := startFront(t).open(t, nil)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", account, account, account, account), fmt.Sprintf("%v %+v %#v", account.Driver, account.Driver, account.Driver)} {
		if strings.Contains(text, testSecret) {
			t.Errorf("%s", text)
		}
	}
	if strings.Contains(account.Fingerprint, testSecret) {
		t.Error("the fingerprint holds the secret")
	}
}

// TestTheQueueOverRFC2136 is the whole way, with a server that loses a reply.
func TestTheQueueOverRFC2136(t *testing.T) {
	f := startFront(t)
	f.inner.SetFaults(nameserver.Faults{LoseUpdateReply: true})
	accounts := NewAccounts()
	account := f.open(t, nil)
	account.RequestsPerSecond, account.Burst = 1000, 1000
	accounts.Set(provider, account)
	q := NewQueue(Options{OwnerID: "us", Accounts: accounts, Now: time.Now}) //nolint:forbidigo // a real server answers
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	defer func() { cancel(); <-done }()

	spf := txt("example.org", "v=spf1 mx -all", "v=spf1 -allx")
	spf.Kind = dnsplan.SPF
	s := submission("a", txt("m1._domainkey.example.org", "v=DKIM1; k=rsa; p="+strings.Repeat("A", 392)), spf, txt("alias.example.org", "x"), txt("x.sub.example.org", "x"))
	q.Submit(s)
	var r Result
	for o := range q.Wake() {
		if r, _ = q.Result(o); r.Err == nil {
			break
		}
		f.inner.SetFaults(nameserver.Faults{})
	}
	var states []dnsplan.OutcomeState
	for _, o := range r.Outcomes {
		states = append(states, o.State)
	}
	if !slices.Equal(states, []dnsplan.OutcomeState{dnsplan.InPlace, dnsplan.InPlace, dnsplan.Conflict, dnsplan.Conflict}) {
		t.Fatalf("got %+v", r)
	}
	apex := f.zone.TXT("example.org.")
	slices.Sort(apex)
	if !slices.Equal(apex, []string{"docs=1", "v=spf1 mx -all"}) || len(f.zone.TXT("_maildomain.example.org.")) != 1 {
		t.Errorf("apex %q, marker %q", apex, f.zone.TXT("_maildomain.example.org."))
	}
}
