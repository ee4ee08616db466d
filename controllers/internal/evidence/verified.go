// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Verified is what RecordsVerified says when nothing denies it: asked, or that nobody was. While no place is known, what
// was said last holds.
func Verified(at place.Place, last []metav1.Condition, asked string) readiness.Normal {
	n := readiness.Normal{Condition: v1alpha1.ConditionRecordsVerified, Reason: v1alpha1.ReasonRecordsVerified, Message: asked}
	before := meta.FindStatusCondition(last, n.Condition)
	disabled := at.Policy.Mode == dnscheck.None
	if at.Zone == "" && before != nil {
		disabled = before.Reason == v1alpha1.ReasonVerificationDisabled
	}
	if disabled {
		n.Reason, n.Message = v1alpha1.ReasonVerificationDisabled, "nobody looks whether the records are seen: the provider's verification.mode is None"
	}
	return n
}

// Answered tells people that a record became Verified.
func Answered(at place.Place, record string) string {
	if at.Policy.Mode == dnscheck.None {
		return record + " counts as seen: the provider's verification.mode is None, and nobody looks"
	}
	return "every authoritative server answers " + record
}
