// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// leaving tells whether the key is on its way out.
func leaving(key *v1alpha1.DKIMKey) bool {
	return key.Spec.Revoked || key.Spec.Intent == v1alpha1.IntentRetired
}

// observeSigning reads what signers hold under the key's selector. For a key on its way out it is read live: what the cache
// says may be outdated, and what follows cannot be undone.
func (r *Reconciler) observeSigning(ctx context.Context, seen *observation, live bool) error {
	if seen.holder == nil {
		return nil
	}
	from := client.Reader(r.Client)
	if live {
		from = r.Live
	}
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: seen.key.Namespace, Name: seen.holder.SigningSecret()}
	err := from.Get(ctx, name, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if seen.signed, err = partOf(&secret, *seen); err != nil && live {
		seen.unsure = fmt.Sprintf("Secret %s, which cannot be read: signers may hold the key", name.Name)
	}
	if live {
		return r.observeFormerSecrets(ctx, seen)
	}
	return nil
}

// observeFormerSecrets looks for the key in signing Secrets that the MailDomain does not name any more: pods may mount them.
func (r *Reconciler) observeFormerSecrets(ctx context.Context, seen *observation) error {
	var secrets corev1.SecretList
	err := r.Client.List(ctx, &secrets, client.InNamespace(seen.key.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{v1alpha1.LabelSecret: v1alpha1.SecretSigning})
	for i := range secrets.Items {
		s := &secrets.Items[i]
		if s.Name == seen.holder.SigningSecret() {
			continue
		}
		if part, err := partOf(s, *seen); err == nil && part.Selector != "" {
			seen.heldBy = append(seen.heldBy, "Secret "+s.Name+" still holds "+part.Selector)
		}
	}
	return err
}

// partOf is what a signing Secret holds under the key's selector; zero if nothing.
func partOf(secret *corev1.Secret, seen observation) (keydir.Key, error) {
	signers, err := keydir.Decode(secret.Data, seen.domain)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return keydir.Key{}, err
	}
	for _, k := range signers.Keys {
		if k.Selector == seen.key.Spec.Selector {
			return k, nil
		}
	}
	return keydir.Key{}, nil
}

// signs tells whether signers use this very key.
func (o observation) signs() bool {
	return o.signed.Selector != "" && (o.key.Status.PublicKeySHA256 == "" || o.signed.Pair.PublicKeySHA256() == o.key.Status.PublicKeySHA256)
}

// observeRetirement decides what shall stand under the selector now. Pods are asked twice: before the overlap begins to
// count, and once more before the record changes.
func (r *Reconciler) observeRetirement(ctx context.Context, seen *observation, now time.Time) error {
	seen.lifetimes = evidence.Lifetimes(seen.holder, r.Settings.RevocationGrace, r.ServerTime)
	seen.lifetimes.LongestTTL = evidence.LongestTTL(seen.key, seen.longestTTL())
	seen.retirement = rotation.Retire(seen.view(seen.key.Status), seen.lifetimes, now)
	if seen.asksSigners() && (seen.key.Status.RetiredTime == nil || seen.retirement.Stage != rotation.Keep) {
		held, err := r.askSigners(ctx, *seen)
		if err != nil {
			return err
		}
		seen.heldBy = append(seen.heldBy, held...)
		slices.Sort(seen.heldBy)
		seen.retirement = rotation.Retire(seen.view(seen.key.Status), seen.lifetimes, now)
	}
	return nil
}

// view is the key as the rotation sees it, with this status.
func (o observation) view(status v1alpha1.DKIMKeyStatus) rotation.Key {
	key := o.key.DeepCopy()
	key.Status = status
	k := rotation.KeyOf(key)
	k.Signs, k.KeyPair = o.signs(), !o.pair.IsZero()
	k.HeldBy, k.Unsure = strings.Join(o.heldBy, "; "), o.unsure
	switch {
	case k.Unsure != "" || !leaving(o.key):
	case o.suspended():
		k.Unsure = "spec.suspend of its MailDomain to end"
	case !k.Revoked && (o.holder == nil || !o.holder.DeletionTimestamp.IsZero()):
		k.Unsure = "a MailDomain that says how long its record stays"
	}
	return k
}

func (o observation) suspended() bool { return o.holder != nil && o.holder.Spec.Suspend }

// asksSigners: a key that is revoked waits for no pod, for somebody else may sign with it.
func (o observation) asksSigners() bool {
	asks := o.holder != nil && o.holder.Spec.DKIM != nil && o.holder.Spec.DKIM.Signers != nil
	return asks && leaving(o.key) && !o.key.Spec.Revoked && !o.signs() && o.key.Status.SigningSinceTime != nil && o.key.Status.RevokedTime == nil
}

// left tells whether nobody of ours signs with the key any more.
func (o observation) left() bool {
	return leaving(o.key) && !o.signs() && o.unsure == "" && (o.key.Spec.Revoked || len(o.heldBy) == 0)
}

// signingSince notes when the key began to sign and when it was seen to have left the signers. A key that comes back
// begins anew. A wait that begins while no clock can be trusted would be wrong for ever.
func (d *decision) signingSince(seen observation, now time.Time) {
	s := &d.status
	switch {
	case seen.signs() && (s.SigningSinceTime == nil || s.RetiredTime != nil):
		s.SigningSinceTime, s.RetiredTime = stamp(now), nil
	case s.SigningSinceTime != nil && s.RetiredTime == nil && seen.left() && !seen.lifetimes.ClockInDoubt:
		s.RetiredTime = stamp(now)
	case s.RetiredTime != nil && s.RevokedTime == nil && leaving(seen.key) && !seen.key.Spec.Revoked && len(seen.heldBy) > 0:
		s.RetiredTime = nil // a pod that hung may come to show a key late: its overlap begins anew
	}
}

// removal carries the removal of the record forward.
func (d *decision) removal(seen observation, now time.Time) {
	s := &d.status
	if s.RemovedTime != nil || !seen.hasPlace {
		return
	}
	s.MarkerGeneration = max(s.MarkerGeneration, seen.generation)
	if !seen.removed() {
		d.submit, d.watch = true, true
		s.RecordMessage = "the record is being removed"
		if o := seen.here; o != nil && o.Message != "" {
			s.RecordMessage = readiness.Cut(o.Message, v1alpha1.MaxMessageLength)
		} else if gone, why := seen.goneElsewhere(); !gone {
			s.RecordMessage = readiness.Cut(why, v1alpha1.MaxMessageLength)
		}
		if seen.place.Manual {
			d.findings = append(d.findings, readiness.Finding{
				Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonPasteRecords, Message: s.RecordMessage, Person: true,
			})
		}
		if seen.outcome != nil && seen.outcome.State == dnsplan.Held {
			d.findings = append(d.findings, *evidence.Held(s.RecordMessage))
			d.look(now.Add(evidence.HeldLook))
		}
		if seen.failure != nil {
			d.findings = append(d.findings, *seen.failure)
		}
		return
	}
	if seen.lifetimes.ClockInDoubt {
		return // the wait that follows would be wrong
	}
	s.RemovedTime = stamp(now)
	s.RecordValue, s.PublishedValue, s.RecordState, s.RecordReason, s.RecordMessage, s.RecordStateChangedTime = "", "", "", "", "", nil
	d.forget = true
}

// removed tells whether the record is gone. What stands there and is not ours is none of our business; what a person
// removes by hand, the servers tell.
func (o observation) removed() bool {
	if o.place.Manual {
		return o.looked && (o.verdict.State == dnscheck.Lacking || o.verdict.State == dnscheck.Differs)
	}
	elsewhere, _ := o.goneElsewhere()
	return elsewhere && o.here != nil && (o.here.State == dnsplan.Absent || o.here.State == dnsplan.Conflict)
}

// target is what the authoritative servers are asked for: a record that shall go, as it stood there last.
func (o observation) target() dnscheck.Target {
	target := evidence.Target(o.want)
	if target.Value == "" {
		target.Value = o.key.Status.RecordValue
	}
	return target
}

// retirementFindings tells what a key on its way out waits for that a person may want to know of.
func (d *decision) retirementFindings(seen observation, next rotation.Retirement) {
	if !leaving(seen.key) {
		return
	}
	if len(seen.heldBy) > 0 && !seen.key.Spec.Revoked {
		d.findings = append(d.findings, readiness.Finding{
			Reason: v1alpha1.ReasonWaitingForSigners, Message: strings.Join(seen.heldBy, "; "), Unwatched: true,
		})
	}
	if seen.lifetimes.ClockInDoubt {
		d.findings = append(d.findings, readiness.Finding{
			Reason: v1alpha1.ReasonClockSkew, Person: true, Unwatched: true,
			Message: "the operator's clock and the API server's are more than 5 minutes apart: its record stays as it is until they agree",
		})
	}
	d.look(next.Until)
	d.status.WaitingFor = readiness.Cut(next.WaitingFor(), v1alpha1.MaxMessageLength)
}
