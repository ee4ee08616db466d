// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
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
		"a parked domain that takes no mail either": {
			spec: v1alpha1.MailDomainSpec{Parked: &v1alpha1.Parked{NullMX: true}},
			want: []string{
				"example.org SPF v=spf1 -all",
				"_dmarc.example.org Exclusive v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s",
				"*._domainkey.example.org Exclusive v=DKIM1; p=",
				"example.org Exclusive 0 .",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, faults := Records("example.org", c.spec)
			if faults != nil {
				t.Fatal(faults)
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
		"spec.dmarc.aggregateReportsTo[0]":  {DMARC: &v1alpha1.DMARC{AggregateReportsTo: []v1alpha1.ReportAddress{"ftp://x"}}},
		"spec.parked.aggregateReportsTo[0]": {Parked: &v1alpha1.Parked{AggregateReportsTo: []v1alpha1.ReportAddress{"ftp://x"}}},
	} {
		if _, faults := Records("example.org", spec); len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), want) {
			t.Errorf("got %v, want %s…", faults, want)
		}
	}
}

func TestAFaultInOneRecordLeavesTheOthers(t *testing.T) {
	spec := v1alpha1.MailDomainSpec{
		SPF:   &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"ptr"}, HeloNames: []v1alpha1.DomainName{"mail.example.org"}},
		DMARC: &v1alpha1.DMARC{Policy: v1alpha1.DMARCNone},
	}
	got, faults := Records("example.org", spec)
	if diff := cmp.Diff([]string{"mail.example.org SPF v=spf1 a -all", "_dmarc.example.org Exclusive v=DMARC1; p=none"}, texts(got)); diff != "" || len(faults) != 1 {
		t.Error(faults, diff)
	}
}

func TestARecordThatIsTooLongAsAWholeIsAFault(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a.", n/2) + strings.Repeat("b", n%2) }
	var addresses []v1alpha1.ReportAddress
	for i := range 8 {
		addresses = append(addresses, fmt.Sprintf("https://%s%d.example/", long(220), i))
	}
	dmarc := v1alpha1.DMARC{Policy: v1alpha1.DMARCNone, AggregateReportsTo: addresses, FailureReportsTo: addresses}
	if _, faults := Records("example.org", v1alpha1.MailDomainSpec{DMARC: &dmarc}); faults != nil {
		t.Error("one that just fits is refused:", faults)
	}
	for i := range addresses {
		addresses[i] += strings.Repeat("x", 20)
	}
	_, faults := Records("example.org", v1alpha1.MailDomainSpec{DMARC: &dmarc})
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "the DMARC record at _dmarc.example.org would have 4") {
		t.Error(faults)
	}
	domain := dnsrecord.Name(long(240) + "example.org")
	_, faults = Records(domain, v1alpha1.MailDomainSpec{SPF: &v1alpha1.SPF{}, DMARC: &v1alpha1.DMARC{Policy: v1alpha1.DMARCNone}})
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "spec.domain leaves no room for its DMARC record") {
		t.Error(faults)
	}
}

func TestNoFieldIsSilentlyIgnored(t *testing.T) {
	yes := true
	spec := v1alpha1.MailDomainSpec{
		DKIM: &v1alpha1.DKIM{
			SigningFormats: []v1alpha1.SigningFormat{v1alpha1.SigningFormatRspamd},
		},
		DMARC: &v1alpha1.DMARC{Rollout: &v1alpha1.Rollout{ListUsers: &yes}, OwnNetworks: []v1alpha1.Network{"192.0.2.0/24"}},
	}
	if got := len(Unsupported(spec)); got != 3 {
		t.Errorf("%d fields are named: %v", got, Unsupported(spec))
	}
	if got := Unsupported(v1alpha1.MailDomainSpec{DKIM: &v1alpha1.DKIM{}}); got != nil {
		t.Errorf("%v is named though nothing is set", got)
	}
}
