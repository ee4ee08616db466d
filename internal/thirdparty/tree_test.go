// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// names is a DNS of a line for each record: "_spf.example.net TXT v=spf1 -all". "SILENT" in place of a value is a server
// that does not answer.
type names string

var errSilent = errors.New("no answer")

func (n names) Lookup(_ context.Context, name dnsrecord.Name, t dnsrecord.Type) ([]string, error) {
	var values []string
	for line := range strings.Lines(string(n)) {
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(parts) != 3 || parts[0] != string(name) || parts[1] != string(t) {
			continue
		}
		if parts[2] == "SILENT" {
			return nil, errSilent
		}
		values = append(values, strings.TrimSuffix(parts[2], ".")) // the root is ""
	}
	return values, nil
}

func evaluate(t *testing.T, dns DNS, record string) Tree {
	t.Helper()
	parsed, err := spf.Parse(record)
	if err != nil {
		t.Fatal(err)
	}
	return Evaluate(t.Context(), dns, "example.org", parsed)
}

// chain is n records, each of which includes the next, and the last one's text.
func chain(n int, last string) names {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "c%d.test TXT v=spf1 include:c%d.test -all\n", i, i+1)
	}
	fmt.Fprintf(&b, "c%d.test TXT %s\n", n, last)
	return names(b.String())
}

func TestWhatATreeCosts(t *testing.T) {
	var mailHosts strings.Builder
	for i := range 11 {
		fmt.Fprintf(&mailHosts, "example.org MX m%d.example.org\n", i)
	}
	for title, c := range map[string]struct {
		record string
		dns    names
		want   Tree
	}{
		"addresses cost nothing": {"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", "", Tree{}},
		"each term that asks, with all that it leads to": {
			"v=spf1 mx a:www.example.org include:_spf.example.net ~all",
			"example.org MX m1.example.org\nm1.example.org A 192.0.2.1\nwww.example.org A 192.0.2.2\n" +
				"_spf.example.net TXT v=spf1 include:a.test include:b.test ?all\na.test TXT v=spf1 ip4:192.0.2.3 -all\nb.test TXT v=spf1 exists:%{i}.b.test -all",
			Tree{Lookups: 6, Terms: []Term{{"mx", 1, 0}, {"a:www.example.org", 1, 0}, {"include:_spf.example.net", 4, 0}}},
		},
		"what follows all is never tried, and redirect beside it is ignored": {
			"v=spf1 include:a.test redirect=b.test", "a.test TXT v=spf1 -all mx include:gone.test redirect=gone.test\nb.test TXT v=spf1 a ~all\nb.test A 192.0.2.1",
			Tree{Lookups: 3, Terms: []Term{{"include:a.test", 1, 0}, {"redirect=b.test", 2, 0}}},
		},
		"a domain that is included twice counts twice": {
			"v=spf1 include:a.test include:b.test -all", "a.test TXT v=spf1 include:b.test -all\nb.test TXT v=spf1 ptr -all",
			Tree{Lookups: 5, Terms: []Term{{"include:a.test", 3, 0}, {"include:b.test", 2, 0}}},
		},
		"exactly ten":  {"v=spf1 include:c1.test -all", chain(10, "v=spf1 -all"), Tree{Lookups: 10, Terms: []Term{{"include:c1.test", 10, 0}}}},
		"one too many": {"v=spf1 include:c1.test -all", chain(11, "v=spf1 -all"), Tree{Lookups: 11, Terms: []Term{{"include:c1.test", 11, 0}}}},
		"a chain without an end": {
			"v=spf1 include:c1.test -all", chain(5000, "v=spf1 -all"), Tree{Lookups: 100, Terms: []Term{{"include:c1.test", 100, 0}}},
		},
		"an include that has no record": {
			"v=spf1 include:gone.test -all", "gone.test TXT site-verification=1",
			Tree{Lookups: 1, Terms: []Term{{"include:gone.test", 1, 0}}, PermError: "gone.test has no SPF record (RFC 7208 section 5.2)"},
		},
		"an include of a name that is not there is void as well": {
			"v=spf1 include:gone.test -all", "",
			Tree{Lookups: 1, VoidLookups: 1, Terms: []Term{{"include:gone.test", 1, 1}}, PermError: "gone.test has no SPF record (RFC 7208 section 5.2)"},
		},
		"an include that has two records": {
			"v=spf1 include:two.test -all", "two.test TXT v=spf1 -all\ntwo.test TXT v=spf1 mx -all",
			Tree{Lookups: 1, Terms: []Term{{"include:two.test", 1, 0}}, PermError: "two.test has more than one SPF record (RFC 7208 section 4.5)"},
		},
		"an include that nobody can read": {
			"v=spf1 include:bad.test -all", "bad.test TXT v=spf1 include: -all",
			Tree{
				Lookups: 1, Terms: []Term{{"include:bad.test", 1, 0}},
				PermError: `the record of bad.test cannot be read: SPF record: mechanism "include:": has a colon or = without a domain after it`,
			},
		},
		"a loop": {
			"v=spf1 include:a.test -all", "a.test TXT v=spf1 include:b.test -all\nb.test TXT v=spf1 include:a.test -all",
			Tree{Lookups: 3, Terms: []Term{{"include:a.test", 3, 0}}, PermError: "the SPF record of a.test includes itself"},
		},
		"the domain includes itself": {
			"v=spf1 include:example.org -all", "", Tree{Lookups: 1, Terms: []Term{{"include:example.org", 1, 0}}, PermError: "the SPF record of example.org includes itself"},
		},
		"names that hold nothing": {
			"v=spf1 a:x.example.org mx:y.example.org exists:z.example.org ip4:192.0.2.1 -all", "",
			Tree{Lookups: 3, VoidLookups: 3, Terms: []Term{{"a:x.example.org", 1, 1}, {"mx:y.example.org", 1, 1}, {"exists:z.example.org", 1, 1}}},
		},
		"no IPv6 address passes, so hosts without one are nobody's loss": {
			"v=spf1 a mx -all", "example.org A 192.0.2.1\nexample.org MX m1.example.org\nm1.example.org A 192.0.2.2",
			Tree{Lookups: 2, Terms: []Term{{"a", 1, 0}, {"mx", 1, 0}}},
		},
		"senders with IPv6 meet hosts that have none": {
			"v=spf1 a mx ip6:2001:db8::1 -all",
			"example.org A 192.0.2.1\nexample.org MX m1.example.org\nexample.org MX m2.example.org\nm1.example.org A 192.0.2.2\nm2.example.org A 192.0.2.3",
			Tree{Lookups: 2, VoidLookups: 3, Terms: []Term{{"a", 1, 1}, {"mx", 1, 2}}},
		},
		"a domain that takes no mail": {"v=spf1 mx -all", "example.org MX .", Tree{Lookups: 1, Terms: []Term{{"mx", 1, 0}}}},
		"too many mail hosts": {
			"v=spf1 mx -all", names(mailHosts.String()),
			Tree{Lookups: 1, Terms: []Term{{"mx", 1, 0}}, PermError: "example.org has more than 10 mail hosts (RFC 7208 section 4.6.4)"},
		},
		"what depends on the sender leads nobody knows where": {
			"v=spf1 include:%{ir}.%{v}.test -all", "", Tree{Lookups: 1, Terms: []Term{{"include:%{ir}.%{v}.test", 1, 0}}},
		},
		"the domain's own name is known": {
			"v=spf1 include:%{d}._spf.test -all", "example.org._spf.test TXT v=spf1 a:%{o} include:%{d}.two.test -all\n" +
				"example.org A 192.0.2.1\nexample.org._spf.test.two.test TXT v=spf1 -all",
			Tree{Lookups: 3, Terms: []Term{{"include:%{d}._spf.test", 3, 0}}},
		},
		"a server that does not answer": {
			"v=spf1 include:a.test include:b.test -all", "a.test TXT SILENT\nb.test TXT v=spf1 -all",
			Tree{Lookups: 1, Terms: []Term{{"include:a.test", 1, 0}}, Unread: "a.test (TXT)"},
		},
	} {
		t.Run(title, func(t *testing.T) {
			if diff := cmp.Diff(c.want, evaluate(t, c.dns, c.record)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fanOut answers every name with a record that includes two others: 2ⁿ of them after n steps.
type fanOut struct{ asked int }

func (f *fanOut) Lookup(_ context.Context, name dnsrecord.Name, t dnsrecord.Type) ([]string, error) {
	f.asked++
	if t != dnsrecord.TXT {
		return []string{"192.0.2.1"}, nil
	}
	return []string{fmt.Sprintf("v=spf1 mx a:h.%[1]s include:a.%[1]s include:b.%[1]s -all", name)}, nil
}

func TestATreeThatGrowsAtEachStepIsCutOff(t *testing.T) {
	dns := &fanOut{}
	tree := evaluate(t, dns, "v=spf1 include:x.test -all")
	if tree.Lookups < spf.MaxLookups || tree.Lookups > mostLookups+1 || dns.asked > 2*mostLookups {
		t.Errorf("%d lookups counted by %d questions", tree.Lookups, dns.asked)
	}
}

// FuzzEvaluate: whatever three parties publish who include each other, an evaluation ends, within its bounds, with the same
// result each time.
func FuzzEvaluate(f *testing.F) {
	f.Add("v=spf1 include:a.test mx -all", "v=spf1 include:b.test -all", "v=spf1 redirect=a.test")
	f.Add("v=spf1 a mx a mx redirect=b.test", "v=spf1 exists:%{i}.b.test ptr", "v=spf1 -all")
	f.Add("v=spf1 include:a.test include:a.test", "v=spf1 include:b.test include:b.test include:b.test", "v=spf1 mx mx mx mx a:%{d} include:%{o}")
	f.Add("v=spf1 redirect=%{d}.test", "v=spf1 ip4:", "hello")
	f.Fuzz(func(t *testing.T, own, a, b string) {
		record, err := spf.Parse(own)
		if err != nil {
			return
		}
		dns := &parties{own: own, a: a, b: b}
		tree := Evaluate(t.Context(), dns, "example.org", record)
		sum := 0
		for _, term := range tree.Terms {
			sum += term.Lookups
		}
		switch {
		case tree.Lookups > mostLookups || sum != tree.Lookups:
			t.Fatalf("%d lookups, %d by the terms", tree.Lookups, sum)
		case tree.VoidLookups < 0 || tree.VoidLookups > spf.MaxLookups*(maxMailHosts+1)+mostLookups:
			t.Fatalf("%d void lookups", tree.VoidLookups)
		case dns.asked > mostLookups+spf.MaxLookups*(2*maxMailHosts+1):
			t.Fatalf("%d questions", dns.asked)
		case len(tree.PermError) > 1024:
			t.Fatalf("a message of %d octets", len(tree.PermError))
		}
		if diff := cmp.Diff(tree, Evaluate(t.Context(), dns, "example.org", record)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// parties are three domains.
type parties struct {
	own, a, b string
	asked     int
}

func (p *parties) Lookup(_ context.Context, name dnsrecord.Name, t dnsrecord.Type) ([]string, error) {
	p.asked++
	if t != dnsrecord.TXT {
		return nil, nil
	}
	if record, ok := map[dnsrecord.Name]string{"example.org": p.own, "a.test": p.a, "b.test": p.b}[name]; ok {
		return []string{record}, nil
	}
	return nil, nil
}
