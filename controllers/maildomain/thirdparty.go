// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// observeOthersRecords reads what the domain's records depend on, and what was found there.
func (r *Reconciler) observeOthersRecords(seen *observation) {
	seen.subject = thirdparty.Subject{
		Domain: seen.name, Policy: seen.place.Policy, Destinations: desired.ReportDestinations(seen.name, seen.domain.Spec),
	}
	if record := spfOf(seen.records); record != nil {
		seen.subject.SPF = record.Value
	}
	seen.found, seen.asked = r.ThirdParty.Findings(watcher(seen.domain), seen.subject)
}

// spfOf is the domain's own SPF record; nil if there is none.
func spfOf(records []desired.Record) *desired.Record {
	i := slices.IndexFunc(records, func(r desired.Record) bool { return r.Purpose == v1alpha1.PurposeSPF })
	if i < 0 {
		return nil
	}
	return &records[i]
}

// foundBefore tells whether the status speaks of what the domain depends on now.
func (o observation) foundBefore() bool {
	s := o.domain.Status
	return s.ObservedGeneration == o.domain.Generation && (o.subject.SPF == "" || s.SPF != nil && s.SPF.LookupsLeft != nil)
}

// spfStatus is what is known of the SPF record's cost. What nobody has seen yet since a restart stays as it was.
func spfStatus(last *v1alpha1.SPFStatus, seen observation) *v1alpha1.SPFStatus {
	record := spfOf(seen.records)
	if record == nil {
		if seen.domain.Spec.SPF != nil || seen.domain.Spec.Parked != nil {
			return last // it cannot be made
		}
		return nil
	}
	after := &v1alpha1.SPFStatus{}
	if last != nil {
		after = last.DeepCopy()
	}
	if seen.asked {
		*after = evidence.SPFCost(*after, seen.found.Tree)
	}
	if verdict := seen.verdicts[evidence.Target(*record)]; !verdict.SweptAt.IsZero() {
		after.AnswerOctets = int32(verdict.PlainSize) //nolint:gosec // 64 KiB at most
	}
	if equality.Semantic.DeepEqual(*after, v1alpha1.SPFStatus{}) {
		return nil
	}
	return after
}

// reportsRefused names the records that others have to publish before they get reports about the domain. A process that has
// just begun leaves what was said before.
func reportsRefused(seen observation) []readiness.Note {
	if len(seen.subject.Destinations) == 0 {
		return nil
	}
	last := meta.FindStatusCondition(seen.domain.Status.Conditions, v1alpha1.ConditionReportsUnauthorized)
	switch {
	case seen.asked:
		return desired.ReportsRefused(seen.name, seen.found.Refusing, seen.found.Unread)
	case last != nil && seen.foundBefore():
		return []readiness.Note{{Condition: last.Type, Reason: last.Reason, Message: last.Message}}
	}
	return nil
}
