// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package spf_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord/recordtest"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

func TestSPFRecordsReadAsTheirFixturesSay(t *testing.T) {
	for _, c := range recordtest.Cases(t, "testdata/*.txt") {
		t.Run(c.Name, func(t *testing.T) {
			record, err := spf.Parse(c.Value)
			c.Check(t, record.String(), err)
			if got := strconv.Itoa(record.Lookups()); err == nil && got != c.Fields["lookups"] {
				t.Errorf("needs %s lookups, want %s", got, c.Fields["lookups"])
			}
		})
	}
}

func TestTheConstantRecordsAreWhatNewWouldMake(t *testing.T) {
	parked, err := spf.New(nil, spf.Fail)
	if err != nil || parked.String() != spf.Parked {
		t.Errorf("parked: %s, %v", parked, err)
	}
	helo, err := spf.New([]string{"a"}, spf.Fail)
	if err != nil || helo.String() != spf.HELO {
		t.Errorf("HELO: %s, %v", helo, err)
	}
}

func TestATXTIsMeantAsSPFByItsVersionAlone(t *testing.T) {
	for value, want := range map[string]bool{
		"v=spf1": true, "v=spf1 ": true, "v=spf1 nonsense": true, "V=SPF1 -all": true,
		"": false, "v=spf": false, "v=spf10": false, "v=spf1\t-all": false, " v=spf1": false, "spf2.0/pra": false,
	} {
		if got := spf.Is(value); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

func TestNewPrintsTheMechanismsInTheirOrder(t *testing.T) {
	record, err := spf.New([]string{"MX", "ip4:192.0.2.0/24", "include:_spf.example.net", "-exists:%{i}.bad.example.org", "?a:mail.example.org"}, spf.SoftFail)
	if err != nil {
		t.Fatal(err)
	}
	want := "v=spf1 mx ip4:192.0.2.0/24 include:_spf.example.net -exists:%{i}.bad.example.org ?a:mail.example.org ~all"
	if record.String() != want {
		t.Errorf("got  %s\nwant %s", record, want)
	}
	if all, found := record.All(); all != spf.SoftFail || !found {
		t.Errorf("all is %q, %t", all, found)
	}
	if record.Lookups() != 4 {
		t.Errorf("%d lookups", record.Lookups())
	}
}

func TestNewRefusesWhatNobodyShouldPublish(t *testing.T) {
	for mechanism, want := range map[string]string{
		"ptr":               `SPF mechanism "ptr": ptr is slow, unreliable and not to be published (RFC 7208 §5.5): use ip4, ip6, a or mx`,
		"?ptr:example.org":  `SPF mechanism "?ptr:example.org": ptr is slow, unreliable and not to be published (RFC 7208 §5.5): use ip4, ip6, a or mx`,
		"all":               `SPF mechanism "all": what happens to everyone else has a field of its own, all: Fail, SoftFail or Neutral`,
		"+all":              `SPF mechanism "+all": what happens to everyone else has a field of its own, all: Fail, SoftFail or Neutral`,
		"-all":              `SPF mechanism "-all": what happens to everyone else has a field of its own, all: Fail, SoftFail or Neutral`,
		"ip4:0.0.0.0/0":     `SPF mechanism "ip4:0.0.0.0/0" lets every address send as this domain: write a longer prefix than /0`,
		"ip6:::/0":          `SPF mechanism "ip6:::/0" lets every address send as this domain: write a longer prefix than /0`,
		"mx/0":              `SPF mechanism "mx/0" lets every address send as this domain: write a longer prefix than /0`,
		"a:example.org//0":  `SPF mechanism "a:example.org//0" lets every address send as this domain: write a longer prefix than /0`,
		"a:a..example.org":  `SPF mechanism "a:a..example.org": name "a..example.org": has an empty label: two dots follow each other, or a dot comes first`,
		"":                  `SPF mechanism "": is empty`,
		"-":                 `SPF mechanism "-": "" is not a mechanism: there are ip4, ip6, a, mx, include and exists`,
		"mx a":              `SPF mechanism "mx a": has a blank in it: write each mechanism as an item of its own`,
		"v=spf1 mx -all":    `SPF mechanism "v=spf1 mx -all": begins a whole record: write only the mechanisms, one by one, without v=spf1`,
		"redirect=a.org":    `SPF mechanism "redirect=a.org": is a modifier (name=value), not a mechanism: to let another domain's senders pass write include:DOMAIN`,
		"192.0.2.1":         `SPF mechanism "192.0.2.1": is an address: write ip4: or ip6: before it`,
		"2001:db8::1":       `SPF mechanism "2001:db8::1": is an address: write ip4: or ip6: before it`,
		"192.0.2.0/24":      `SPF mechanism "192.0.2.0/24": is a network: write ip4: or ip6: before it`,
		"_spf.example.net":  `SPF mechanism "_spf.example.net": is a name: write include: before a domain whose SPF record you trust, or a: before a host`,
		"ipv4:192.0.2.0/24": `SPF mechanism "ipv4:192.0.2.0/24": "ipv4" is not a mechanism: there are ip4, ip6, a, mx, include and exists`,
	} {
		if record, err := spf.New([]string{"mx", mechanism}, spf.Fail); err == nil || err.Error() != want {
			t.Errorf("%q: %s\n got  %v\n want %s", mechanism, record, err, want)
		}
	}
}

func TestNewRefusesToLetEveryoneElsePass(t *testing.T) {
	for all, want := range map[spf.Qualifier]string{
		spf.Pass: `SPF "+all" lets everyone send as this domain: choose Fail, SoftFail or Neutral for all`,
		"":       `SPF "+all" lets everyone send as this domain: choose Fail, SoftFail or Neutral for all`,
		"!":      `SPF all "!" is not Fail, SoftFail or Neutral`,
	} {
		if record, err := spf.New(nil, all); err == nil || err.Error() != want {
			t.Errorf("%s\n got  %v\n want %s", record, err, want)
		}
	}
}

func TestNewRefusesMoreThanTenLookups(t *testing.T) {
	var mechanisms []string
	for i := range spf.MaxLookups {
		mechanisms = append(mechanisms, fmt.Sprintf("include:%d.example.net", i))
	}
	if _, err := spf.New(append(mechanisms, "ip4:192.0.2.1"), spf.Fail); err != nil {
		t.Error(err)
	}
	if _, err := spf.New(append(mechanisms, "mx"), spf.Fail); err == nil || !strings.Contains(err.Error(), "needs 11 DNS lookups") {
		t.Errorf("got %v", err)
	}
}

func TestARecordLongerThanItsBoundIsRefused(t *testing.T) {
	long := strings.Repeat("ip4:192.0.2.1 ", spf.MaxRecord/14+1)
	if _, err := spf.Parse("v=spf1 " + long); err == nil {
		t.Error("Parse accepted it")
	}
	if _, err := spf.New(strings.Fields(long), spf.Fail); err == nil {
		t.Error("New accepted it")
	}
	if _, err := spf.ParseMechanism("a:" + strings.Repeat("a", spf.MaxRecord) + ".org"); err == nil {
		t.Error("ParseMechanism accepted it")
	}
}

func TestMasksAreFullWhereThereIsNone(t *testing.T) {
	for text, want := range map[string][2]int{
		"a": {32, 128}, "mx/24": {24, 128}, "a//64": {32, 64}, "a:example.org/0//0": {0, 0}, "mx/32//128": {32, 128},
	} {
		m, err := spf.ParseMechanism(text)
		if err != nil {
			t.Fatal(err)
		}
		if ip4, ip6 := m.Masks(); ip4 != want[0] || ip6 != want[1] {
			t.Errorf("%s: /%d//%d", text, ip4, ip6)
		}
	}
}

var compareAll = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()}

func TestEveryRecordThatWePrintReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := spf.Record{
			Mechanisms:  rapid.SliceOfN(rapid.Custom(drawMechanism), 0, 6).Draw(t, "mechanisms"),
			Redirect:    rapid.OneOf(rapid.Just(""), rapid.Custom(drawDomain)).Draw(t, "redirect"),
			Explanation: rapid.OneOf(rapid.Just(""), rapid.Custom(drawDomain)).Draw(t, "exp"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "unknown") {
			want.Unknown = append(want.Unknown, spf.Modifier{
				Name:  rapid.StringMatching(`x[a-z0-9._-]{0,5}`).Draw(t, "name"),
				Value: rapid.StringMatching(`([!-$&-~]|%%|%\{d\})*`).Draw(t, "value"),
			})
		}
		got, err := spf.Parse(want.String())
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if diff := cmp.Diff(want, got, compareAll); diff != "" {
			t.Fatalf("%s:\n%s", want, diff)
		}
	})
}

func drawDomain(t *rapid.T) string {
	return rapid.StringMatching(`([!-$&-.0-9A-Za-z;-~]|%[%_-]|%\{[slodiphvSLODIPHV]([1-9][0-9]?)?r?[.+,/_=-]{0,2}\}){0,8}(\.[a-z]{2,5}\.?|%\{d\})`).
		Filter(func(s string) bool { return !strings.HasPrefix(s, ".") }).Draw(t, "domain")
}

func drawMechanism(t *rapid.T) spf.Mechanism {
	m := spf.Mechanism{
		Qualifier: rapid.SampledFrom([]spf.Qualifier{spf.Pass, spf.Fail, spf.SoftFail, spf.Neutral}).Draw(t, "qualifier"),
		Name:      rapid.SampledFrom([]spf.MechanismName{spf.All, spf.Include, spf.A, spf.MX, spf.PTR, spf.IP4, spf.IP6, spf.Exists}).Draw(t, "name"),
	}
	optional := rapid.OneOf(rapid.Just(""), rapid.Custom(drawDomain))
	switch m.Name {
	case spf.All:
	case spf.Include, spf.Exists:
		m.Domain = drawDomain(t)
	case spf.PTR:
		m.Domain = optional.Draw(t, "domain")
	case spf.A, spf.MX:
		m.Domain = optional.Draw(t, "domain")
		m.CIDR = rapid.SampledFrom([]string{"", "/24", "//64", "/0//127", "/31//0"}).Draw(t, "cidr")
	case spf.IP4:
		addr := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		m.Network = netip.PrefixFrom(addr, rapid.IntRange(0, 32).Draw(t, "bits"))
	case spf.IP6:
		addr := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
		m.Network = netip.PrefixFrom(addr, rapid.IntRange(0, 128).Draw(t, "bits"))
	}
	return m
}

func FuzzParse(f *testing.F) {
	for _, c := range recordtest.Cases(f, "testdata/*.txt") {
		f.Add(c.Value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		record, err := spf.Parse(value)
		if err != nil {
			return
		}
		if !spf.Is(value) {
			t.Fatalf("%q was read but is not SPF", value)
		}
		again, err := spf.Parse(record.String())
		if err != nil {
			t.Fatalf("%q printed as %q: %v", value, record, err)
		}
		if diff := cmp.Diff(record, again, compareAll); diff != "" {
			t.Fatalf("%q printed as %q:\n%s", value, record, diff)
		}
		if record.Lookups() > len(record.Mechanisms)+1 {
			t.Fatalf("%q needs %d lookups", value, record.Lookups())
		}
	})
}

func FuzzNew(f *testing.F) {
	for _, seed := range []string{"mx", "ip4:192.0.2.0/24", "-include:_spf.example.net", "a:%{d}/24//64", "ptr", "+all", "mx a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, mechanism string) {
		record, err := spf.New([]string{mechanism}, spf.Fail)
		if err != nil {
			return
		}
		// One mechanism in is one mechanism out: nothing can be smuggled into the record.
		again, err := spf.Parse(record.String())
		if err != nil || len(again.Mechanisms) != 2 || len(again.Unknown) != 0 || again.Redirect+again.Explanation != "" {
			t.Fatalf("%q made %q, %v", mechanism, record, err)
		}
	})
}
