// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/keymaker"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/keysecret"
)

// act does all writing but that of status. What it learns by writing goes into the decision's status.
func (r *Reconciler) act(ctx context.Context, seen observation, d *decision) error {
	switch {
	case d.makePair:
		if err := r.makePair(ctx, seen, d); err != nil {
			return err
		}
	case d.restore:
		if err := r.create(ctx, seen.key, seen.signed.Pair); err != nil {
			return err
		}
		r.say(seen.key, keyRestored, "private key of %s written again to Secret %s from the signing Secret", seen.key.Spec.Selector, keysecret.Name(seen.key))
	case d.mark:
		if err := r.mark(ctx, seen); err != nil {
			return err
		}
	}
	if d.submit {
		r.Queue.Submit(seen.submission())
		r.submitElsewhere(seen, d.recheck)
	}
	r.forgetLeft(seen, d.forget)
	if d.recheck {
		r.Queue.Recheck(owner(seen.key))
	}
	if d.forget {
		r.Queue.Forget(owner(seen.key))
		r.Prober.Forget(watcher(seen.key))
	}
	if d.watch {
		r.Prober.Watch(watcher(seen.key), seen.place.Policy, []dnscheck.Target{seen.target()})
	}
	if seen.proves() {
		name, asks := seen.claim()
		_, err := r.Claims.Take(ctx, name, asks, claim.Verified)
		return err
	}
	return nil
}

// proves tells whether the world sees a key here that only who may write to the domain's zone can have put there: one that
// was made by us. One that a person brought may be a key that others have published; so may a policy of a few words.
func (o observation) proves() bool {
	return o.hasPlace && !adopted(o.key) && !o.pair.IsZero() && o.want.Value == o.pair.Record().String() && o.verdict.Public()
}

// makePair stores the key pair once it is made. The Secret is created, never updated: of two that try, one wins, and the
// other one's key was never published. What was made is kept until it is stored.
func (r *Reconciler) makePair(ctx context.Context, seen observation, d *decision) error {
	bits := int(seen.key.Spec.Bits)
	if bits == 0 && seen.key.Spec.Algorithm == v1alpha1.AlgorithmRSA {
		bits = int(v1alpha1.DefaultRSABits)
	}
	pair, made, err := r.Keys.Make(keymaker.Order{
		UID: seen.key.UID, For: owner(seen.key), Algorithm: dkim.Algorithm(seen.key.Spec.Algorithm), Bits: bits,
	})
	if err != nil {
		return fmt.Errorf("make the key pair of %s: %w", seen.key.Name, err)
	}
	if !made {
		return nil // we are told
	}
	if err := r.create(ctx, seen.key, pair); err != nil {
		return err
	}
	r.Keys.Forget(seen.key.UID)
	d.status.PublicKeySHA256, d.status.Bits = pair.PublicKeySHA256(), bitsOf(pair)
	r.say(seen.key, keyGenerated, "%s made for selector %s, in Secret %s", describe(pair), seen.key.Spec.Selector, keysecret.Name(seen.key))
	return nil
}

func (r *Reconciler) create(ctx context.Context, key *v1alpha1.DKIMKey, pair dkim.KeyPair) error {
	secret, err := keysecret.New(key, pair)
	if err != nil {
		return fmt.Errorf("store the key pair of %s: %w", key.Name, err)
	}
	if err := r.Client.Create(ctx, secret); err != nil {
		return fmt.Errorf("create Secret %s: %w", secret.Name, err)
	}
	return nil
}

// mark notes in an adopted Secret that we hold it. The update carries the resource version that was judged.
func (r *Reconciler) mark(ctx context.Context, seen observation) error {
	secret := seen.secret.DeepCopy()
	keysecret.Mark(secret, seen.key, seen.pair)
	patch := client.MergeFromWithOptions(seen.secret, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, secret, patch); err != nil {
		return fmt.Errorf("adopt Secret %s: %w", secret.Name, err)
	}
	r.say(seen.key, keyAdopted, "%s in Secret %s adopted for selector %s", describe(seen.pair), secret.Name, seen.key.Spec.Selector)
	return nil
}

func describe(pair dkim.KeyPair) string {
	if pair.Bits() == 0 || pair.Algorithm() == dkim.Ed25519 {
		return string(pair.Algorithm()) + " key"
	}
	return fmt.Sprintf("%s key of %d bits", pair.Algorithm(), pair.Bits())
}

// releaseSecret lets go of the private key's Secret: deleted after its record is gone, else left to whoever made the
// deletion, without our finalizer, so that it never hangs.
func (r *Reconciler) releaseSecret(ctx context.Context, key *v1alpha1.DKIMKey, remove bool) error {
	secret := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: keysecret.Name(key)}, secret)
	if apierrors.IsNotFound(err) || err == nil && !keysecret.Marked(secret, key) {
		return nil
	}
	if err != nil {
		return err
	}
	after := secret.DeepCopy()
	after.Finalizers = without(after.Finalizers, v1alpha1.SecretFinalizer)
	if err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("release Secret %s: %w", secret.Name, err))
	}
	if !remove {
		return nil
	}
	precondition := client.Preconditions{UID: &after.UID, ResourceVersion: &after.ResourceVersion}
	if err := r.Client.Delete(ctx, after, precondition); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret %s: %w", secret.Name, err)
	}
	return nil
}

func without(list []string, item string) []string {
	var rest []string
	for _, s := range list {
		if s != item {
			rest = append(rest, s)
		}
	}
	return rest
}
