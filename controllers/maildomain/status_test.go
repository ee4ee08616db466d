// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
)

var own = []v1alpha1.RecordStatus{
	{Name: "example.org", Purpose: v1alpha1.PurposeSPF, Value: "v=spf1 mx ~all", State: v1alpha1.RecordVerified},
	{Name: "_dmarc.example.org", Purpose: v1alpha1.PurposeDMARC, Value: "v=DMARC1; p=none", State: v1alpha1.RecordVerified},
}

// A rotation a day and a long overlap keep more selectors published than the schema lets the status hold.
func TestTheStatusHoldsNoMoreRecordsThanTheSchemaTakes(t *testing.T) {
	var keys []v1alpha1.DKIMKey
	for i := range 200 {
		keys = append(keys, v1alpha1.DKIMKey{Status: v1alpha1.DKIMKeyStatus{
			RecordName: fmt.Sprintf("m%03d._domainkey.example.org", 200-i), RecordValue: "v=DKIM1; p=", RecordState: v1alpha1.RecordVerified,
		}})
	}
	got := recordStatuses(keys, own)
	if len(got) != 128 || got[0].Name != "_dmarc.example.org" || got[1].Name != "example.org" || got[127].Name != "m200._domainkey.example.org" {
		t.Errorf("%d records, from %s and %s to %s", len(got), got[0].Name, got[1].Name, got[len(got)-1].Name)
	}
}

// What the status says of a record is how we know that it is ours: also while the spec cannot be written as a record.
func TestASpecThatCannotBeWrittenForgetsNoRecord(t *testing.T) {
	seen := observation{domain: &v1alpha1.MailDomain{Status: v1alpha1.MailDomainStatus{Records: own}}, unjudged: true}
	var d decision
	d.publication(seen, time.Time{}, true)
	if len(d.records) != 2 || d.submit {
		t.Errorf("%+v, submitted: %v", d.records, d.submit)
	}
	seen.unjudged = false
	d = decision{}
	if d.publication(seen, time.Time{}, true); len(d.records) != 0 {
		t.Errorf("what the spec does not name any more is still listed: %+v", d.records)
	}
}

// The schema bounds what the status keeps of annotations, and nothing bounds the annotations.
func TestAWordThatIsTooLongIsNotKept(t *testing.T) {
	now := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	long := now.Format("2006-01-02T15:04:05.") + strings.Repeat("0", 300) + "Z"
	for annotation, word := range map[string]string{v1alpha1.AnnotationAllowRemoval: long, v1alpha1.AnnotationTakeOver: strings.Repeat("o", 254)} {
		domain := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotation: word}}}
		var after v1alpha1.MailDomainStatus
		noteWords(&after, observation{domain: domain, tookOver: evidence.TakeOver(domain) != ""}, now)
		if len(after.LastHandledAllowRemoval)+len(after.LastHandledTakeOver) > 0 {
			t.Errorf("%s: %+v", annotation, after)
		}
	}
}

func TestConditionsDoNotClaimWhatNobodyAskedFor(t *testing.T) {
	asked := observation{domain: &v1alpha1.MailDomain{}, place: place.Place{Spot: place.Spot{Zone: "example.org"}}}
	unasked := asked
	unasked.place.Policy.Mode = dnscheck.None
	gone := observation{domain: &v1alpha1.MailDomain{Status: v1alpha1.MailDomainStatus{Conditions: []metav1.Condition{
		{Type: v1alpha1.ConditionRecordsVerified, Reason: v1alpha1.ReasonVerificationDisabled},
	}}}}
	for name, c := range map[string]struct {
		seen observation
		want string
	}{
		"the servers are asked":           {asked, v1alpha1.ReasonRecordsVerified},
		"verification is None":            {unasked, v1alpha1.ReasonVerificationDisabled},
		"and stays so without a provider": {gone, v1alpha1.ReasonVerificationDisabled},
	} {
		all := normal(c.seen)
		if all[1].Reason != v1alpha1.ReasonNotRequested || all[3].Reason != c.want {
			t.Errorf("%s: %+v", name, all)
		}
	}
}
