// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// domain is a MailDomain with the keys of its domain in its namespace.
type domain struct {
	*v1alpha1.MailDomain

	keys []*v1alpha1.DKIMKey
}

// stuckAfter is how long a step may take that has no end of its own: a key pair is made in seconds, a secondary that lags
// and a provider that throttles take minutes.
const stuckAfter = time.Hour

func created(k *v1alpha1.DKIMKey, _ time.Time) (float64, bool) {
	return timestamp(&k.CreationTimestamp)
}

func signingSince(k *v1alpha1.DKIMKey, _ time.Time) (float64, bool) {
	if k.Status.Phase != v1alpha1.PhaseSigning {
		return 0, false
	}
	return timestamp(k.Status.SigningSinceTime)
}

func recordVerified(k *v1alpha1.DKIMKey, _ time.Time) (float64, bool) {
	return truth(k.Status.RecordState == v1alpha1.RecordVerified), true
}

func keyStuckSince(k *v1alpha1.DKIMKey, now time.Time) (float64, bool) {
	return timestamp(stuckSince(k, now))
}

func nextRotation(d domain, _ time.Time) (float64, bool) {
	if d.Status.Rotation == nil {
		return 0, false
	}
	return timestamp(d.Status.Rotation.NextTime)
}

func lastRotation(d domain, _ time.Time) (float64, bool) {
	if d.Status.Rotation == nil {
		return 0, false
	}
	return timestamp(d.Status.Rotation.LastTime)
}

// rotationStuckSince is the earliest moment since which a rotation is due and has not taken place, or a key of the domain is
// stuck. A domain whose spare is stuck has nothing to rotate to, and nothing in an emergency.
func rotationStuckSince(d domain, now time.Time) (float64, bool) {
	var since *metav1.Time
	if r := d.Status.Rotation; r != nil && r.NextTime != nil && now.Sub(r.NextTime.Time) > stuckAfter {
		since = r.NextTime
	}
	for _, k := range d.keys {
		if stuck := stuckSince(k, now); stuck != nil && (since == nil || stuck.Before(since)) {
			since = stuck
		}
	}
	return timestamp(since)
}

func removalHeld(d domain, _ time.Time) (float64, bool) {
	return truth(slices.ContainsFunc(d.Status.Conditions, func(c metav1.Condition) bool {
		return c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonRemovalHeld
	})), true
}

func spfLookupsLeft(d domain, _ time.Time) (float64, bool) {
	if d.Status.SPF == nil || d.Status.SPF.LookupsLeft == nil {
		return 0, false
	}
	return float64(*d.Status.SPF.LookupsLeft), true
}

func spfVoidLookupsLeft(d domain, now time.Time) (float64, bool) {
	if _, seen := spfLookupsLeft(d, now); !seen {
		return 0, false
	}
	return spf.MaxVoidLookups - float64(d.Status.SPF.VoidLookups), true
}

func spfPermError(d domain, now time.Time) (float64, bool) {
	left, seen := spfLookupsLeft(d, now)
	void, _ := spfVoidLookupsLeft(d, now)
	return truth(seen && (left < 0 || void < 0 || d.Status.SPF.PermError != "")), seen
}

func mailHeld(d domain, _ time.Time) (float64, bool) {
	return truth(meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionMailHeld)), true
}

// stuckSince is since when a key has not come further, be it that a person is needed or that it takes too long; nil
// while it goes its way. To wait for caches, or for the end of an overlap, is no being stuck: it ends by itself.
func stuckSince(k *v1alpha1.DKIMKey, now time.Time) *metav1.Time {
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionStalled); c != nil && c.Status == metav1.ConditionTrue {
		return &c.LastTransitionTime
	}
	since := &k.CreationTimestamp
	switch s := k.Status; s.Phase {
	case v1alpha1.PhaseStandby, v1alpha1.PhaseSigning, v1alpha1.PhaseRetiring, v1alpha1.PhaseRevoked:
		return nil
	case "", v1alpha1.PhasePending, v1alpha1.PhasePublishing:
		if s.VerifiedTime != nil && s.UsableTime != nil {
			return nil
		}
		if changed := s.RecordStateChangedTime; changed != nil && since.Before(changed) {
			since = changed // it had come further, or fell back
		}
	}
	if now.Sub(since.Time) <= stuckAfter {
		return nil
	}
	return since
}

func timestamp(t *metav1.Time) (float64, bool) {
	if t == nil || t.IsZero() {
		return 0, false
	}
	return float64(t.Unix()), true
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
