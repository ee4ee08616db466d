// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/changeover"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// cleaning is a place that was left, and that a person asked to have cleaned.
type cleaning struct {
	place.Other
	result   dnsprovider.Result
	answered bool
}

// observeCleaning finds the places that are to be cleaned.
func (r *Reconciler) observeCleaning(ctx context.Context, seen *observation, now time.Time) error {
	word := timestamp(seen.domain.Annotations[v1alpha1.AnnotationCleanFormerPlaces])
	if word.IsZero() || word.After(now) || !seen.named() {
		return nil
	}
	for _, p := range seen.domain.Status.Places {
		if p.State != v1alpha1.PlaceLeft || p.FormerSinceTime == nil || word.Before(p.FormerSinceTime.Time) {
			continue
		}
		at, err := r.Places.At(ctx, seen.domain.Namespace, seen.name, p)
		if err != nil {
			return err
		}
		if at.Trouble == "" {
			at.Trouble = r.inUse(*seen, at)
		}
		seen.delegation, seen.delegated = r.Prober.Verdict(delegationOf(*seen))
		c := cleaning{Other: at}
		if at.Trouble == "" {
			c.result, c.answered = r.Queue.Result(at.Owner(owner(seen.domain)))
			c.answered = c.answered && c.result.Fingerprint == seen.removalAt(at).Fingerprint()
		}
		seen.cleaning = append(seen.cleaning, c)
	}
	return nil
}

// inUse tells what of ours still needs the place.
func (r *Reconciler) inUse(seen observation, at place.Other) string {
	for _, k := range seen.keys {
		if k.Spec.ProviderRef.WithDefaults() == at.Status.ProviderRef.WithDefaults() && k.Status.Zone == at.Status.Zone {
			return "DKIMKey " + k.Name + " names it; correct its spec.providerRef"
		}
	}
	theirs, ok := r.Places.Accounts.Get(at.Provider)
	mine, here := r.Places.Accounts.Get(seen.place.Provider)
	if ok && here && theirs.Fingerprint == mine.Fingerprint && at.Zone == seen.place.Zone {
		return "it is the zone that is in use, of the same account"
	}
	return ""
}

// removalAt wishes everything of ours away that ever stood at a place; the marker there tells what is ours.
func (o observation) removalAt(at place.Other) dnsprovider.Submission {
	s := o.submissionAt(at)
	s.Wishes, s.RemovalAgreed = removals(o.domain, ""), true // by the word that asks for it
	names := map[dnsrecord.Name]bool{}
	for _, k := range o.domain.Status.Keys {
		if name, err := dkim.RecordName(k.Selector, o.name); err == nil {
			names[name] = true
		}
	}
	for name := range names {
		s.Wishes = append(s.Wishes, dnsplan.Wish{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive})
	}
	slices.SortFunc(s.Wishes, func(a, b dnsplan.Wish) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// cleans decides about the places that a person asked to have cleaned: one that is clean is listed no more.
func (d *decision) cleans(seen observation, writes bool, now time.Time) {
	d.word(seen, v1alpha1.AnnotationCleanFormerPlaces) // one that cannot be read is told
	for _, c := range seen.cleaning {
		at := slices.IndexFunc(d.places, func(p v1alpha1.PlaceStatus) bool {
			return p.State == v1alpha1.PlaceLeft && changeover.Same(p, c.Status)
		})
		if at < 0 {
			continue // it is in use again
		}
		why, sweep := c.Trouble, false
		if why == "" {
			why, sweep = changeover.Clean(d.places[at], d.places[0], delegation(seen), now)
		}
		d.sweepDelegation = d.sweepDelegation || sweep
		d.watch = append(d.watch, delegationOf(seen))
		switch {
		case why != "":
		case c.answered && c.gone():
			d.cleaned = append(d.cleaned, d.places[at])
			d.places = slices.Delete(slices.Clone(d.places), at, at+1)
			continue
		case writes:
			d.clean = append(d.clean, c.Other)
			why = "its records to be removed" + c.trouble()
		}
		d.places[at].WaitingFor = readiness.Cut(why, v1alpha1.MaxMessageLength)
	}
}

// gone: what stands there and is not ours is none of our business.
func (c cleaning) gone() bool {
	return c.result.Err == nil && !slices.ContainsFunc(c.result.Outcomes, func(o dnsplan.Outcome) bool {
		return o.State != dnsplan.Absent && o.State != dnsplan.Conflict
	})
}

func (c cleaning) trouble() string {
	if f := evidence.Failure(c.result.Err); c.answered && f != nil {
		return ": " + f.Message
	}
	return ""
}

func (r *Reconciler) cleanPlaces(seen observation, d *decision) {
	for _, at := range d.clean {
		r.Queue.Submit(seen.removalAt(at))
	}
}
