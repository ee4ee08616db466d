// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// finalize lets a deleted key go, never while it signs: the record goes first, then the private key (invariant 5). A
// key whose MailDomain does not say Delete leaves both behind.
func (r *Reconciler) finalize(ctx context.Context, seen observation) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(seen.key, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	r.Keys.Forget(seen.key.UID)
	if err := r.observeSigning(ctx, &seen, true); err != nil { // what the cache says may be outdated, and what follows cannot be undone
		return ctrl.Result{}, err
	}
	if seen.signs() {
		return r.stillNeeded(ctx, seen, deleting("the signing Secret still holds the key; it goes when another key signs"), nil)
	}
	// With its MailDomain everything goes at once. A key that a person deletes alone may have signed what is still on its way.
	// One whose record is gone has nobody left who could look for it.
	remove := seen.key.Status.RemovedTime != nil ||
		seen.holder != nil && !seen.holder.DeletionTimestamp.IsZero() && seen.holder.Spec.Deletion() == v1alpha1.DeletionDelete
	if remove {
		if wait, err := r.removeRecord(ctx, seen); err != nil || wait != nil {
			return r.stillNeeded(ctx, seen, wait, err)
		}
	}
	brought := seen.key.Spec.PrivateKeySecretName != "" // by a person, who may have no other copy
	if err := r.releaseSecret(ctx, seen.key, remove && !brought); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.release(ctx, seen); err != nil {
		return ctrl.Result{}, err
	}
	r.Queue.Forget(owner(seen.key))
	r.forgetLeft(seen, true)
	r.Prober.Forget(watcher(seen.key))
	if remove {
		r.say(seen.key, keyRemoved, "%s and its Secret are gone", seen.record)
	} else {
		r.say(seen.key, keyRetained, "%s and Secret %s stay; a MailDomain or DKIMKey of the same domain takes them up again", seen.record, seen.key.Status.PrivateKeySecretName)
	}
	return ctrl.Result{}, object.PatchFinalizer(ctx, r.Client, seen.key, controllerutil.RemoveFinalizer)
}

// removeRecord takes the record down, if a person need not agree first, and says what is being waited for.
func (r *Reconciler) removeRecord(ctx context.Context, seen observation) (*readiness.Finding, error) {
	record := recordStatus(seen.key.Status)
	if record == nil || abandoned(seen) {
		return nil, nil //nolint:nilnil // nothing is there to wait for
	}
	held, err := evidence.RemovalHeld(ctx, r.Queue, []v1alpha1.RecordStatus{*record}, r.Clock.Now(), seen.annotations()...)
	if err != nil || held != nil {
		return held, err
	}
	if gone, why := r.withdraw(seen); !gone {
		return deleting(why), nil
	}
	return nil, nil //nolint:nilnil // it is gone
}

// withdraw asks the queue to remove the record, exactly ours, and tells whether it is gone.
func (r *Reconciler) withdraw(seen observation) (bool, string) {
	if !seen.hasPlace || seen.standsIn != nil {
		why := evidence.CannotRemove(reasons(seen.findings))
		gone := slices.ContainsFunc(seen.findings, func(f readiness.Finding) bool { return f.Reason == v1alpha1.ReasonProviderNotFound })
		if gone && !readiness.Says(seen.key.Status.Conditions, why) {
			r.say(seen.key, providerGone, "%s", why)
		}
		return false, why
	}
	seen.want.Value = ""
	// A former place that cannot be written keeps what it has: the MailDomain says so.
	submissions := []dnsprovider.Submission{seen.submission()}
	for _, o := range seen.others {
		if o.Trouble == "" {
			submissions = append(submissions, seen.submissionAt(o.Place, o.Owner(owner(seen.key))))
		}
	}
	for _, s := range submissions {
		if gone, why := r.withdrawn(s); !gone {
			return false, why
		}
	}
	return true, ""
}

// withdrawn asks one place to remove the record, and tells whether it is gone.
func (r *Reconciler) withdrawn(submission dnsprovider.Submission) (bool, string) {
	r.Queue.Submit(submission)
	result, ok := r.Queue.Result(submission.Owner)
	if !ok || result.Fingerprint != submission.Fingerprint() {
		return false, "the record is being withdrawn"
	}
	if result.Err != nil {
		return false, evidence.CannotRemove(result.Err.Error())
	}
	// What stands there and is not ours is none of our business: a conflict ends the withdrawal too.
	for _, o := range result.Outcomes {
		if o.State != dnsplan.Absent && o.State != dnsplan.Conflict {
			return false, "the record is being withdrawn: " + o.Message
		}
	}
	return true, ""
}

// stillNeeded says why a deleted key stays. Whatever ends the wait wakes it.
func (r *Reconciler) stillNeeded(ctx context.Context, seen observation, wait *readiness.Finding, err error) (ctrl.Result, error) {
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	d := decision{status: *seen.key.Status.DeepCopy(), findings: []readiness.Finding{*wait}}
	d.status.WaitingFor = readiness.Cut(wait.Message, v1alpha1.MaxMessageLength)
	if wait.Reason == v1alpha1.ReasonRemovalHeld {
		d.look(now.Add(evidence.HeldLook))
	}
	return r.report(ctx, seen, d, now, nil)
}

func deleting(why string) *readiness.Finding {
	return &readiness.Finding{Reason: v1alpha1.ReasonDeleting, Message: why}
}

// annotations are those in which a person speaks for the key: its own, and its MailDomain's.
func (o observation) annotations() []map[string]string {
	if o.holder == nil {
		return []map[string]string{o.key.Annotations}
	}
	return []map[string]string{o.key.Annotations, o.holder.Annotations}
}

// abandoned is a person's word that the record may stay behind.
func abandoned(seen observation) bool {
	return slices.ContainsFunc(seen.annotations(), func(a map[string]string) bool { return a[v1alpha1.AnnotationAbandonRecords] == "true" })
}

func holderOf(key *v1alpha1.DKIMKey) claim.Holder {
	return claim.Holder{Kind: v1alpha1.KindDKIMKey, Namespace: key.Namespace, Name: key.Name, UID: string(key.UID)}
}

func reasons(findings []readiness.Finding) string {
	for _, f := range findings {
		if f.Message != "" {
			return f.Message
		}
	}
	return "the provider is not ready"
}
