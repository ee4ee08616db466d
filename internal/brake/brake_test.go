// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package brake

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

var now = time.Date(2026, 11, 1, 4, 0, 0, 0, time.UTC)

// some are records number from to to, without the last.
func some(from, to int) Records {
	r := Records{}
	for i := from; i < to; i++ {
		r[dnsplan.Key{Name: dnsrecord.Name(fmt.Sprintf("r%d.example", i)), Type: dnsrecord.TXT}] = true
	}
	return r
}

func TestWhatIsHeld(t *testing.T) {
	limit := Limit{Share: 0.1, Floor: 20, Window: time.Hour}
	for name, c := range map[string]struct {
		limit       Limit
		census      Census
		gone, asked Records
		holds       bool
	}{
		"one domain of a thousand":                         {census: Census{Published: some(0, 6000), Leaving: some(0, 6)}, asked: some(0, 6)},
		"a hundred of a thousand":                          {census: Census{Published: some(0, 6000), Leaving: some(0, 600)}, asked: some(0, 6)},
		"one more":                                         {census: Census{Published: some(0, 6000), Leaving: some(0, 601)}, asked: some(0, 6), holds: true},
		"little by little within the window":               {census: Census{Published: some(600, 6000)}, gone: some(0, 600), asked: some(600, 601), holds: true},
		"what goes and what went is counted once":          {census: Census{Published: some(0, 6000), Leaving: some(0, 600)}, gone: some(0, 600), asked: some(0, 600)},
		"all of a small installation":                      {census: Census{Published: some(0, 20), Leaving: some(0, 20)}, asked: some(0, 5)},
		"all of one that is not small any more":            {census: Census{Published: some(0, 21), Leaving: some(0, 21)}, asked: some(0, 5), holds: true},
		"what no object tells of counts too":               {census: Census{}, asked: some(0, 21), holds: true},
		"what was held once, although it is little by now": {census: Census{Published: some(0, 6000), Leaving: some(0, 6), Held: true}, asked: some(0, 6), holds: true},
		"no limit": {limit: Limit{Share: 1}, census: Census{Published: some(0, 6000), Leaving: some(0, 6000), Held: true}, asked: some(0, 6)},
	} {
		l := limit
		if c.limit != (Limit{}) {
			l = c.limit
		}
		if got := l.Holds(c.census, c.gone, c.asked); got != c.holds {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// More that goes is never a reason to let go, and what stays below floor or share is never held.
func TestTheLimitIsALimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{Share: rapid.Float64Range(0, 0.99).Draw(t, "share"), Floor: rapid.IntRange(0, 50).Draw(t, "floor"), Window: time.Hour}
		all := rapid.IntRange(1, 300).Draw(t, "all")
		leaving, gone, asked := rapid.IntRange(0, all).Draw(t, "leaving"), rapid.IntRange(0, all).Draw(t, "gone"), rapid.IntRange(1, all).Draw(t, "asked")
		c := Census{Published: some(0, all), Leaving: some(0, leaving)}
		going := max(leaving, gone, asked)
		got := l.Holds(c, some(0, gone), some(0, asked))
		if want := going > l.Floor && going > int(l.Share*float64(all)); got != want {
			t.Fatalf("%d of %d with %v: %v", going, all, l, got)
		}
		if got && !l.Holds(Census{Published: some(0, all), Leaving: some(0, all)}, some(0, gone), some(0, asked)) {
			t.Fatalf("%d of %d are held, all are not", going, all)
		}
	})
}

func TestAPersonsWordHoldsForADay(t *testing.T) {
	for text, want := range map[string]bool{
		"2026-11-01T04:00:00Z":      true,
		"2026-11-01T04:04:00Z":      true, // another clock
		"2026-11-01T05:00:00+01:00": true,
		"2026-10-31T04:00:01Z":      true,
		"2026-10-31T04:00:00Z":      false,
		"2026-11-01T04:05:00Z":      false,
		"2027-11-01T04:00:00Z":      false,
	} {
		got, err := Agreed(now, nil, map[string]string{v1alpha1.AnnotationAllowRemoval: text})
		if got != want || err != nil {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yes", "true", "now", "2026-11-01"} {
		if got, err := Agreed(now, map[string]string{v1alpha1.AnnotationAllowRemoval: text}); got || err == nil {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	if got, err := Agreed(now, nil, map[string]string{}); got || err != nil {
		t.Errorf("silence: %v %v", got, err)
	}
}

func TestTheCensus(t *testing.T) {
	deleted := func(d *v1alpha1.MailDomain) {
		d.DeletionTimestamp, d.Spec.DeletionPolicy = &metav1.Time{Time: now}, v1alpha1.DeletionDelete
	}
	annotated := func(annotation, value string) func(*v1alpha1.MailDomain) {
		return func(d *v1alpha1.MailDomain) { d.Annotations = map[string]string{annotation: value} }
	}
	for name, c := range map[string]struct {
		domain             []func(*v1alpha1.MailDomain)
		key                func(*v1alpha1.DKIMKey)
		published, leaving int
		held               bool
	}{
		"a domain with its key": {published: 3},
		"one that goes":         {domain: []func(*v1alpha1.MailDomain){deleted}, published: 3, leaving: 3},
		"one whose records stay": {
			domain:    []func(*v1alpha1.MailDomain){deleted, func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = v1alpha1.DeletionRetain }},
			published: 3,
		},
		"one that a person lets go": {domain: []func(*v1alpha1.MailDomain){deleted, annotated(v1alpha1.AnnotationAllowRemoval, "2026-11-01T03:00:00Z")}, published: 3},
		"one whose word is old":     {domain: []func(*v1alpha1.MailDomain){deleted, annotated(v1alpha1.AnnotationAllowRemoval, "2025-11-01T03:00:00Z")}, published: 3, leaving: 3},
		"one that is abandoned":     {domain: []func(*v1alpha1.MailDomain){deleted, annotated(v1alpha1.AnnotationAbandonRecords, "true")}, published: 3},
		"a key that a person wrote stays": {
			domain: []func(*v1alpha1.MailDomain){deleted}, key: func(k *v1alpha1.DKIMKey) { k.Labels = nil }, published: 3, leaving: 2,
		},
		"an empty key": {
			domain: []func(*v1alpha1.MailDomain){deleted}, key: func(k *v1alpha1.DKIMKey) { k.Status.RecordValue = "v=DKIM1; k=rsa; p=" }, published: 2, leaving: 2,
		},
		"a key that is replaced by an empty one stands until then": {
			key: func(k *v1alpha1.DKIMKey) {
				k.Status.RecordState, k.Status.RecordValue, k.Status.PublishedValue = v1alpha1.RecordPending, "v=DKIM1; k=rsa; p=", "v=DKIM1; k=rsa; p=AAAA"
			},
			published: 3,
		},
		"a record of somebody else": {domain: []func(*v1alpha1.MailDomain){func(d *v1alpha1.MailDomain) { d.Status.Records[0].State = v1alpha1.RecordConflict }}, published: 2},
		"one that was held": {
			domain: []func(*v1alpha1.MailDomain){deleted, func(d *v1alpha1.MailDomain) { d.Status.Conditions = heldConditions }}, published: 3, leaving: 3, held: true,
		},
		"one that was held and is let go": {
			domain: []func(*v1alpha1.MailDomain){
				deleted, annotated(v1alpha1.AnnotationAllowRemoval, "2026-11-01T03:00:00Z"), func(d *v1alpha1.MailDomain) { d.Status.Conditions = heldConditions },
			},
			published: 3,
		},
		"a key that was held": {key: func(k *v1alpha1.DKIMKey) { k.Status.Conditions = heldConditions }, published: 3, held: true},
	} {
		d := v1alpha1.MailDomain{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "d"}, Spec: v1alpha1.MailDomainSpec{Domain: "Example.org"},
			Status: v1alpha1.MailDomainStatus{Records: []v1alpha1.RecordStatus{
				{Name: "_dmarc.example.org", Purpose: v1alpha1.PurposeDMARC, Value: "v=DMARC1; p=none", State: v1alpha1.RecordVerified},
				{Name: "example.org", Purpose: v1alpha1.PurposeSPF, Value: "v=spf1 -all", State: v1alpha1.RecordDrifted},
				{Name: "m._domainkey.example.org", Purpose: v1alpha1.PurposeDKIM, Value: "v=DKIM1; k=rsa; p=AAAA", State: v1alpha1.RecordVerified},
			}},
		}
		k := v1alpha1.DKIMKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "k", Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
			Spec:       v1alpha1.DKIMKeySpec{Domain: "example.org"},
			Status:     v1alpha1.DKIMKeyStatus{RecordName: "m._domainkey.example.org", RecordValue: "v=DKIM1; k=rsa; p=AAAA", RecordState: v1alpha1.RecordVerified},
		}
		for _, change := range c.domain {
			change(&d)
		}
		if c.key != nil {
			c.key(&k)
		}
		got := Count([]v1alpha1.MailDomain{d}, []v1alpha1.DKIMKey{k}, now)
		if len(got.Published) != c.published || len(got.Leaving) != c.leaving || got.Held != c.held {
			t.Errorf("%s: %+v, want %d, %d, %v", name, got, c.published, c.leaving, c.held)
		}
	}
}

var heldConditions = []metav1.Condition{{Type: v1alpha1.ConditionRecordsPublished, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRemovalHeld}}

func TestTheLimitIsSaidInWordsThatStay(t *testing.T) {
	for window, want := range map[time.Duration]string{time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 20 * time.Minute: "20m", 25 * time.Hour: "25h"} {
		want = "more than 12.5 % of all records of this installation, and more than 20, are about to go within " + want
		if got := (Limit{Share: 0.125, Floor: 20, Window: window}).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
