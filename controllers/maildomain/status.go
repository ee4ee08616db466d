// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/announce"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/changeover"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// How many keys and records the status lists. Older keys that are long gone drop out, and the records of the oldest: a
// rotation a day keeps more of them published than a status holds.
const (
	maxKeys    = 64
	maxRecords = 128
)

// normal are the normal-true conditions of a MailDomain, and what they say when nothing denies them.
func normal(seen observation) []readiness.Normal {
	keys := readiness.Normal{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonKeysReady, Message: "a key of every wanted algorithm signs"}
	if seen.domain.Spec.DKIM == nil {
		keys.Reason, keys.Message = v1alpha1.ReasonNotRequested, "the spec asks for no DKIM key"
	}
	return []readiness.Normal{
		{Condition: v1alpha1.ConditionProviderReady, Reason: v1alpha1.ReasonProviderReady, Message: "the provider may be used"},
		keys,
		{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRecordsPublished, Message: "the provider has every record that the domain needs now"},
		evidence.Verified(seen.place, seen.domain.Status.Conditions, "the authoritative servers answer every record that the domain needs now"),
	}
}

// here is what the queue said of a record at the domain's own place; nil if it has not answered since the record drifted.
func (o observation) here(record desired.Record) *dnsplan.Outcome {
	outcome, ok := o.outcomes[dnsplan.Key{Name: record.Name, Type: record.Type}]
	if ok && !evidence.Outdated(before(o.domain, record), o.answeredAt) {
		return &outcome
	}
	return nil
}

// recordAfter carries the status of one record forward with what was seen.
func recordAfter(seen observation, record desired.Record, last *v1alpha1.RecordStatus, now time.Time) v1alpha1.RecordStatus {
	if !seen.hasPlace && last != nil && last.Value == record.Value {
		return *last // nothing can be said of it now
	}
	outcome := seen.everywhere(record)
	verdict, looked := seen.verdicts[evidence.Target(record)]
	known := evidence.Since(last, evidence.Of(outcome, seen.place.Manual, verdict, looked), outcome)
	known = evidence.Explain(last, known, verdict, seen.place.Zone, seen.answeredAt)
	return desired.Progress(last, record, known, now)
}

// patchStatus writes the status if it changed, onto the version that was read: a stale copy never wins. It returns
// when to look again.
func (r *Reconciler) patchStatus(ctx context.Context, seen observation, d decision, now time.Time) (time.Time, error) {
	last := seen.domain.Status
	after := *last.DeepCopy()
	after.ObservedGeneration = seen.domain.Generation
	if seen.named() {
		after.Zone = place.Known(seen.place, seen.failure)
	}
	after.Places = d.places
	after.MarkerGeneration = max(last.MarkerGeneration, seen.generation)
	noteWords(&after, seen, now)
	after.Keys = keyStatuses(seen, last.Keys)
	after.Records = recordStatuses(seen.keys, d.records)
	after.Rotation = d.rotationStatus(seen, now)
	after.SPF = d.spf
	after.DMARC = dmarcStatus(last.DMARC, seen.domain.Spec.DMARC, after.Records)

	settled := readiness.True(last.Conditions, v1alpha1.ConditionReady) && last.ObservedGeneration == seen.domain.Generation
	of, look := readiness.Records(counted(seen, after.Records), settled, now)
	if seen.place.Manual && seen.outcomes != nil {
		of = readiness.ByHand(of)
	}
	d.look(look)
	findings := slices.Concat(d.findings, of)
	if seen.domain.Spec.Suspend && settled {
		findings = nil // suspended: Ready stays as it was
	}
	after.Conditions = readiness.Conditions(last.Conditions, seen.domain.Generation, normal(seen), findings, d.notes, now)
	if equality.Semantic.DeepEqual(last, after) {
		return d.lookAgain, nil
	}
	patched := seen.domain.DeepCopy()
	patched.Status = after
	err := object.PatchStatus(ctx, r.Client, seen.domain, patched)
	if err == nil {
		r.sayChanges(ctx, seen, d, after)
	}
	return d.lookAgain, err
}

// noteWords keeps which of a person's annotations were acted upon.
func noteWords(after *v1alpha1.MailDomainStatus, seen observation, now time.Time) {
	words := seen.domain.Annotations
	if agreed, _ := brake.Agreed(now, words); agreed && len(words[v1alpha1.AnnotationAllowRemoval]) <= maxWord {
		after.LastHandledAllowRemoval = words[v1alpha1.AnnotationAllowRemoval]
	}
	if word := words[v1alpha1.AnnotationTakeOver]; word == "" || seen.tookOver {
		after.LastHandledTakeOver = word
	}
}

// sayChanges tells of what a new status holds that the last one did not.
func (r *Reconciler) sayChanges(ctx context.Context, seen observation, d decision, after v1alpha1.MailDomainStatus) {
	domain, last := seen.domain, seen.domain.Status
	r.sayMoves(domain, last, after)
	for _, p := range d.cleaned {
		r.say(domain, placeCleaned, "our records are gone from %s", changeover.Describe(p))
	}
	r.sayTransitions(seen, after) // the causes first, for whoever reads down
	for _, line := range desired.DearerIncludes(last.SPF, after.SPF) {
		r.say(domain, includeChanged, "%s", line)
	}
	if d.cannotUndo != "" && undoHandled(last) != undoHandled(after) {
		r.say(domain, rotationStays, "annotation %s is not followed: %s", v1alpha1.AnnotationRotateUndo, d.cannotUndo)
	}
	announce.Conditions(ctx, r.Events, domain, last.Conditions, after.Conditions)
}

func undoHandled(s v1alpha1.MailDomainStatus) string {
	if s.Rotation == nil {
		return ""
	}
	return s.Rotation.LastHandledRotateUndoTime
}

// counted are the records that Ready depends on: a spare that is still being published is no reason not to be Ready.
func counted(seen observation, records []v1alpha1.RecordStatus) []v1alpha1.RecordStatus {
	signs := map[string]bool{}
	for _, k := range seen.views {
		if k.Signs {
			signs[k.Name] = true
		}
	}
	names := map[string]bool{}
	for _, k := range seen.keys {
		if signs[k.Name] {
			names[k.Status.RecordName] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(records), func(r v1alpha1.RecordStatus) bool {
		return r.Purpose == v1alpha1.PurposeDKIM && !names[r.Name]
	})
}

func keyStatuses(seen observation, last []v1alpha1.KeyStatus) []v1alpha1.KeyStatus {
	statuses := make([]v1alpha1.KeyStatus, 0, len(seen.keys))
	for i, k := range seen.keys {
		phase := k.Status.Phase
		if seen.views[i].Signs {
			phase = v1alpha1.PhaseSigning // we know it before the key's own controller does
		}
		statuses = append(statuses, v1alpha1.KeyStatus{
			Name: k.Name, Selector: k.Spec.Selector, Algorithm: k.Spec.Algorithm, Bits: k.Status.Bits, Phase: phase,
			UsableTime: k.Status.UsableTime, SigningSinceTime: k.Status.SigningSinceTime, RetiredTime: k.Status.RetiredTime,
		})
	}
	// Selectors that are gone stay listed as long as there is room: they are not used again (RFC 6376 §3.1).
	for _, k := range last {
		if !slices.ContainsFunc(statuses, func(s v1alpha1.KeyStatus) bool { return s.Name == k.Name }) {
			k.Phase = ""
			statuses = append(statuses, k)
		}
	}
	return statuses[:min(len(statuses), maxKeys)]
}

// recordStatuses lists the domain's own records and those of its keys, which are ordered newest first.
func recordStatuses(keys []v1alpha1.DKIMKey, own []v1alpha1.RecordStatus) []v1alpha1.RecordStatus {
	selectors := keyRecords(keys)
	return sorted(append(selectors[:min(len(selectors), maxRecords-len(own))], own...))
}

// keyRecords shows the selectors' records, as their DKIMKeys report them.
func keyRecords(keys []v1alpha1.DKIMKey) []v1alpha1.RecordStatus {
	var records []v1alpha1.RecordStatus
	for _, k := range keys {
		if k.Status.RecordValue == "" || k.Status.RecordState == "" {
			continue
		}
		records = append(records, v1alpha1.RecordStatus{
			Name: k.Status.RecordName, Purpose: v1alpha1.PurposeDKIM, Value: k.Status.RecordValue,
			State: k.Status.RecordState, StateChangedTime: k.Status.RecordStateChangedTime, Reason: k.Status.RecordReason, Message: k.Status.RecordMessage,
		})
	}
	return records
}

func sorted(records []v1alpha1.RecordStatus) []v1alpha1.RecordStatus {
	slices.SortFunc(records, func(a, b v1alpha1.RecordStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Purpose, b.Purpose))
	})
	return records
}

// dmarcStatus reads what is published from the record itself; the evidence belongs to the reports service and stays.
func dmarcStatus(last *v1alpha1.DMARCStatus, spec *v1alpha1.DMARC, records []v1alpha1.RecordStatus) *v1alpha1.DMARCStatus {
	if spec == nil {
		return last
	}
	after := v1alpha1.DMARCStatus{}
	if last != nil {
		after = *last
	}
	after.Goal = spec.Policy
	for _, r := range records {
		if r.Purpose != v1alpha1.PurposeDMARC || !desired.Published(r) {
			continue
		}
		record, err := dmarc.Parse(r.Value)
		if err != nil {
			continue
		}
		published := map[dmarc.Policy]v1alpha1.DMARCPolicy{
			dmarc.None: v1alpha1.DMARCNone, dmarc.Quarantine: v1alpha1.DMARCQuarantine, dmarc.Reject: v1alpha1.DMARCReject,
		}[record.Policy]
		if after.Published != published || after.PublishedTesting != record.Testing {
			after.Published, after.PublishedTesting, after.StageSinceTime = published, record.Testing, r.StateChangedTime
		}
	}
	return &after
}

// stalled is the condition of a key that does not go on without a person.
func stalled(key *v1alpha1.DKIMKey) *metav1.Condition {
	c := meta.FindStatusCondition(key.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue {
		return nil
	}
	return c
}
