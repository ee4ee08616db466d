// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
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
	keyRevoked      = event{corev1.EventTypeWarning, "KeyRevoked", "Revoke"}
	keyRetained     = event{corev1.EventTypeNormal, "RecordRetained", "Delete"}
	keyRemoved      = event{corev1.EventTypeNormal, "RecordRemoved", "Delete"}
	providerGone    = event{corev1.EventTypeWarning, "ProviderGone", "Delete"}
)

func (r *Reconciler) say(key *v1alpha1.DKIMKey, e event, note string, args ...any) {
	r.Events.Eventf(key, nil, e.kind, e.reason, e.action, note, args...)
}

// sayTransitions tells of every change that the status makes.
func (r *Reconciler) sayTransitions(key *v1alpha1.DKIMKey, before, after v1alpha1.DKIMKeyStatus) {
	if before.RecordState != after.RecordState {
		switch after.RecordState {
		case v1alpha1.RecordPublished:
			r.say(key, recordPublished, "%s is at the provider", after.RecordName)
		case v1alpha1.RecordVerified:
			r.say(key, recordVerified, "every authoritative server answers %s", after.RecordName)
		case v1alpha1.RecordDrifted:
			r.say(key, recordDrifted, "%s: %s", after.RecordName, after.RecordMessage)
		case v1alpha1.RecordConflict, v1alpha1.RecordPending, v1alpha1.RecordAwaitingSigning: // the conditions tell
		}
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
		r.say(key, keyRevoked, "%s is revoked", key.Spec.Selector)
	case v1alpha1.PhasePending, v1alpha1.PhasePublishing:
	}
}
