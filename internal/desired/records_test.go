// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// texts shows records as a person would write them down.
func texts(records []Record) []string {
	var lines []string
	for _, r := range records {
		lines = append(lines, string(r.Name)+" "+string(r.Kind)+" "+r.Value)
	}
	return lines
}

func TestTheRecordsOfADomain(t *testing.T) {
	for name, c := range map[string]struct {
		spec v1alpha1.MailDomainSpec
		want []string
	}{
		"what the spec leaves out is unmanaged":             {},
		"a domain that signs only has no record of its own": {spec: v1alpha1.MailDomainSpec{DKIM: &v1alpha1.DKIM{}}},
		"SPF softly fails everyone else unless told otherwise": {
			spec: v1alpha1.MailDomainSpec{SPF: &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"mx", "ip4:192.0.2.0/24"}}},
			want: []string{"example.org SPF v=spf1 mx ip4:192.0.2.0/24 ~all"},
		},
		"names that servers say in HELO have a record each, but for the domain itself and those of others": {
			spec: v1alpha1.MailDomainSpec{SPF: &v1alpha1.SPF{
				All: v1alpha1.SPFAllFail, HeloNames: []v1alpha1.DomainName{"mail.example.org", "example.org", "mx.example.net"},
			}},
			want: []string{"example.org SPF v=spf1 -all", "mail.example.org SPF v=spf1 a -all"},
		},
		"DMARC says what is not the default": {
			spec: v1alpha1.MailDomainSpec{DMARC: &v1alpha1.DMARC{
				Policy: v1alpha1.DMARCQuarantine, SubdomainPolicy: v1alpha1.DMARCReject, NonexistentSubdomainPolicy: v1alpha1.DMARCReject,
				Testing: true, DKIMAlignment: v1alpha1.AlignmentStrict, SPFAlignment: v1alpha1.AlignmentRelaxed,
				AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:a@example.org", "https://r.example.net/x"},
				FailureReportsTo:   []v1alpha1.ReportAddress{"mailto:f@example.org"},
				FailureOptions:     []v1alpha1.FailureOption{v1alpha1.FailureAny},
			}},
			want: []string{"_dmarc.example.org Exclusive v=DMARC1; p=quarantine; sp=reject; np=reject; t=y; adkim=s; " +
				"rua=mailto:a@example.org,https://r.example.net/x; ruf=mailto:f@example.org; fo=1"},
		},
		"a parked domain says in every way that it sends no mail": {
			spec: v1alpha1.MailDomainSpec{Parked: &v1alpha1.Parked{AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:a@example.org"}}},
			want: []string{
				"example.org SPF v=spf1 -all",
				"_dmarc.example.org Exclusive v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s; rua=mailto:a@example.org",
				"*._domainkey.example.org Exclusive v=DKIM1; p=",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Records("example.org", c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, texts(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFieldThatAdmissionCouldNotJudgeIsNamed(t *testing.T) {
	for want, spec := range map[string]v1alpha1.MailDomainSpec{
		"spec.spf: ":                        {SPF: &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"ptr"}}},
		"spec.spf.heloNames[0]: ":           {SPF: &v1alpha1.SPF{HeloNames: []v1alpha1.DomainName{"localhost"}}},
		"spec.dmarc: aggregateReportsTo[0]": {DMARC: &v1alpha1.DMARC{AggregateReportsTo: []v1alpha1.ReportAddress{"ftp://x"}}},
		"spec.parked.aggregateReportsTo[0]": {Parked: &v1alpha1.Parked{AggregateReportsTo: []v1alpha1.ReportAddress{"ftp://x"}}},
	} {
		if _, err := Records("example.org", spec); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s…", err, want)
		}
	}
}

func TestNoFieldIsSilentlyIgnored(t *testing.T) {
	yes := true
	spec := v1alpha1.MailDomainSpec{
		DKIM: &v1alpha1.DKIM{
			SigningFormats: []v1alpha1.SigningFormat{v1alpha1.SigningFormatRspamd},
		},
		DMARC:  &v1alpha1.DMARC{Rollout: &v1alpha1.Rollout{ListUsers: &yes}, OwnNetworks: []v1alpha1.Network{"192.0.2.0/24"}},
		Parked: &v1alpha1.Parked{NullMX: true},
	}
	if got := len(Unsupported(spec)); got != 4 {
		t.Errorf("%d fields are named: %v", got, Unsupported(spec))
	}
	reports := func(to v1alpha1.ReportAddress) v1alpha1.MailDomainSpec {
		return v1alpha1.MailDomainSpec{Domain: "mail.example.org", DMARC: &v1alpha1.DMARC{AggregateReportsTo: []v1alpha1.ReportAddress{to}}}
	}
	if got := Unsupported(reports("mailto:x@reports.example.net")); len(got) != 1 || !strings.HasPrefix(got[0], "spec.dmarc.aggregateReportsTo") {
		t.Errorf("a destination that has to permit reports: %v", got)
	}
	if got := Unsupported(reports("mailto:x@example.org")); got != nil {
		t.Errorf("the domain's own organisation: %v", got)
	}
	if got := Unsupported(v1alpha1.MailDomainSpec{DKIM: &v1alpha1.DKIM{}}); got != nil {
		t.Errorf("%v is named though nothing is set", got)
	}
}
