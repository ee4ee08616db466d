// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

var delegated = Target{Name: "example.org", Type: dnsrecord.NS}

func (b *bench) delegate(zone, text string) {
	b.t.Helper()
	if err := b.world.Zone(zone).Replace("example.org.", dns.TypeNS, text); err != nil {
		b.t.Fatal(err)
	}
}

func TestADelegationIsWhatParentAndZoneName(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}},
		{Zone: "new.test", Addrs: []string{"127.0.0.5"}},
	})
	b.Watch("owner", Policy{}, []Target{delegated})
	look := func(want []dnsrecord.Name, ttl uint32) {
		t.Helper()
		b.round()
		v, _ := b.Verdict(delegated)
		if diff := cmp.Diff(want, v.NameServers); diff != "" || v.State != Verified || v.Zone != "example.org" || v.NameServerTTL != ttl {
			t.Errorf("%s, zone %s, TTL %d; name servers (-want +got):\n%s", v.State, v.Zone, v.NameServerTTL, diff)
		}
	}
	look([]dnsrecord.Name{"ns1.example.org", "ns2.example.org"}, 300)

	// The parent is the first to change; the zone itself still names the former servers, for longer.
	b.delegate("example.org", "@ 7200 NS ns1\n@ 7200 NS ns2")
	if err := b.world.Zone("org").Add("example.org. 600 NS ns1.new.test."); err != nil {
		t.Fatal(err)
	}
	b.clock.forward(time.Hour) // without anybody's asking for it
	b.world.Server("127.0.0.5").Host(b.zone(), true)
	look([]dnsrecord.Name{"ns1.example.org", "ns1.new.test", "ns2.example.org"}, 7200)

	b.delegate("org", "example.org. 600 NS ns1.new.test.")
	b.delegate("example.org", "@ 60 NS ns1.new.test.")
	b.clock.forward(time.Hour)
	look([]dnsrecord.Name{"ns1.new.test"}, 600)

	b.world.Server("127.0.0.5").SetFaults(nameserver.Faults{Rcode: dns.RcodeServerFailure})
	b.clock.forward(time.Hour)
	b.round()
	if v, _ := b.Verdict(delegated); v.State != Unreachable || !strings.Contains(v.Message, "example.org") || len(v.NameServers) > 0 {
		t.Errorf("%s %q %v", v.State, v.Message, v.NameServers)
	}
}

// Resolvers, and servers that a policy gives, know nothing of a parent.
func TestADelegationIsUnknownWhereNobodyWalksFromTheRoot(t *testing.T) {
	b := newBench(t, nil)
	for _, p := range []Policy{{Mode: Recursive}, {Nameservers: []netip.AddrPort{b.world.Server("127.0.0.3").AddrPort()}}} {
		v := b.sweepOf(delegated, p)
		b.expect(v, Unreachable, "the delegation of example.org cannot be seen with this spec.verification of the provider")
	}
}
