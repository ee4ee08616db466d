// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// finalize lets a deleted domain go. Retain leaves records, keys and Secrets as they are, so that pruning breaks
// nothing. Delete removes exactly ours in a safe order: first nobody signs, then nobody demands a signature, then the
// keys, and what says who may send at last.
func (r *Reconciler) finalize(ctx context.Context, seen observation) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(seen.domain, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if seen.claimed && seen.domain.Spec.Deletion() == v1alpha1.DeletionDelete {
		left, wait, err := r.remove(ctx, seen)
		if err != nil {
			return ctrl.Result{}, err
		}
		if wait != nil {
			return r.stillRemoving(ctx, seen, left, *wait)
		}
		r.sayWhatStays(seen)
		r.say(seen.domain, removed, "records, keys and signing keys of %s are gone", seen.name)
	} else if seen.claimed {
		if err := r.letGoOfSigningSecret(ctx, seen); err != nil {
			return ctrl.Result{}, err
		}
		r.say(seen.domain, retained, "records and Secrets of %s stay; a MailDomain of the same domain takes them up again", seen.name)
	}
	if err := r.Claims.Release(ctx, seen.name, holderOf(seen.domain), used(seen)...); err != nil {
		return ctrl.Result{}, err
	}
	r.Queue.Forget(owner(seen.domain))
	r.forgetLeft(seen.domain, nil, nil)
	r.Prober.Forget(watcher(seen.domain))
	r.ThirdParty.Forget(watcher(seen.domain))
	return ctrl.Result{}, object.PatchFinalizer(ctx, r.Client, seen.domain, controllerutil.RemoveFinalizer)
}

// used are the selectors that a later MailDomain of the domain must not give to other keys (RFC 6376 §3.1). Those of a
// ring are a person's, who knows when one is free again.
func used(seen observation) []string {
	ring := seen.domain.Spec.DKIM.SelectorRing()
	var selectors []string
	for _, k := range seen.domain.Status.Keys {
		if !slices.Contains(ring, k.Selector) {
			selectors = append(selectors, k.Selector)
		}
	}
	return selectors
}

// remove takes the steps of deletionPolicy Delete, each when the one before is done, and none while a person has to agree
// that so many records go. It says what is being waited for, and which records the domain still answers for: one that was
// withdrawn leaves the status, so that the next step is another one. The queue keeps one submission of each object; two
// that take turns would never end.
func (r *Reconciler) remove(ctx context.Context, seen observation) (left []v1alpha1.RecordStatus, wait *readiness.Finding, err error) {
	left = slices.DeleteFunc(slices.Clone(seen.domain.Status.Records), func(o v1alpha1.RecordStatus) bool { return o.Purpose == v1alpha1.PurposeDKIM })
	if !abandoned(seen.domain) {
		held, err := evidence.RemovalHeld(ctx, r.Queue, seen.domain.Status.Records, r.Clock.Now(), seen.domain.Annotations)
		if err != nil || held != nil {
			return left, held, err
		}
	}
	if seen.secret != nil {
		if err := r.leaveSigningSecret(ctx, seen); err != nil {
			return left, nil, err
		}
	}
	if why := r.withdraw(seen, v1alpha1.PurposeDMARC); why != "" {
		return left, deleting(why), nil
	}
	standing := len(left)
	left = slices.DeleteFunc(left, func(o v1alpha1.RecordStatus) bool { return o.Purpose == v1alpha1.PurposeDMARC })
	keys, err := r.deleteKeys(ctx, seen)
	switch {
	case err != nil:
		return left, nil, err
	case keys > 0:
		return left, deleting(fmt.Sprintf("%d DKIMKeys are being deleted", keys)), nil
	case len(left) > 0 && len(left) < standing:
		return left, deleting("the other records are removed next"), nil
	}
	if why := r.withdraw(seen, ""); why != "" {
		return left, deleting(why), nil
	}
	return left, nil, nil
}

func deleting(why string) *readiness.Finding {
	return &readiness.Finding{Reason: v1alpha1.ReasonDeleting, Message: why}
}

// abandoned is a person's word that the records may stay behind.
func abandoned(domain *v1alpha1.MailDomain) bool {
	return domain.Annotations[v1alpha1.AnnotationAbandonRecords] == "true"
}

// deleteKeys deletes the keys that the domain made, and tells how many are still there. One that a person wrote stays.
func (r *Reconciler) deleteKeys(ctx context.Context, seen observation) (int, error) {
	keys, err := r.keysThereAre(ctx, seen)
	if err != nil {
		return 0, err
	}
	there := 0
	for i := range keys {
		key := &keys[i]
		if !ours(key) {
			continue
		}
		there++
		if !key.DeletionTimestamp.IsZero() {
			continue
		}
		if err := r.Client.Delete(ctx, key); client.IgnoreNotFound(err) != nil {
			return there, fmt.Errorf("delete DKIMKey %s: %w", key.Name, err)
		}
	}
	return there, nil
}

// keysThereAre are the keys as they were read, or, before none is believed to be left, as the API server has them: the
// cache may not know yet of one that was made just before the deletion.
func (r *Reconciler) keysThereAre(ctx context.Context, seen observation) ([]v1alpha1.DKIMKey, error) {
	if slices.ContainsFunc(seen.keys, func(k v1alpha1.DKIMKey) bool { return ours(&k) }) {
		return seen.keys, nil
	}
	var list v1alpha1.DKIMKeyList
	if err := r.Live.List(ctx, &list, client.InNamespace(seen.domain.Namespace)); err != nil {
		return nil, fmt.Errorf("list DKIMKeys: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(k v1alpha1.DKIMKey) bool {
		of, err := dnsrecord.ParseDomain(k.Spec.Domain)
		return err != nil || of != seen.name
	}), nil
}

// withdraw asks the queue to remove the records of one purpose, or all that are left, and says what it waits for.
func (r *Reconciler) withdraw(seen observation, purpose v1alpha1.RecordPurpose) string {
	if abandoned(seen.domain) {
		return ""
	}
	wishes := removals(seen.domain, purpose)
	if len(wishes) == 0 {
		return ""
	}
	if !seen.named() {
		return r.noWay(seen)
	}
	// A former place that cannot be written keeps what it has, and the last event says so.
	submissions := []dnsprovider.Submission{seen.submission()}
	for _, o := range seen.others {
		if o.Trouble == "" {
			submissions = append(submissions, seen.submissionAt(o.Other))
		}
	}
	for _, s := range submissions {
		s.Wishes = wishes
		s.RemovalAgreed, _ = brake.Agreed(r.Clock.Now(), seen.domain.Annotations) // RemovalHeld has told what cannot be read
		if why := r.withdrawn(s); why != "" {
			return why
		}
	}
	return ""
}

// withdrawn asks one place to remove records, and says what it waits for.
func (r *Reconciler) withdrawn(submission dnsprovider.Submission) string {
	r.Queue.Submit(submission)
	result, ok := r.Queue.Result(submission.Owner)
	if !ok || result.Fingerprint != submission.Fingerprint() {
		return "records are being removed"
	}
	if result.Err != nil {
		return evidence.CannotRemove(result.Err.Error())
	}
	for _, o := range result.Outcomes {
		// What stands there and is not ours is none of our business: a conflict ends the removal too.
		if o.State != dnsplan.Absent && o.State != dnsplan.Conflict {
			return "records are being removed: " + o.Message
		}
	}
	return ""
}

// removals wishes the records of one purpose, or of all, away: exactly those that the status says are ours.
func removals(domain *v1alpha1.MailDomain, purpose v1alpha1.RecordPurpose) []dnsplan.Wish {
	var wishes []dnsplan.Wish
	for _, record := range domain.Status.Records {
		if record.Purpose == v1alpha1.PurposeDKIM || purpose != "" && record.Purpose != purpose {
			continue
		}
		kind := dnsplan.Exclusive
		if record.Purpose == v1alpha1.PurposeSPF || record.Purpose == v1alpha1.PurposeHeloSPF {
			kind = dnsplan.SPF
		}
		wishes = append(wishes, dnsplan.Wish{
			Name: dnsrecord.Name(record.Name), Type: evidence.TypeOf(record), Kind: kind, Ours: desired.Ours(record),
		})
	}
	return wishes
}

// noWay says why there is no place to remove records from: the first finding, for nothing is looked at before the place.
func (r *Reconciler) noWay(seen observation) string {
	if len(seen.findings) == 0 {
		return evidence.CannotRemove("the provider cannot be used")
	}
	why := evidence.CannotRemove(seen.findings[0].Message)
	if seen.findings[0].Reason == v1alpha1.ReasonProviderNotFound && !readiness.Says(seen.domain.Status.Conditions, why) {
		r.say(seen.domain, providerGone, "%s", why)
	}
	return why
}

// leaveSigningSecret removes the domain's data keys, and the Secret itself once no domain is left in it.
func (r *Reconciler) leaveSigningSecret(ctx context.Context, seen observation) error {
	live := &corev1.Secret{}
	name := client.ObjectKey{Namespace: seen.domain.Namespace, Name: seen.secretName}
	read := func() error { return r.Live.Get(ctx, name, live) }
	// The cache may still hold what stood there before we wrote.
	if err := read(); err != nil {
		return client.IgnoreNotFound(err)
	}
	if own := ownData(live.Data, seen.name); len(own) > 0 {
		if err := r.applySigningSecret(ctx, seen, signingChange{leave: len(live.Data) > len(own)}); err != nil {
			return err
		}
		if err := read(); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	if len(live.Data) > 0 {
		return r.letGoOfSigningSecret(ctx, seen)
	}
	after := live.DeepCopy()
	controllerutil.RemoveFinalizer(after, v1alpha1.SecretFinalizer)
	// The resource version makes sure that no other domain has moved in since.
	if err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})); err != nil {
		return client.IgnoreNotFound(err)
	}
	err := r.Client.Delete(ctx, after, client.Preconditions{UID: &after.UID, ResourceVersion: &after.ResourceVersion})
	return client.IgnoreNotFound(err)
}

// letGoOfSigningSecret takes our finalizer off a signing Secret that no MailDomain uses any more, so that whoever
// deletes it, or its namespace, is not held up. A MailDomain that takes it up again puts the finalizer back.
func (r *Reconciler) letGoOfSigningSecret(ctx context.Context, seen observation) error {
	if seen.secret == nil {
		return nil
	}
	var domains v1alpha1.MailDomainList
	if err := r.Client.List(ctx, &domains, client.InNamespace(seen.domain.Namespace)); err != nil {
		return err
	}
	for i := range domains.Items {
		if d := &domains.Items[i]; d.DeletionTimestamp.IsZero() && d.SigningSecret() == seen.secret.Name {
			return nil
		}
	}
	live := &corev1.Secret{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(seen.secret), live); err != nil {
		return client.IgnoreNotFound(err)
	}
	after := live.DeepCopy()
	if !controllerutil.RemoveFinalizer(after, v1alpha1.SecretFinalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Patch(ctx, after, client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})))
}

// stillRemoving says what a deleted domain waits for. Whatever ends the wait wakes it, but for the removals of others.
func (r *Reconciler) stillRemoving(ctx context.Context, seen observation, left []v1alpha1.RecordStatus, wait readiness.Finding) (ctrl.Result, error) {
	now := r.Clock.Now()
	d := decision{findings: []readiness.Finding{wait}, records: left, places: seen.domain.Status.Places}
	if wait.Reason == v1alpha1.ReasonRemovalHeld {
		d.look(now.Add(evidence.HeldLook))
	}
	return r.report(ctx, seen, d, now, nil)
}
