// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// stands is a Trace without aliases.
func stands(name, zone dnsrecord.Name) Trace { return Trace{Name: name, Zone: zone} }

func TestWhereANameLeads(t *testing.T) {
	own := target.Name
	cname := func(from, to dnsrecord.Name) Alias { return Alias{From: from, To: to, Type: dnsrecord.CNAME} }
	for title, c := range map[string]struct {
		zone string // lines in example.org
		keys string // lines in keys.example.net
		want Trace
		err  string
	}{
		"nothing stands there":     {want: stands(own, "example.org")},
		"a record stands there":    {zone: ours, want: stands(own, "example.org")},
		"a wildcard TXT":           {zone: `* TXT "x"`, want: Trace{Name: own, Zone: "example.org", Wildcard: "*.example.org"}},
		"a wildcard CNAME":         {zone: `*._domainkey CNAME m1.keys.example.net.`, want: Trace{Name: own, Zone: "example.org", Wildcard: "*._domainkey.example.org"}},
		"a CNAME at _domainkey":    {zone: `_domainkey CNAME keys.example.net.`, want: stands(own, "example.org")}, // RFC 1034 §3.6.2: not of the names below
		"a CNAME in the same zone": {zone: `m1._domainkey CNAME m1.keys`, want: Trace{Aliases: []Alias{cname(own, "m1.keys.example.org")}, Name: "m1.keys.example.org", Zone: "example.org"}},
		"a CNAME into another zone": {
			zone: `m1._domainkey CNAME m1.keys.example.net.`,
			want: Trace{Aliases: []Alias{cname(own, "m1.keys.example.net")}, Name: "m1.keys.example.net", Zone: "keys.example.net"},
		},
		"a CNAME to a CNAME": {
			zone: `m1._domainkey CNAME a.keys.example.net.`, keys: `a CNAME b`,
			want: Trace{Aliases: []Alias{cname(own, "a.keys.example.net"), cname("a.keys.example.net", "b.keys.example.net")}, Name: "b.keys.example.net", Zone: "keys.example.net"},
		},
		"a CNAME to a name that a wildcard answers for": {
			zone: `m1._domainkey CNAME m1.keys.example.net.`, keys: `* TXT "parked"`,
			want: Trace{Aliases: []Alias{cname(own, "m1.keys.example.net")}, Name: "m1.keys.example.net", Zone: "keys.example.net", Wildcard: "*.keys.example.net"},
		},
		"a DNAME at _domainkey": {
			zone: `_domainkey DNAME acme.keys.example.net.`,
			want: Trace{Aliases: []Alias{{own, "m1.acme.keys.example.net", dnsrecord.DNAME}}, Name: "m1.acme.keys.example.net", Zone: "keys.example.net"},
		},
		"a circle":         {zone: "m1._domainkey CNAME c\nc CNAME d\nd CNAME c", err: "d.example.org is an alias of c.example.org, which leads in a circle or too far"},
		"to itself":        {zone: "m1._domainkey CNAME m1._domainkey", err: "leads in a circle or too far"},
		"to where nobody":  {zone: "m1._domainkey CNAME m1.lame.example.net.", err: "the name servers for m1.lame.example.net cannot be found"},
		"out of the world": {zone: "m1._domainkey CNAME m1.nowhere.", want: Trace{Aliases: []Alias{cname(own, "m1.nowhere")}, Name: "m1.nowhere", Zone: ""}},
	} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, []nameserver.Site{
				{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: c.zone},
				{Zone: "example.net", Addrs: []string{"127.0.0.5"}, Records: "lame NS ns.lame\nns.lame A 127.0.0.98"},
				{Zone: "keys.example.net", Addrs: []string{"127.0.0.6"}, Records: c.keys},
			})
			got, err := b.Trace(t.Context(), own, Policy{})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %+v, %v; want %q", got, err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
			for _, s := range []string{"127.0.0.3", "127.0.0.4"} {
				if n := b.world.Server(s).Queries(string(own), dns.TypeTXT); n > 1 {
					t.Errorf("%s was asked for the name %d times", s, n)
				}
			}
			if v := b.sweep(); !cmp.Equal(v.Path, c.want) {
				t.Errorf("the verdict says %+v", v.Path)
			}
		})
	}
}

func TestADelegationForMailRecordsIsTraced(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}},
		{Zone: "_domainkey.example.org", Addrs: []string{"127.0.0.5"}},
	})
	got, err := b.Trace(t.Context(), target.Name, Policy{})
	if diff := cmp.Diff(stands(target.Name, "_domainkey.example.org"), got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestATraceAsksTheServersThatThePolicyNames(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "corp.example", Addrs: []string{"127.0.0.9"}, Undelegated: true, Records: "m1._domainkey CNAME keys"},
	})
	got, err := b.Trace(t.Context(), "m1._domainkey.corp.example", Policy{Nameservers: []netip.AddrPort{b.world.Server("127.0.0.9").AddrPort()}})
	if got.Name != "keys.corp.example" || got.Zone != "corp.example" || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if n := b.world.Server("127.0.0.1").Queries("", dns.TypeANY); n != 0 {
		t.Errorf("the root was asked %d times", n)
	}
}

// Where servers disagree nobody knows where the name leads.
func TestServersThatDisagreeLeaveNoPath(t *testing.T) {
	b := newBench(t, nil)
	b.world.Server("127.0.0.4").Freeze()
	b.add("m1._domainkey CNAME keys", `keys TXT "v=DKIM1; p=abc"`)
	v := b.sweep()
	b.expect(v, Lacking, "127.0.0.4 (ns2.example.org) answers without it")
	if v.Path.Name != "" {
		t.Errorf("got %+v", v.Path)
	}
}
