// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/changeover"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// other is a place that has to hold the record as well, while the MailDomain moves to another provider or zone.
type other struct {
	place.Other
	outcome    *dnsplan.Outcome
	answeredAt time.Time
}

// observeOthers finds the places of a domain that moves: whatever the record becomes, it becomes everywhere.
func (r *Reconciler) observeOthers(ctx context.Context, seen *observation) error {
	if !seen.hasPlace || seen.holder == nil {
		return nil
	}
	others, err := r.Places.Others(ctx, seen.key.Namespace, seen.domain, seen.ownPlace(), seen.holder.Status.Places)
	for _, o := range others {
		seen.others = append(seen.others, other{Other: o})
	}
	return err
}

// standIn is a former place of a domain that moves, as long as the new one cannot be used. A key that names a provider of
// its own, or whose record stands in another zone, has none.
func (r *Reconciler) standIn(ctx context.Context, seen *observation) (place.Place, error) {
	if seen.holder == nil || len(seen.holder.Status.Places) == 0 ||
		seen.holder.Status.Places[0].ProviderRef.WithDefaults() != seen.key.Spec.ProviderRef.WithDefaults() {
		return place.Place{}, nil
	}
	at, ok, err := r.Places.StandIn(ctx, seen.key.Namespace, seen.domain, seen.holder.Status.Places)
	if at.Name = standsAt(seen.key.Status, seen.record); ok && at.Name.In(at.Zone) {
		seen.standsIn = &at.Status
	}
	return at.Place, err
}

func (o observation) ownPlace() v1alpha1.PlaceStatus {
	if o.standsIn != nil {
		return *o.standsIn
	}
	return v1alpha1.PlaceStatus{ProviderRef: o.key.Spec.ProviderRef.WithDefaults(), Zone: string(o.place.Zone)}
}

// lookElsewhere adds what the other places say, and makes one answer of all.
func (r *Reconciler) lookElsewhere(seen *observation) {
	seen.here = seen.outcome
	var answers []evidence.Elsewhere
	for i := range seen.others {
		o := &seen.others[i]
		r.lookAt(seen, o)
		if !o.Unasked {
			answers = append(answers, evidence.Elsewhere{Where: changeover.Describe(o.Status), Outcome: o.outcome, Trouble: o.Trouble})
		}
	}
	switch {
	case !seen.moves():
	case !seen.removes() && evidence.Stands(seen.before(), seen.want.Value):
		seen.outcome = nil
	default:
		seen.outcome = evidence.Everywhere(seen.here, answers)
	}
}

// lookAt adds what one other place says.
func (r *Reconciler) lookAt(seen *observation, o *other) {
	if o.Trouble != "" {
		return
	}
	result, ok := r.Queue.Result(o.Owner(owner(seen.key)))
	outcome, answered := evidence.Answer(seen.submissionAt(o.Place, o.Owner(owner(seen.key))), result, ok)[dnsplan.Key{Name: seen.place.Name, Type: seen.want.Type}]
	if answered {
		o.outcome = &outcome
	}
	if ok {
		o.Trouble, o.answeredAt = messageOf(result.Err), result.Time
	}
	if ok && o.Zone == seen.place.Zone { // each zone has a marker of its own
		seen.generation = max(seen.generation, result.MarkerGeneration)
	}
}

func messageOf(err error) string {
	if f := evidence.Failure(err); f != nil {
		return f.Message
	}
	return ""
}

// moves tells whether the record has to stand at another place than the world sees it at.
func (o observation) moves() bool { return len(o.others) > 0 || o.arrives() }

// arrives tells whether a key that stands alone names a place that is not known to hold its record: it goes there at once,
// whatever the world sees, so that the record is there before the delegation changes.
func (o observation) arrives() bool {
	return o.hasPlace && !o.place.Manual && o.holder == nil && o.lastAt(o.ownPlace()).RecordState != v1alpha1.RecordPublished
}

// everywhere tells whether every place holds what shall stand there.
func (o observation) everywhere() bool {
	for i, p := range o.placeStatuses() { // its own one is the first
		if len(o.others) > 0 && p.RecordState != v1alpha1.RecordPublished && (i == 0 || !o.others[i-1].Unasked) {
			return false
		}
	}
	return true
}

// placeStatuses tell of every place while there is more than one; of a key that stands alone, of its own.
func (o observation) placeStatuses() []v1alpha1.KeyPlaceStatus {
	switch {
	case len(o.others) > 0:
	case o.holder != nil || o.place.Manual:
		return nil
	case !o.hasPlace:
		return o.key.Status.Places
	}
	tell := func(p v1alpha1.PlaceStatus, outcome *dnsplan.Outcome, trouble string) v1alpha1.KeyPlaceStatus {
		status := v1alpha1.KeyPlaceStatus{ProviderRef: p.ProviderRef, Zone: p.Zone, RecordState: evidence.StateAt(outcome), Message: trouble}
		if outcome != nil && status.RecordState != v1alpha1.RecordPublished && trouble == "" {
			status.Message = outcome.Message
		}
		switch was := o.lastAt(p); {
		case trouble != "":
			status.RecordState = v1alpha1.RecordPending
		case outcome == nil && (was.RecordState == v1alpha1.RecordConflict || len(o.others) == 0 && was.RecordState != ""):
			return was // what the provider said holds until it says something else
		}
		status.Message = readiness.Cut(status.Message, v1alpha1.MaxMessageLength)
		return status
	}
	all := []v1alpha1.KeyPlaceStatus{tell(o.ownPlace(), o.here, "")}
	for _, other := range o.others {
		all = append(all, tell(other.Status, other.outcome, other.Trouble))
	}
	return all
}

// longestTTL is the highest with which the record stands anywhere.
func (o observation) longestTTL() uint32 {
	longest := o.place.TTL
	for _, other := range o.others {
		longest = max(longest, other.TTL)
	}
	return longest
}

// lastAt is what the status says of a place.
func (o observation) lastAt(p v1alpha1.PlaceStatus) v1alpha1.KeyPlaceStatus {
	for _, was := range o.key.Status.Places {
		if changeover.Same(p, v1alpha1.PlaceStatus{ProviderRef: was.ProviderRef, Zone: was.Zone}) {
			return was
		}
	}
	return v1alpha1.KeyPlaceStatus{}
}

// askOnce tells whether a place in conflict is asked once more.
func (d *decision) askOnce(seen observation, now time.Time) bool {
	if !seen.moves() {
		return false
	}
	again, look := evidence.AskOnce(seen.here, seen.answeredAt, now)
	d.look(look)
	for _, o := range seen.others {
		another, look := evidence.AskOnce(o.outcome, o.answeredAt, now)
		d.look(look)
		again = again || another
	}
	return again
}

// behind names the places that do not hold the record yet.
func behind(places []v1alpha1.KeyPlaceStatus) string {
	var all []string
	for _, p := range places {
		if p.RecordState == v1alpha1.RecordPublished {
			continue
		}
		text := changeover.Describe(v1alpha1.PlaceStatus{ProviderRef: p.ProviderRef, Zone: p.Zone})
		if p.Message != "" {
			text += " (" + p.Message + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// goneElsewhere tells whether no other place has the record any more, and if not, why.
func (o observation) goneElsewhere() (bool, string) {
	for _, other := range o.others {
		where := changeover.Describe(other.Status)
		switch {
		case other.Trouble != "":
			return false, where + ": " + other.Trouble
		case other.outcome == nil || other.outcome.State != dnsplan.Absent && other.outcome.State != dnsplan.Conflict:
			return false, where + ": the record is being removed"
		}
	}
	return true, ""
}

// submitElsewhere asks the other places for the same.
func (r *Reconciler) submitElsewhere(seen observation, recheck bool) {
	for _, o := range seen.others {
		if o.ProviderKnown() {
			r.Queue.Submit(seen.submissionAt(o.Place, o.Owner(owner(seen.key))))
		}
		if recheck {
			r.Queue.Recheck(o.Owner(owner(seen.key)))
		}
	}
}

// forgetLeft drops what was asked of places that are left; their records stay as they are.
func (r *Reconciler) forgetLeft(seen observation, all bool) {
	for _, p := range seen.key.Status.Places {
		at := place.OwnerAt(owner(seen.key), p.ProviderRef, p.Zone)
		still := slices.ContainsFunc(seen.others, func(o other) bool { return o.Owner(owner(seen.key)) == at })
		if all || !still {
			r.Queue.Forget(at)
		}
	}
}

// submissionAt is what the key asks of the queue for a place.
func (o observation) submissionAt(at place.Place, as dnsprovider.Owner) dnsprovider.Submission {
	s := o.submission()
	s.Owner, s.Provider, s.Zone = as, at.Provider, at.Zone
	s.RememberedGeneration = index.MarkerGeneration(at.Zone, o.holder, o.siblings)
	for i := range s.Wishes {
		s.Wishes[i].TTL = at.TTL
	}
	return s
}
