// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/announce"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// normal are the normal-true conditions of a DKIMKey, and what they say when nothing denies them.
func normal(seen observation) []readiness.Normal {
	return []readiness.Normal{
		{Condition: v1alpha1.ConditionProviderReady, Reason: v1alpha1.ReasonProviderReady, Message: "the provider may be used"},
		{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonKeysReady, Message: "the key pair exists and matches its Secret"},
		{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRecordsPublished, Message: "the provider has the record"},
		evidence.Verified(seen.place, seen.key.Status.Conditions, "the authoritative servers answer the record"),
	}
}

// served is what they say of a key whose record is gone.
var served = []readiness.Normal{
	{Condition: v1alpha1.ConditionProviderReady, Reason: v1alpha1.ReasonProviderReady, Message: "the provider may be used"},
	{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonNotRequested, Message: "the key has served its time"},
	{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonNotRequested, Message: "the record was removed"},
	{Condition: v1alpha1.ConditionRecordsVerified, Reason: v1alpha1.ReasonNotRequested, Message: "the record was removed"},
}

// patchStatus writes the status if it changed, onto the version that was read: a stale copy never wins. It returns
// when to look again.
func (r *Reconciler) patchStatus(ctx context.Context, seen observation, d decision, now time.Time) (time.Time, error) {
	settled := readiness.True(seen.key.Status.Conditions, v1alpha1.ConditionReady) && seen.key.Status.ObservedGeneration == seen.key.Generation
	findings, normal := d.findings, normal(seen)
	if record := recordStatus(d.status); d.status.RemovedTime != nil {
		normal = served
	} else if record != nil {
		of, look := readiness.Records([]v1alpha1.RecordStatus{*record}, settled, now)
		if seen.place.Manual && seen.outcome != nil {
			of = readiness.ByHand(of)
		}
		findings = append(findings, of...)
		d.look(look)
	} else {
		findings = append(findings, unpublished()...)
	}
	d.status.Conditions = readiness.Conditions(seen.key.Status.Conditions, seen.key.Generation, normal, findings, notes(seen, d.status), now)
	if equality.Semantic.DeepEqual(seen.key.Status, d.status) {
		return d.lookAgain, nil
	}
	after := seen.key.DeepCopy()
	after.Status = d.status
	err := object.PatchStatus(ctx, r.Client, seen.key, after)
	if err == nil {
		r.sayTransitions(seen, d.status)
		announce.Conditions(ctx, r.Events, seen.key, seen.key.Status.Conditions, d.status.Conditions)
	}
	return d.lookAgain, err
}

func unpublished() []readiness.Finding {
	return []readiness.Finding{
		{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonPublishing, Message: "there is no record to publish yet"},
		{Condition: v1alpha1.ConditionRecordsVerified, Reason: v1alpha1.ReasonWaitingForPublication, Message: "there is no record to look for yet"},
	}
}

func notes(seen observation, s v1alpha1.DKIMKeyStatus) []readiness.Note {
	var notes []readiness.Note
	if record := recordStatus(s); record != nil && desired.Published(*record) {
		looks := map[dnsrecord.Name]dnscheck.Verdict{seen.record: seen.verdict}
		notes = evidence.LargeAnswers(looks, seen.key.Status.Conditions)
	}
	if s.Bits == 0 || s.Bits >= v1alpha1.DefaultRSABits {
		return notes
	}
	return append(notes, readiness.Note{
		Condition: v1alpha1.ConditionWeakKey, Reason: v1alpha1.ReasonKeyTooShort,
		Message: "the adopted key has less than 2048 bits (RFC 8301 section 3.2); rotate to replace it",
	})
}
