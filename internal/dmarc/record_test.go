// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord/recordtest"
)

func TestDMARCRecordsReadAsTheirFixturesSay(t *testing.T) {
	for _, c := range recordtest.Cases(t, "testdata/record/*.txt") {
		t.Run(c.Name, func(t *testing.T) {
			record, err := dmarc.Parse(c.Value)
			c.Check(t, record.String(), err)
			if got := strings.Join(record.Problems, " / "); got != c.Fields["problem"] {
				t.Errorf("problems\n  got:  %s\n  want: %s", got, c.Fields["problem"])
			}
			if got, want := historic(record), c.Fields["historic"]; got != want && (want != "" || got != "pct=100 rf= ri=0") {
				t.Errorf("historic tags\n  got:  %s\n  want: %s", got, want)
			}
		})
	}
}

func historic(r dmarc.Record) string {
	percent := 100
	if r.Historic.Percent != nil {
		percent = *r.Historic.Percent
	}
	return fmt.Sprintf("pct=%d rf=%s ri=%d", percent, r.Historic.Format, r.Historic.Interval)
}

func TestATXTIsMeantAsDMARCByItsFirstTag(t *testing.T) {
	for value, want := range map[string]bool{
		"v=DMARC1": true, "v=DMARC1;": true, "v = DMARC1 ; p=none": true, "v=DMARC1;;;": true, "V=DMARC1; p=x": true,
		"": false, "v=DMARC": false, "v=DMARC1 p=none": false, "v=dmarc1": false, "p=none; v=DMARC1": false, "v=DMARC12": false, ";v=DMARC1": false,
	} {
		if got := dmarc.Is(value); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

func TestARecordLongerThanItsBoundIsRefused(t *testing.T) {
	if _, err := dmarc.Parse("v=DMARC1; p=none; x=" + strings.Repeat("x", dmarc.MaxRecord)); err == nil {
		t.Fatal("no error")
	}
}

func TestMissingPoliciesInheritAndTestModeLowersThemAll(t *testing.T) {
	for value, want := range map[string]string{
		"v=DMARC1":                                        "none/none/none",
		"v=DMARC1; p=none":                                "none/none/none",
		"v=DMARC1; p=reject":                              "reject/reject/reject",
		"v=DMARC1; p=reject; sp=none":                     "reject/none/none",
		"v=DMARC1; p=none; np=reject":                     "none/none/reject",
		"v=DMARC1; p=none; sp=quarantine":                 "none/quarantine/quarantine",
		"v=DMARC1; p=reject; t=y":                         "quarantine/quarantine/quarantine",
		"v=DMARC1; p=quarantine; np=reject; t=y":          "none/none/quarantine",
		"v=DMARC1; p=none; sp=reject; np=quarantine; t=y": "none/quarantine/none",
	} {
		record := mustParse(t, value)
		domain, subdomains, nonexistent := record.Effective()
		if got := fmt.Sprintf("%s/%s/%s", domain, subdomains, nonexistent); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

func TestARecordIsStricterIfItIsInOneRespect(t *testing.T) {
	for _, c := range []struct{ old, new, stricter string }{
		{"", "p=none", "no"},
		{"", "p=quarantine", "yes"},
		{"", "p=quarantine; t=y", "no"},
		{"", "p=reject; t=y", "yes"},
		{"", "p=none; np=reject", "yes"},
		{"p=none", "p=none; rua=mailto:a@example.org", "no"},
		{"p=none", "p=quarantine", "yes"},
		{"p=quarantine", "p=reject", "yes"},
		{"p=reject", "p=quarantine", "no"},
		{"p=reject", "p=reject", "no"},
		{"p=reject; t=y", "p=reject", "yes"},
		{"p=reject", "p=reject; t=y", "no"},
		{"p=reject; t=y", "p=quarantine", "no"},
		{"p=quarantine; t=y", "p=quarantine", "yes"},
		{"p=reject; sp=none", "p=reject", "yes"},
		{"p=reject", "p=reject; sp=reject; np=reject", "no"},
		{"p=reject; sp=none", "p=reject; sp=none; np=quarantine", "yes"},
		{"p=reject; sp=none", "p=none; sp=quarantine", "yes"},
		{"p=none; np=reject", "p=none; sp=quarantine", "yes"},
		{"p=reject", "p=reject; adkim=s", "yes"},
		{"p=reject; adkim=s", "p=reject; adkim=s", "no"},
		{"p=reject; adkim=r", "p=reject", "no"},
		{"p=reject; adkim=s", "p=reject; adkim=r", "no"},
		{"p=reject; aspf=r", "p=reject; aspf=s", "yes"},
		{"p=reject; aspf=s", "p=none; adkim=s", "yes"},
		{"p=reject; pct=50", "p=reject", "yes"},
		{"p=reject; pct=50", "p=quarantine", "yes"},
		{"p=reject; pct=100", "p=reject", "no"},
		{"p=none; pct=50", "p=none", "no"},
	} {
		got := "no"
		if mustParse(t, "v=DMARC1; "+c.new).StricterThan(mustParse(t, "v=DMARC1; "+c.old)) {
			got = "yes"
		}
		if got != c.stricter {
			t.Errorf("%q instead of %q is stricter: %s, want %s", c.new, c.old, got, c.stricter)
		}
	}
	if !mustParse(t, "v=DMARC1; p=reject").StricterThan(dmarc.Record{}) || mustParse(t, "v=DMARC1; p=none").StricterThan(dmarc.Record{}) {
		t.Error("the zero Record is not that of a domain without one")
	}
}

func mustParse(t *testing.T, value string) dmarc.Record {
	t.Helper()
	record, err := dmarc.Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestNoRecordIsStricterThanItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRecord(t), drawRecord(t)
		if a.StricterThan(a) {
			t.Fatalf("%s is stricter than itself", a)
		}
		if !a.StricterThan(b) && !b.StricterThan(a) {
			ad, as, an := a.Effective()
			bd, bs, bn := b.Effective()
			if ad != bd || as != bs || an != bn {
				t.Fatalf("%s and %s ask for different things", a, b)
			}
		}
	})
}

func TestEveryRecordThatWePrintReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		text := want.String()
		if !strings.HasPrefix(text, "v=DMARC1; p=") {
			t.Fatalf("%s does not begin with v and p", text)
		}
		got, err := dmarc.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s:\n%s", text, diff)
		}
	})
}

func drawRecord(t *rapid.T) dmarc.Record {
	policies := []dmarc.Policy{dmarc.None, dmarc.Quarantine, dmarc.Reject}
	policy, optional := rapid.SampledFrom(policies), rapid.SampledFrom(append(policies, ""))
	alignment := rapid.SampledFrom([]dmarc.Alignment{"", dmarc.Relaxed, dmarc.Strict})
	uris := rapid.SliceOfN(rapid.Custom(drawURI), 0, 3)
	return dmarc.Record{
		Policy:                     policy.Draw(t, "p"),
		SubdomainPolicy:            optional.Draw(t, "sp"),
		NonexistentSubdomainPolicy: optional.Draw(t, "np"),
		PSD:                        rapid.SampledFrom([]dmarc.PSD{"", dmarc.PSDYes, dmarc.PSDNo, dmarc.PSDUnknown}).Draw(t, "psd"),
		Testing:                    rapid.Bool().Draw(t, "t"),
		DKIMAlignment:              alignment.Draw(t, "adkim"),
		SPFAlignment:               alignment.Draw(t, "aspf"),
		AggregateReportsTo:         uris.Draw(t, "rua"),
		FailureReportsTo:           uris.Draw(t, "ruf"),
		FailureOptions:             rapid.SampledFrom([][]dmarc.FailureOption{nil, {"0"}, {"1"}, {"d"}, {"s"}, {"d", "s"}, {"s", "1", "d"}}).Draw(t, "fo"),
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range recordtest.Cases(f, "testdata/record/*.txt") {
		f.Add(c.Value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		record, err := dmarc.Parse(value)
		if err != nil {
			return
		}
		if !dmarc.Is(value) {
			t.Fatalf("%q was read but is not DMARC", value)
		}
		again, err := dmarc.Parse(record.String())
		if err != nil {
			t.Fatalf("%q printed as %q: %v", value, record, err)
		}
		if len(again.Problems) > 0 {
			t.Fatalf("%q printed as %q has problems: %q", value, record, again.Problems)
		}
		if diff := cmp.Diff(record, again, cmpopts.IgnoreFields(dmarc.Record{}, "Historic", "Problems")); diff != "" {
			t.Fatalf("%q printed as %q:\n%s", value, record, diff)
		}
		if record.StricterThan(record) {
			t.Fatalf("%q is stricter than itself", value)
		}
	})
}
