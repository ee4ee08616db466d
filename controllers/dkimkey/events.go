// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
)

// event is one entry of the catalogue: what a person reads in kubectl describe.
type event struct{ kind, reason, action string }

// The catalogue of a DKIMKey's events.
var (
	keyGenerated    = event{corev1.EventTypeNormal, "KeyGenerated", "GenerateKey"}
	keyAdopted      = event{corev1.EventTypeNormal, "KeyAdopted", "AdoptKey"}
	keyRestored     = event{corev1.EventTypeWarning, "KeyRestored", "RestoreKey"}
	recordPublished = event{corev1.EventTypeNormal, "RecordPublished", "PublishRecord"}
	recordVerified  = event{corev1.EventTypeNormal, "RecordVerified", "VerifyRecord"}
	recordDrifted   = event{corev1.EventTypeWarning, "RecordDrifted", "VerifyRecord"}
	keyUsable       = event{corev1.EventTypeNormal, "KeyUsable", "WaitForCaches"}
	keySigning      = event{corev1.EventTypeNormal, "KeySigning", "Sign"}
	keyRetiring     = event{corev1.EventTypeNormal, "KeyRetiring", "Retire"}
	recordEmptied   = event{corev1.EventTypeNormal, "RecordEmptied", "Retire"}
	recordRemoved   = event{corev1.EventTypeNormal, "RecordRemoved", "Retire"}
	keyRevoked      = event{corev1.EventTypeWarning, "KeyRevoked", "Revoke"}
	keyRetained     = event{corev1.EventTypeNormal, "RecordRetained", "Delete"}
	keyRemoved      = event{corev1.EventTypeNormal, "KeyRemoved", "Delete"}
	providerGone    = event{corev1.EventTypeWarning, "ProviderGone", "Delete"}
)

func (r *Reconciler) say(key *v1alpha1.DKIMKey, e event, note string, args ...any) {
	r.Events.Eventf(key, nil, e.kind, e.reason, e.action, note, args...)
}

// sayTransitions tells of every change that the status makes.
func (r *Reconciler) sayTransitions(seen observation, after v1alpha1.DKIMKeyStatus) {
	key, before := seen.key, seen.key.Status
	if before.RecordState != after.RecordState {
		switch after.RecordState {
		case v1alpha1.RecordPublished:
			r.say(key, recordPublished, "%s is at the provider", after.RecordName)
		case v1alpha1.RecordVerified:
			r.say(key, recordVerified, "%s", evidence.Answered(seen.place, after.RecordName))
		case v1alpha1.RecordDrifted:
			r.say(key, recordDrifted, "%s: %s", after.RecordName, after.RecordMessage)
		case v1alpha1.RecordConflict, v1alpha1.RecordPending, v1alpha1.RecordAwaitingSigning: // the conditions tell
		}
	}
	if before.RevokedTime == nil && after.RevokedTime != nil {
		r.say(key, recordEmptied, "%s is empty now (p=): no signature by the key verifies any more", after.RecordName)
	}
	if before.RemovedTime == nil && after.RemovedTime != nil {
		r.say(key, recordRemoved, "%s is gone; the key follows when no cache can know the record any more", after.RecordName)
	}
	if before.Phase == after.Phase {
		return
	}
	switch after.Phase {
	case v1alpha1.PhaseStandby:
		r.say(key, keyUsable, "%s may sign from now on: no cache can deny its record any more", key.Spec.Selector)
	case v1alpha1.PhaseSigning:
		r.say(key, keySigning, "%s signs the mail of %s", key.Spec.Selector, key.Spec.Domain)
	case v1alpha1.PhaseRetiring:
		r.say(key, keyRetiring, "%s signs no more; its record stays, so that mail on its way verifies", key.Spec.Selector)
	case v1alpha1.PhaseRevoked:
		if key.Spec.Revoked {
			r.sayRevoked(key, after)
		}
	case v1alpha1.PhasePending, v1alpha1.PhasePublishing:
	}
}

// sayRevoked tells how much mail may fail: what signers signed before they dropped the key, and receivers look at only after
// its record is empty.
func (r *Reconciler) sayRevoked(key *v1alpha1.DKIMKey, s v1alpha1.DKIMKeyStatus) {
	switch {
	case s.SigningSinceTime == nil:
		r.say(key, keyRevoked, "%s is revoked; it never signed, and its record is emptied at once", key.Spec.Selector)
		return
	case s.RetiredTime == nil:
		r.say(key, keyRevoked, "%s is revoked and out of the signing Secret", key.Spec.Selector)
		return
	}
	empty := s.RetiredTime.Add(r.Settings.RevocationGrace).UTC().Format(time.RFC3339)
	r.say(key, keyRevoked, "%s is revoked and out of the signing Secret; its record is emptied at %s (--revocation-grace, for signers that lag behind). "+
		"Mail that it signed and that a receiver verifies later fails there", key.Spec.Selector, empty)
}
