// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// costing is a record of one mx and an include.
func costing(include, voids int32) *v1alpha1.SPFStatus {
	left := 9 - include
	return &v1alpha1.SPFStatus{Lookups: 1 + include, LookupsLeft: &left, VoidLookups: voids, Terms: []v1alpha1.SPFTermStatus{
		{Term: "mx", Lookups: 1}, {Term: "include:a.test", Lookups: include, VoidLookups: voids},
	}}
}

func TestAnSPFRecordIsAtRiskBeforeItBreaks(t *testing.T) {
	broken := costing(1, 0)
	broken.PermError = "a.test has no SPF record"
	unread := costing(7, 0)
	unread.Unread = "a.test (TXT)"
	for title, c := range map[string]struct {
		seen *v1alpha1.SPFStatus
		want []string // reason: message
	}{
		"nobody has looked":                {&v1alpha1.SPFStatus{AnswerOctets: 400}, nil},
		"there is no record":               {nil, nil},
		"two are left":                     {costing(7, 2), nil},
		"one is left":                      {costing(8, 0), []string{"NearLookupLimit: the SPF record takes 9 of 10 DNS lookups with all that it includes: include:a.test 8, mx 1; what others include more may break it"}},
		"none is left":                     {costing(9, 0), []string{"NearLookupLimit: the SPF record takes 10 of 10 DNS lookups with all that it includes: include:a.test 9, mx 1; what others include more may break it"}},
		"too many":                         {costing(10, 0), []string{"TooManyLookups: the SPF record takes 11 DNS lookups with all that it includes, and receivers stop at 10 with permerror (RFC 7208 section 4.6.4): include:a.test 10, mx 1; replace some by ip4 and ip6"}},
		"too many have no answer":          {costing(3, 3), []string{"TooManyVoidLookups: 3 DNS lookups of the SPF record have no answer, and receivers stop after 2 with permerror (RFC 7208 section 4.6.4): include:a.test 3"}},
		"broken by somebody else":          {broken, []string{"PermError: receivers answer permerror and pass nobody: a.test has no SPF record"}},
		"somebody else's servers are away": {unread, []string{"IncludeUnreadable: nobody answers for a.test (TXT), on which the SPF record depends: receivers may put mail off"}},
	} {
		t.Run(title, func(t *testing.T) {
			var got []string
			for _, n := range SPFRisk(c.seen) {
				got = append(got, n.Reason+": "+n.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnIncludeThatCostsMoreIsNewsWhereItMatters(t *testing.T) {
	for title, c := range map[string]struct {
		before, after *v1alpha1.SPFStatus
		want          string
	}{
		"nobody had looked":                       {&v1alpha1.SPFStatus{}, costing(9, 0), ""},
		"nothing changed":                         {costing(9, 0), costing(9, 0), ""},
		"one more, and enough is left":            {costing(3, 0), costing(4, 0), ""},
		"three more at once":                      {costing(3, 0), costing(6, 0), "include:a.test costs 6 DNS lookups now, 3 before: the SPF record takes 7 of 10"},
		"one more, and one is left":               {costing(7, 0), costing(8, 0), "include:a.test costs 8 DNS lookups now, 7 before: the SPF record takes 9 of 10"},
		"one more, and none is left":              {costing(8, 0), costing(9, 0), "include:a.test costs 9 DNS lookups now, 8 before: the SPF record takes 10 of 10"},
		"less":                                    {costing(9, 0), costing(8, 0), ""},
		"a term that we put there ourselves":      {&v1alpha1.SPFStatus{LookupsLeft: new(int32)}, costing(9, 0), ""},
		"the record is no longer ours to look at": {costing(3, 0), nil, ""},
	} {
		t.Run(title, func(t *testing.T) {
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			if got := DearerIncludes(c.before, c.after); !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWhoElseGetsReports(t *testing.T) {
	for title, c := range map[string]struct {
		spec v1alpha1.MailDomainSpec
		want []dnsrecord.Name
	}{
		"nobody": {v1alpha1.MailDomainSpec{DMARC: &v1alpha1.DMARC{AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:a@example.org", "mailto:a@in.example.org"}}}, nil},
		"each once, failure reports too": {
			v1alpha1.MailDomainSpec{DMARC: &v1alpha1.DMARC{
				AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:a@z.test", "https://b.test/in"},
				FailureReportsTo:   []v1alpha1.ReportAddress{"mailto:b@z.test"},
			}},
			[]dnsrecord.Name{"b.test", "z.test"},
		},
		"a parked domain's": {v1alpha1.MailDomainSpec{Parked: &v1alpha1.Parked{AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:a@z.test"}}}, []dnsrecord.Name{"z.test"}},
	} {
		t.Run(title, func(t *testing.T) {
			if got := ReportDestinations("example.org", c.spec); !slices.Equal(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
}
