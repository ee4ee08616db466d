// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package brake

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Count takes the census of all MailDomains and DKIMKeys, as their statuses tell.
func Count(domains []v1alpha1.MailDomain, keys []v1alpha1.DKIMKey, now time.Time) Census {
	c := Census{Published: Records{}, Leaving: Records{}}
	deleted, agreed := map[holder]bool{}, map[holder]bool{}
	for i := range domains {
		d := &domains[i]
		of := holder{d.Namespace, asciiName(d.Spec.Domain)}
		agreed[of], _ = Agreed(now, d.Annotations)
		leaves := removes(d) && !agreed[of]
		deleted[of] = deleted[of] || leaves
		for _, r := range d.Status.Records {
			if r.Purpose != v1alpha1.PurposeDKIM { // the keys tell of those
				c.note(r, leaves)
			}
		}
		c.Held = c.Held || leaves && held(d.Status.Conditions)
	}
	for i := range keys {
		k := &keys[i]
		of := holder{k.Namespace, asciiName(k.Spec.Domain)}
		leaves := deleted[of] && (!k.DeletionTimestamp.IsZero() || k.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy)
		c.note(v1alpha1.RecordStatus{
			Name: k.Status.RecordName, Value: k.Status.RecordValue, PublishedValue: k.Status.PublishedValue, State: k.Status.RecordState,
		}, leaves)
		c.Held = c.Held || held(k.Status.Conditions) && !agreed[of]
	}
	return c
}

// holder is what keys and the MailDomain of a domain have in common.
type holder struct{ namespace, domain string }

// removes tells whether the records of a domain go with it.
func removes(d *v1alpha1.MailDomain) bool {
	return !d.DeletionTimestamp.IsZero() && d.Spec.Deletion() == v1alpha1.DeletionDelete && d.Annotations[v1alpha1.AnnotationAbandonRecords] != "true"
}

func (c *Census) note(r v1alpha1.RecordStatus, leaves bool) {
	key, ok := Stands(r)
	if !ok {
		return
	}
	c.Published[key] = true
	if leaves {
		c.Leaving[key] = true
	}
}

// Stands names the record that a status says we published, if anybody would miss it: an empty key is none.
func Stands(r v1alpha1.RecordStatus) (dnsplan.Key, bool) {
	key := dnsplan.Key{Name: dnsrecord.Name(r.Name), Type: dnsrecord.Type(cmp.Or(r.Type, string(dnsrecord.TXT)))}
	for _, value := range desired.Ours(r) {
		if value != "" && !dnsplan.Tombstone(value) {
			return key, true
		}
	}
	return key, false
}

func held(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionRecordsPublished)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonRemovalHeld
}

// asciiName is the domain as it stands in the DNS; as it was written where it is none.
func asciiName(written v1alpha1.DomainName) string {
	name, err := dnsrecord.ParseDomain(written)
	if err != nil {
		return written
	}
	return name.String()
}
