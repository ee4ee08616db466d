// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

func TestLookupsLeadWhereAReceiversDo(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: "@ MX 10 mail\n@ MX 20 mail.example.net.\nmail A 192.0.2.1\nmail AAAA 2001:db8::1\n" +
			"_spf CNAME _spf.example.net.\nloop CNAME loop2\nloop2 CNAME loop\nlong TXT \"v=spf1 \" \"-all\"\nnomail MX 0 ."},
		{Zone: "example.net", Addrs: []string{"127.0.0.4"}, Records: "_spf TXT \"v=spf1 -all\"\n_spf TXT \"other\"\nnames DNAME deep.example.org."},
		{Zone: "deep.example.org", Addrs: []string{"127.0.0.5"}, Records: "a TXT \"at depth\""},
	})
	for _, c := range []struct {
		name   dnsrecord.Name
		t      dnsrecord.Type
		want   []string
		failed bool
	}{
		{name: "example.org", t: dnsrecord.MX, want: []string{"mail.example.net", "mail.example.org"}},
		{name: "nomail.example.org", t: dnsrecord.MX, want: []string{""}},
		{name: "mail.example.org", t: dnsrecord.A, want: []string{"192.0.2.1"}},
		{name: "mail.example.org", t: dnsrecord.AAAA, want: []string{"2001:db8::1"}},
		{name: "mail.example.org", t: dnsrecord.TXT},
		{name: "gone.example.org", t: dnsrecord.TXT},
		{name: "gone.nowhere", t: dnsrecord.TXT},
		{name: "long.example.org", t: dnsrecord.TXT, want: []string{"v=spf1 -all"}},
		{name: "_spf.example.org", t: dnsrecord.TXT, want: []string{"other", "v=spf1 -all"}},
		{name: "a.names.example.net", t: dnsrecord.TXT, want: []string{"at depth"}},
		{name: "loop.example.org", t: dnsrecord.TXT, failed: true},
	} {
		got, err := b.Inquiry(Policy{}).Lookup(t.Context(), c.name, c.t)
		if !slices.Equal(got, c.want) || (err != nil) != c.failed {
			t.Errorf("%s %s: %q, %v", c.name, c.t, got, err)
		}
	}
	b.world.Server("127.0.0.4").SetFaults(nameserver.Faults{Rcode: dns.RcodeServerFailure})
	if got, err := b.Inquiry(Policy{}).Lookup(t.Context(), "_spf.example.net", dnsrecord.TXT); err == nil {
		t.Errorf("a server that fails is taken for %q", got)
	}
}

// Inside, the servers that the policy names know more than the world; of others' names they know nothing.
func TestNamedServersAreAskedFirstAndTheWorldForTheRest(t *testing.T) {
	b := newBench(t, []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: `@ TXT "outside"`},
		{Zone: "example.net", Addrs: []string{"127.0.0.4"}, Records: `@ TXT "world"`},
		{Zone: "inside.test", Addrs: []string{"127.0.0.5"}, Undelegated: true, Records: `@ TXT "inside"`},
	})
	policy := Policy{Nameservers: []netip.AddrPort{b.world.Server("127.0.0.5").AddrPort()}}
	for name, want := range map[dnsrecord.Name]string{"inside.test": "inside", "example.net": "world"} {
		if got, err := b.Inquiry(policy).Lookup(t.Context(), name, dnsrecord.TXT); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	policy.Mode = Recursive // a server that offers no recursion is no resolver
	if got, err := b.Inquiry(policy).Lookup(t.Context(), "example.net", dnsrecord.TXT); err == nil {
		t.Errorf("%q", got)
	}
}

// Whoever is included chooses the names: all lookups of an inquiry share what one survey may ask.
func TestAnInquiryEnds(t *testing.T) {
	var long strings.Builder
	for i := range 600 {
		fmt.Fprintf(&long, "n%d TXT \"x\"\n", i)
	}
	b := newBench(t, []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: long.String()}}, func(o *Options) { o.Timeout = time.Second })
	inquiry, answered := b.Inquiry(Policy{}), 0
	for i := range 600 {
		if _, err := inquiry.Lookup(t.Context(), dnsrecord.Name(fmt.Sprintf("n%d.example.org", i)), dnsrecord.TXT); err == nil {
			answered++
		}
	}
	if answered >= maxQuestions || answered < maxQuestions-20 {
		t.Errorf("%d of 600 lookups were answered", answered)
	}
}
