// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// sends is a domain with an SPF record alone.
func sends(mechanisms ...v1alpha1.Mechanism) func(*v1alpha1.MailDomain) {
	return func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM, d.Spec.DMARC, d.Spec.SPF.Mechanisms = nil, nil, mechanisms
	}
}

// What somebody else's include costs receivers is in the status, with what is left; when it grows, that is told, before the
// record breaks and when it does, once each.
func TestAnIncludeThatGrowsIsToldBeforeItBreaksTheRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	b.provider("dns")
	b.addTXT("example.net", "_spf.example.net", "v=spf1 ip4:192.0.2.0/24 include:a.example.net -all")
	b.addTXT("example.net", "a.example.net", "v=spf1 a:www.example.net -all")
	d := b.domain("example.org", sends("mx", "include:_spf.example.net"))
	b.awaitReady(d)
	b.await(d, "the record's cost", func() bool { return d.Status.SPF != nil && d.Status.SPF.LookupsLeft != nil })
	want := []v1alpha1.SPFTermStatus{{Term: "mx", Lookups: 1}, {Term: "include:_spf.example.net", Lookups: 3}}
	if s := d.Status.SPF; s.Lookups != 4 || *s.LookupsLeft != 6 || s.VoidLookups != 0 || s.AnswerOctets == 0 || cmp.Diff(want, s.Terms) != "" {
		t.Errorf("the status says %+v, %d left", s, *s.LookupsLeft)
	}
	if c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionSPFAtRisk); c != nil {
		t.Errorf("with six lookups left: %+v", c)
	}

	b.swapTXT("example.net", "a.example.net", "v=spf1 a:www.example.net -all", "v=spf1 ptr ptr a:www.example.net ptr a:www.example.net exists:%{i}.example.net -all")
	b.awaitCondition(d, v1alpha1.ConditionSPFAtRisk, metav1.ConditionTrue, v1alpha1.ReasonNearLookupLimit)
	b.awaitSaid(d, "IncludeChanged", "include:_spf.example.net costs 8 DNS lookups now, 3 before: the SPF record takes 9 of 10")
	b.restart(nothing) // which changes nothing of what was said
	b.swapTXT("example.net", "_spf.example.net", "v=spf1 ip4:192.0.2.0/24 include:a.example.net -all", "v=spf1 mx:example.net ptr include:a.example.net -all")
	b.awaitCondition(d, v1alpha1.ConditionSPFAtRisk, metav1.ConditionTrue, v1alpha1.ReasonTooManyLookups)
	b.says(d, v1alpha1.ConditionSPFAtRisk, metav1.ConditionTrue, v1alpha1.ReasonTooManyLookups,
		"takes 11 DNS lookups", "receivers stop at 10 with permerror", "include:_spf.example.net 10, mx 1")
	b.awaitSaid(d, v1alpha1.ReasonTooManyLookups, "takes 11 DNS lookups")
	b.awaitReady(d) // our record is as it should be

	b.swapTXT("example.net", "_spf.example.net", "v=spf1 mx:example.net ptr include:a.example.net -all", "v=spf1 include:gone.example.net -all")
	b.awaitCondition(d, v1alpha1.ConditionSPFAtRisk, metav1.ConditionTrue, v1alpha1.ReasonPermError)
	b.says(d, v1alpha1.ConditionSPFAtRisk, metav1.ConditionTrue, v1alpha1.ReasonPermError, "gone.example.net has no SPF record")
	b.swapTXT("example.net", "_spf.example.net", "v=spf1 include:gone.example.net -all", "v=spf1 ip4:192.0.2.0/24 -all")
	b.await(d, "no risk", func() bool { return meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionSPFAtRisk) == nil })
	b.once(d, "IncludeChanged", "costs 8")
	b.once(d, v1alpha1.ReasonNearLookupLimit)
	b.once(d, v1alpha1.ReasonTooManyLookups)
}

// Reports to another organization go nowhere until it says that it takes them: the status has the record that it lacks.
func TestAReportDestinationThatHasNotPermittedReportsIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net", "example.com")
	b.provider("dns")
	b.addTXT("example.com", "example.org._report._dmarc.example.com", "v=DMARC1;")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM, d.Spec.SPF = nil, nil
		d.Spec.DMARC.AggregateReportsTo = []v1alpha1.ReportAddress{"mailto:a@example.net", "mailto:a@example.com", "mailto:a@mail.example.org"}
	})
	b.awaitReady(d)
	const lacks = `receivers send no reports to example.net until it publishes: example.org._report._dmarc.example.net. TXT "v=DMARC1" (RFC 9990 section 4)`
	c := b.awaitCondition(d, v1alpha1.ConditionReportsUnauthorized, metav1.ConditionTrue, v1alpha1.ReasonReportRecordMissing)
	if c.Message != lacks {
		t.Errorf("it says %q", c.Message)
	}
	b.awaitSaid(d, v1alpha1.ReasonReportRecordMissing, lacks)
	b.restart(nothing)
	b.rounds()
	b.once(d, v1alpha1.ReasonReportRecordMissing)
	b.addTXT("example.net", "example.org._report._dmarc.example.net", "v=DMARC1")
	b.await(d, "the permission", func() bool {
		return meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReportsUnauthorized) == nil
	})
}
