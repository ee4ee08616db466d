// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// policyOf reads what the spec, a person's words and the time ask of the keys, and when the next rotation begins. What a
// person has to correct is a finding, and counts as not said.
func (d *decision) policyOf(seen observation, now time.Time) rotation.Policy {
	spec := seen.domain.Spec.DKIM
	policy := rotation.Policy{
		Selectors: rotation.Selectors{Prefix: spec.SelectorPrefix(), Ring: spec.SelectorRing(), Used: slices.Clone(seen.used)},
		Lifetimes: seen.lifetimes,
	}
	for _, w := range spec.WantedKeys() {
		policy.Keys = append(policy.Keys, rotation.WantedKey{Algorithm: dkim.Algorithm(w.Algorithm), Bits: int(w.Bits)})
	}
	for _, k := range seen.domain.Status.Keys {
		policy.Selectors.Used = append(policy.Selectors.Used, k.Selector)
	}
	if spec == nil {
		return policy
	}
	policy.Selectors.Revoked = slices.Clone(spec.RevokedSelectors)
	calendar := d.calendarOf(seen)
	policy.RotateAt, d.nextRotation = calendar.Due(rotation.Generation(seen.views), now)
	if !policy.RotateAt.IsZero() {
		d.nextRotation = policy.RotateAt // as long as it is under way
	}
	if word := seen.domain.Annotations[v1alpha1.AnnotationRotateUndo]; word != seen.handled().LastHandledRotateUndoTime {
		policy.Undo = d.word(seen, v1alpha1.AnnotationRotateUndo)
	}
	return policy
}

func (d *decision) calendarOf(seen observation) rotation.Calendar {
	calendar := rotation.Calendar{
		Seed: seen.seed, Asked: d.word(seen, v1alpha1.AnnotationRotate), Handled: timestamp(seen.handled().LastHandledRotateTime),
	}
	spec := seen.domain.Spec.DKIM.Rotation
	if spec == nil {
		return calendar
	}
	calendar.Suspended = spec.Suspend
	if spec.Interval != nil {
		calendar.Interval = spec.Interval.Duration
	}
	if spec.Schedule != "" {
		schedule, err := rotation.ParseSchedule(spec.Schedule, spec.TimeZone, seen.domain.CreationTimestamp.Time)
		if err != nil {
			d.findings = append(d.findings, readiness.Finding{Reason: v1alpha1.ReasonInvalidSchedule, Message: "spec.dkim.rotation: " + err.Error(), Person: true})
			return calendar
		}
		calendar.Schedule = &schedule
	}
	return calendar
}

// word reads an annotation that is a person's one-time word; zero if there is none that can be read.
func (d *decision) word(seen observation, annotation string) time.Time {
	text, ok := seen.domain.Annotations[annotation]
	at := timestamp(text)
	if ok && at.IsZero() {
		d.findings = append(d.findings, readiness.Finding{
			Reason: v1alpha1.ReasonInvalidAnnotation, Person: true,
			Message: fmt.Sprintf("annotation %s: %q is not a time; write one such as 2026-11-23T16:00:00Z, or remove it", annotation, readiness.Cut(text, 64)),
		})
	}
	return at
}

// timestamp reads RFC 3339; zero for anything else.
func timestamp(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// handled is what the status says of rotations.
func (o observation) handled() v1alpha1.RotationStatus {
	if o.domain.Status.Rotation == nil {
		return v1alpha1.RotationStatus{}
	}
	return *o.domain.Status.Rotation
}

// rotationStatus tells how rotation stands. It changes with what happens, never because time passed.
func (d *decision) rotationStatus(seen observation, now time.Time) *v1alpha1.RotationStatus {
	last := seen.domain.Status.Rotation
	if seen.domain.Spec.DKIM == nil {
		return last
	}
	after := seen.handled()
	after.NextTime = nil
	if !d.nextRotation.IsZero() {
		after.NextTime = &metav1.Time{Time: d.nextRotation.UTC()}
	}
	if at := lastRotation(seen); after.LastTime == nil || at.After(after.LastTime.Time) {
		after.LastTime = notZero(at)
	}
	note := func(handled *string, annotation string, done bool) {
		if text := seen.domain.Annotations[annotation]; done && text != "" && len(text) <= maxWord {
			*handled = text
		}
	}
	note(&after.LastHandledRotateTime, v1alpha1.AnnotationRotate, seen.followed(v1alpha1.AnnotationRotate, "", now))
	note(&after.LastHandledRotateUndoTime, v1alpha1.AnnotationRotateUndo, seen.followed(v1alpha1.AnnotationRotateUndo, d.cannotUndo, now))
	after.WaitingFor = readiness.Cut(strings.Join(append(parts(d.waitingFor), waitsOfRetired(seen)...), "; "), v1alpha1.MaxMessageLength)
	if after == (v1alpha1.RotationStatus{}) {
		return nil
	}
	return &after
}

// followed tells whether every key that signs began to after a person's word, or cannot follow it.
func (o observation) followed(annotation, cannot string, now time.Time) bool {
	at := timestamp(o.domain.Annotations[annotation])
	if at.IsZero() || at.After(now) || rotation.Generation(o.views).IsZero() {
		return false
	}
	return !slices.ContainsFunc(o.views, func(k rotation.Key) bool {
		earlier := k.Signs && k.SigningSince.Before(at.Truncate(time.Second))
		return earlier && !strings.Contains(cannot, string(k.Algorithm)+":")
	})
}

// maxWord is the longest annotation that the status keeps.
const maxWord = 256

func parts(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func notZero(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return &metav1.Time{Time: at}
}

// lastRotation is when a key that signs now took the place of another one; zero if none did.
func lastRotation(seen observation) time.Time {
	var last time.Time
	for _, k := range seen.views {
		former := slices.ContainsFunc(seen.domain.Status.Keys, func(o v1alpha1.KeyStatus) bool {
			return o.Name != k.Name && string(o.Algorithm) == string(k.Algorithm) && o.SigningSinceTime != nil && o.SigningSinceTime.Time.Before(k.SigningSince)
		})
		if k.Signs && former && k.SigningSince.After(last) {
			last = k.SigningSince
		}
	}
	return last
}

// waitsOfRetired names what a person may have to see to before a retired key can go.
func waitsOfRetired(seen observation) []string {
	var waits []string
	for _, k := range seen.keys {
		ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
		if ready != nil && (ready.Reason == v1alpha1.ReasonWaitingForSigners || ready.Reason == v1alpha1.ReasonClockSkew) {
			waits = append(waits, k.Spec.Selector+": "+ready.Message)
		}
	}
	slices.Sort(waits)
	return waits
}

// mailHeld tells until when signers hold the domain's mail, as far as that is known.
func mailHeld(seen observation) string {
	text := "signers hold this domain's mail (451) until a key may sign"
	next := slices.DeleteFunc(slices.Clone(seen.views), func(k rotation.Key) bool {
		return k.Algorithm != dkim.RSA || k.Revoked || k.UsableAt.IsZero()
	})
	if len(next) == 0 {
		return text + "; the record of its replacement has to be seen by every authoritative server first, and then be waited for as long as caches may deny it"
	}
	first := slices.MinFunc(next, func(a, b rotation.Key) int {
		return cmp.Or(a.UsableAt.Compare(b.UsableAt), cmp.Compare(a.Selector, b.Selector))
	})
	return text + ", " + first.Selector + " from " + first.UsableAt.UTC().Format(time.RFC3339) + " on"
}
