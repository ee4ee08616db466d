// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// The field managers of our server-side applies to DKIMKeys. Each applies always the same fields: what a manager stops
// applying is removed.
const (
	ownerOfSpec   = client.FieldOwner("maildomain-operator")
	ownerOfIntent = client.FieldOwner("maildomain-operator-intent")
	ownerOfRevoke = client.FieldOwner("maildomain-operator-revoke")
)

var (
	errNotReadBack = errors.New("the signing Secret does not hold what was just written")
	errDeleted     = errors.New("the MailDomain is being deleted: no key is made")
)

// act does all writing but that of status, in the order in which it is safe: a key exists before it is asked to sign,
// it is asked to sign before signers get it, and what retires was seen gone from the signing Secret.
func (r *Reconciler) act(ctx context.Context, seen observation, d *decision) error {
	var errs []error
	for _, name := range d.revoke {
		errs = append(errs, r.applyKey(ctx, seen, name, map[string]any{"revoked": true}, ownerOfRevoke))
	}
	for _, key := range d.adjust {
		errs = append(errs, r.applyKey(ctx, seen, key.Name, keySpec(seen, key.Spec.Selector, key.Spec.Algorithm, key.Spec.Bits), ownerOfSpec))
	}
	for _, step := range d.steps {
		errs = append(errs, r.step(ctx, seen, step))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the signing Secret follows only what was done
	}
	if d.signing != nil {
		if err := r.applySigningSecret(ctx, seen, *d.signing); err != nil {
			return err
		}
	}
	if d.submit {
		r.Queue.Submit(seen.submission())
		r.submitElsewhere(seen, d.recheck)
	}
	if d.recheck {
		r.Queue.Recheck(owner(seen.domain))
	}
	if !seen.claimed { // it may have been, until somebody with a better right came
		r.Queue.Forget(owner(seen.domain))
		r.Prober.Forget(watcher(seen.domain))
	}
	if seen.hasPlace {
		r.Prober.Watch(watcher(seen.domain), seen.place.Policy, d.watch)
		r.ThirdParty.Watch(watcher(seen.domain), seen.subject, seen.foundBefore())
	}
	if d.sweepDelegation {
		r.Prober.Sweep(delegationOf(seen))
	}
	r.cleanPlaces(seen, d)
	r.forgetLeft(seen.domain, d.places, d.clean)
	return nil
}

func (r *Reconciler) step(ctx context.Context, seen observation, step rotation.Step) error {
	switch s := step.(type) {
	case rotation.CreateKey:
		if err := r.stillThere(ctx, seen.domain); err != nil {
			return err
		}
		name := childName(seen.domain.Name, s.Selector)
		spec := keySpec(seen, s.Selector, v1alpha1.Algorithm(s.Algorithm), int32(s.Bits)) //nolint:gosec // at most 4096
		if err := r.applyKey(ctx, seen, name, spec, ownerOfSpec); err != nil {
			return err
		}
		r.sayOfKey(seen.domain, keyCreated, name, "DKIMKey %s created for selector %s", name, s.Selector)
	case rotation.SetIntent:
		return r.applyKey(ctx, seen, s.Key, map[string]any{"intent": string(s.Intent)}, ownerOfIntent)
	case rotation.Sweep:
		r.sweep(seen, s.Key)
	case rotation.DeleteKey:
		return r.deleteGone(ctx, seen, s.Key)
	case rotation.SignWith: // it is part of the signing Secret
	}
	return nil
}

// deleteGone deletes a DKIMKey whose record nobody can know any more; its Secret goes with it.
func (r *Reconciler) deleteGone(ctx context.Context, seen observation, name string) error {
	for i := range seen.keys {
		key := &seen.keys[i]
		if key.Name != name {
			continue
		}
		err := r.Client.Delete(ctx, key, client.Preconditions{UID: &key.UID, ResourceVersion: &key.ResourceVersion})
		if apierrors.IsConflict(err) {
			return nil // what we read is outdated; the newer version is on its way
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete DKIMKey %s: %w", name, err)
		}
		r.sayOfKey(seen.domain, keyDeleted, name, "DKIMKey %s and its private key are deleted: its record is gone, and no cache can know it any more", name)
	}
	return nil
}

// sweep asks for a fresh look at a key's record. Where the servers cannot be asked the prober tries again by itself, ever
// more slowly; to hurry it would have the end of each sweep ask for the next one at once.
func (r *Reconciler) sweep(seen observation, name string) {
	for i := range seen.keys {
		target := targetOf(&seen.keys[i])
		if v, ok := r.Prober.Verdict(target); ok && v.State == dnscheck.Verified && seen.keys[i].Name == name {
			r.Prober.Sweep(target)
		}
	}
}

// stillThere reads live whether the domain still wants keys. The API server may miss a finalizer that is added while it
// deletes an object; a key that is made then is nobody's.
func (r *Reconciler) stillThere(ctx context.Context, domain *v1alpha1.MailDomain) error {
	var now v1alpha1.MailDomain
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(domain), &now); err != nil {
		return err
	}
	if now.UID != domain.UID || !now.DeletionTimestamp.IsZero() {
		return errDeleted
	}
	return nil
}

func keySpec(seen observation, selector string, algorithm v1alpha1.Algorithm, bits int32) map[string]any {
	ref := seen.domain.Spec.ProviderRef.WithDefaults()
	if seen.standsIn != nil { // nothing goes to a place that was never usable
		ref = seen.domain.Status.Places[0].ProviderRef.WithDefaults()
	}
	spec := map[string]any{
		"domain": seen.name.String(), "selector": selector, "algorithm": string(algorithm),
		"providerRef": map[string]any{"kind": string(ref.Kind), "name": ref.Name},
	}
	if bits != 0 {
		spec["bits"] = int64(bits)
	}
	return spec
}

// applyKey applies a part of a DKIMKey's spec under a field manager of its own, so that a GitOps tool that owns the
// rest never fights with us. Keys have no owner reference: a retained key outlives its MailDomain.
func (r *Reconciler) applyKey(ctx context.Context, seen observation, name string, spec map[string]any, manager client.FieldOwner) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.KindDKIMKey,
		"metadata": map[string]any{"name": name, "namespace": seen.domain.Namespace},
		"spec":     spec,
	}}
	for i := range seen.keys {
		if seen.keys[i].Name == name {
			u.SetUID(seen.keys[i].UID) // one that is gone by now is not made again
		}
	}
	if manager == ownerOfSpec {
		u.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
		u.SetFinalizers([]string{v1alpha1.Finalizer})
	}
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), manager, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply DKIMKey %s: %w", name, err)
	}
	return nil
}

// ours tells whether the key is one that a MailDomain made.
func ours(key *v1alpha1.DKIMKey) bool {
	return key.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
}

// applySigningSecret applies the domain's data keys under a field manager of the domain's own: server-side apply merges
// them with those of other domains and removes what we stop applying. Then it reads back live: only what signers can
// see was done.
func (r *Reconciler) applySigningSecret(ctx context.Context, seen observation, change signingChange) error {
	name := seen.secretName
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": name, "namespace": seen.domain.Namespace},
	}}
	if len(change.data) > 0 {
		data := map[string]any{}
		for key, content := range change.data {
			data[key] = base64.StdEncoding.EncodeToString(content)
		}
		u.Object["data"] = data
	}
	if !change.leave {
		u.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelSecret: v1alpha1.SecretSigning})
		u.SetFinalizers([]string{v1alpha1.SecretFinalizer})
	}
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), signingManager(seen), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply signing Secret %s: %w", name, err)
	}
	var back corev1.Secret
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: seen.domain.Namespace, Name: name}, &back); err != nil {
		return fmt.Errorf("read signing Secret %s back: %w", name, err)
	}
	if !sameData(ownData(back.Data, seen.name), change.data) {
		return fmt.Errorf("signing Secret %s: %w", name, errNotReadBack)
	}
	if !slices.Equal(change.selectors, selectorsIn(seen.signing)) {
		r.say(seen.domain, signingChanged, "mail of %s is signed with %s from now on", seen.name, list(change.selectors))
	}
	return nil
}

// signingManager is the domain's, not the MailDomain's: one that takes up what another left behind owns it.
func signingManager(seen observation) client.FieldOwner {
	return client.FieldOwner(bounded("maildomain-operator/"+seen.name.String(), maxManager))
}

func selectorsIn(d keydir.Domain) []string {
	var selectors []string
	for _, k := range d.Keys {
		selectors = append(selectors, k.Selector)
	}
	slices.Sort(selectors)
	return selectors
}
