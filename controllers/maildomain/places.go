// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/changeover"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// other is a former place that has to hold the records as well, while the domain moves to another provider or zone.
type other struct {
	place.Other
	outcomes   map[dnsplan.Key]dnsplan.Outcome
	answeredAt time.Time
}

// observeOthers finds the former places that are kept, and who answers for the domain in the public DNS.
func (r *Reconciler) observeOthers(ctx context.Context, seen *observation, _ time.Time) error {
	if len(changeover.Kept(seen.domain.Status.Places)) == 0 {
		return nil
	}
	seen.delegation, seen.delegated = r.Prober.Verdict(delegationOf(*seen))
	if !seen.hasPlace {
		return nil
	}
	others, err := r.Places.Others(ctx, seen.domain.Namespace, seen.name, seen.ownPlace(), seen.domain.Status.Places)
	for _, o := range others {
		seen.others = append(seen.others, other{Other: o})
	}
	return err
}

// named tells whether the place is the one that the spec names.
func (o observation) named() bool { return o.hasPlace && o.standsIn == nil }

// ownPlace is the place that the spec names, or the one that stands in for it.
func (o observation) ownPlace() v1alpha1.PlaceStatus {
	if o.standsIn != nil {
		return *o.standsIn
	}
	return v1alpha1.PlaceStatus{ProviderRef: o.domain.Spec.ProviderRef.WithDefaults(), Zone: string(o.place.Zone)}
}

// delegationOf has the prober look at which servers parent and zone name.
func delegationOf(seen observation) dnscheck.Target {
	return dnscheck.Target{Name: seen.name, Type: dnsrecord.NS}
}

// moves tells whether records of the domain's own have to stand at another place too.
func (o observation) moves() bool { return len(o.others) > 0 && len(o.records) > 0 }

// lookElsewhere adds what the other places say of the domain's own records.
func (r *Reconciler) lookElsewhere(seen *observation) {
	for i := range seen.others {
		o := &seen.others[i]
		if o.Trouble != "" {
			continue
		}
		result, ok := r.Queue.Result(o.Owner(owner(seen.domain)))
		o.outcomes = evidence.Answer(seen.submissionAt(o.Other), result, ok)
		if !ok {
			continue
		}
		o.answeredAt = result.Time
		if o.Zone == seen.place.Zone { // each zone has a marker of its own
			seen.generation = max(seen.generation, result.MarkerGeneration)
		}
		if f := evidence.Failure(result.Err); f != nil {
			o.Trouble = f.Message
		}
	}
}

// submissionAt is what the domain asks of the queue for another place.
func (o observation) submissionAt(at place.Other) dnsprovider.Submission {
	s := o.submission()
	s.Owner, s.Provider, s.Zone = at.Owner(s.Owner), at.Provider, at.Zone
	s.RememberedGeneration = index.MarkerGeneration(at.Zone, o.domain, o.keys)
	for i := range s.Wishes {
		s.Wishes[i].TTL = at.TTL
	}
	return s
}

// everywhere makes one answer of what all places said of a record.
func (o observation) everywhere(record desired.Record) *dnsplan.Outcome {
	here := o.here(record)
	switch {
	case len(o.others) == 0:
		return here
	case evidence.Stands(before(o.domain, record), record.Value):
		return nil
	}
	var answers []evidence.Elsewhere
	for _, other := range o.others {
		if other.Unasked {
			continue
		}
		answer := evidence.Elsewhere{Where: changeover.Describe(other.Status), Trouble: other.Trouble}
		if outcome, ok := other.outcomes[dnsplan.Key{Name: record.Name, Type: record.Type}]; ok {
			answer.Outcome = &outcome
		}
		answers = append(answers, answer)
	}
	return evidence.Everywhere(here, answers)
}

// askOnce tells whether a place is asked once more, where another record stands in the way of this one.
func (d *decision) askOnce(seen observation, record desired.Record, now time.Time) bool {
	if len(seen.others) == 0 {
		return false
	}
	again, look := evidence.AskOnce(seen.here(record), seen.answeredAt, now)
	d.look(look)
	for _, o := range seen.others {
		if outcome, ok := o.outcomes[dnsplan.Key{Name: record.Name, Type: record.Type}]; ok {
			another, look := evidence.AskOnce(&outcome, o.answeredAt, now)
			d.look(look)
			again = again || another
		}
	}
	return again
}

// moves decides about the places. Until the status holds what it decides, nothing is written anywhere: after a crash we know
// where our records are.
func (d *decision) moves(seen observation, now time.Time) (noted bool) {
	last := formerly(seen)
	see := changeover.Seen{
		Standing: standing(seen), Delegation: delegation(seen), Missing: missing(seen), ClockInDoubt: seen.lifetimes.ClockInDoubt,
		Leave: d.saidBy(seen, v1alpha1.AnnotationLeaveFormerPlaces, now), Trouble: map[string]string{},
	}
	if seen.named() && seen.place.Zone != "" { // the zone of a domain whose keys alone are ours may be somebody else's
		see.Named = &changeover.Place{Provider: seen.domain.Spec.ProviderRef, Zone: string(seen.place.Zone)}
	}
	for _, o := range seen.others {
		see.Trouble[changeover.Describe(o.Status)] = o.Trouble
	}
	next := changeover.Next(last, see, now)
	d.places, d.sweepDelegation = next.Places, next.Sweep
	d.look(next.LookAgain)
	if next.Refused != "" {
		d.findings = append(d.findings, readiness.Finding{
			Condition: v1alpha1.ConditionProviderReady, Reason: v1alpha1.ReasonWaitingForDelegation, Message: next.Refused, Person: true,
		})
	}
	if next.Reason != "" {
		d.notes = append(d.notes, readiness.Note{Condition: v1alpha1.ConditionMoving, Reason: next.Reason, Message: next.Message})
	}
	if seen.hasPlace && len(changeover.Kept(d.places)) > 0 {
		d.watch = append(d.watch, delegationOf(seen))
	}
	return len(last) == 0 || len(d.places) > 0 && changeover.Same(last[0], d.places[0]) && next.Refused == ""
}

// formerly are the places of the status. A MailDomain that takes up what another one left has none: its keys know.
func formerly(seen observation) []v1alpha1.PlaceStatus {
	if places := seen.domain.Status.Places; len(places) > 0 {
		return places
	}
	for _, k := range seen.keys {
		stands := k.Status.PublishedTime != nil && k.Status.RemovedTime == nil && k.Status.Zone != ""
		if ours(&k) && stands && seen.name.In(dnsrecord.Name(k.Status.Zone)) {
			return []v1alpha1.PlaceStatus{{ProviderRef: k.Spec.ProviderRef.WithDefaults(), Zone: k.Status.Zone, State: v1alpha1.PlaceInUse}}
		}
	}
	return nil
}

// saidBy is a person's word, unless it is of a time to come.
func (d *decision) saidBy(seen observation, annotation string, now time.Time) time.Time {
	at := d.word(seen, annotation)
	if at.After(now) {
		d.look(at)
		return time.Time{}
	}
	return at
}

// standing tells whether anything of ours is published.
func standing(seen observation) bool {
	for _, r := range seen.domain.Status.Records {
		if r.Purpose != v1alpha1.PurposeDKIM && len(desired.Ours(r)) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(seen.keys, func(k v1alpha1.DKIMKey) bool {
		return k.Status.PublishedTime != nil && k.Status.RemovedTime == nil
	})
}

// delegation puts what the prober found into the words of the decision.
func delegation(seen observation) changeover.Delegation {
	v := seen.delegation
	d := changeover.Delegation{Zone: string(v.Zone), TTL: time.Duration(v.NameServerTTL) * time.Second, SeenAt: v.SweptAt}
	for _, s := range v.NameServers {
		d.Servers = append(d.Servers, string(s))
	}
	switch {
	case !seen.delegated || v.State == dnscheck.Unknown:
		d.Unknown = "nobody has looked yet"
	case v.State == dnscheck.Unchecked:
		d.Unknown = "spec.verification of the provider is None; annotate with " + v1alpha1.AnnotationLeaveFormerPlaces + " when nobody asks the former servers any more"
	case v.State != dnscheck.Verified:
		d.Unknown = v.Message
	}
	return d
}

// mostMissing is how many records are named that a new place lacks.
const mostMissing = 4

// missing names the records that the place in use does not hold yet, or that another place does not although it could.
func missing(seen observation) string {
	switch places := seen.domain.Status.Places; {
	case !seen.named():
		return "it cannot be used now"
	case len(places) > 0 && !changeover.Same(places[0], seen.ownPlace()):
		return "nobody has looked yet"
	}
	var all []string
	for _, record := range seen.records {
		if here := seen.here(record); record.Hold == "" && evidence.StateAt(here) != v1alpha1.RecordPublished {
			all = append(all, lacked(string(record.Name), messageOf(here)))
		}
	}
	for _, k := range seen.keys {
		if k.Status.RecordValue != "" {
			all = append(all, missingKey(seen, k)...)
		}
	}
	slices.Sort(all)
	if len(all) > mostMissing {
		all = append(all[:mostMissing], fmt.Sprintf("and %d more", len(all)-mostMissing))
	}
	return strings.Join(all, ", ")
}

// missingKey names the record of a key that the place in use does not hold yet.
func missingKey(seen observation, k v1alpha1.DKIMKey) []string {
	name := k.Status.RecordName
	if k.Status.Zone != "" && k.Status.Zone != string(seen.place.Zone) {
		return []string{lacked(name, "zone "+k.Status.Zone+" is not moved by this version: copy its record there yourself")}
	}
	for _, p := range k.Status.Places {
		if !changeover.Same(v1alpha1.PlaceStatus{ProviderRef: p.ProviderRef, Zone: p.Zone}, seen.ownPlace()) {
			continue
		}
		if p.RecordState == v1alpha1.RecordPublished {
			return nil
		}
		return []string{lacked(name, p.Message)}
	}
	return []string{lacked(name, "")}
}

func lacked(name, message string) string {
	if message == "" {
		return name
	}
	return name + " (" + message + ")"
}

func messageOf(o *dnsplan.Outcome) string {
	if o == nil {
		return ""
	}
	return o.Message
}

// submitElsewhere asks the other places for the same.
func (r *Reconciler) submitElsewhere(seen observation, recheck bool) {
	for _, o := range seen.others {
		if o.ProviderKnown() {
			r.Queue.Submit(seen.submissionAt(o.Other))
		}
		if recheck {
			r.Queue.Recheck(o.Owner(owner(seen.domain)))
		}
	}
}

// forgetLeft drops what was asked of places that are kept no more; their records stay as they are.
func (r *Reconciler) forgetLeft(domain *v1alpha1.MailDomain, after []v1alpha1.PlaceStatus, cleaned []place.Other) {
	for _, p := range domain.Status.Places {
		kept := slices.ContainsFunc(changeover.Kept(after), func(k v1alpha1.PlaceStatus) bool { return changeover.Same(k, p) })
		if !kept && !slices.ContainsFunc(cleaned, func(o place.Other) bool { return changeover.Same(o.Status, p) }) {
			r.Queue.Forget(place.OwnerAt(owner(domain), p.ProviderRef, p.Zone))
		}
	}
}

// sayWhatStays tells of places that could not be reached when everything was removed.
func (r *Reconciler) sayWhatStays(seen observation) {
	for _, o := range seen.others {
		if o.Trouble != "" {
			r.say(seen.domain, placeTrouble, "%s: what stands there stays: %s", changeover.Describe(o.Status), o.Trouble)
		}
	}
}

// sayMoves tells of every change that the places make.
func (r *Reconciler) sayMoves(domain *v1alpha1.MailDomain, before, now v1alpha1.MailDomainStatus) {
	last, after := before.Places, now.Places
	if len(last) > 0 && len(after) > 0 && !changeover.Same(last[0], after[0]) {
		text := "the records go to " + changeover.Describe(after[0])
		if at := slices.IndexFunc(after, func(p v1alpha1.PlaceStatus) bool { return changeover.Same(p, last[0]) }); at >= 0 {
			text += "; " + changeover.Describe(last[0]) + " is kept equal until nobody asks there any more"
		}
		r.say(domain, placeChanged, "%s", text)
	}
	was, is := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionMoving), meta.FindStatusCondition(now.Conditions, v1alpha1.ConditionMoving)
	if was != nil && is != nil && was.Reason == v1alpha1.ReasonFillingPlace && is.Reason != was.Reason {
		r.say(domain, placesEqual, "%s holds every record: the delegation may be changed", changeover.Describe(after[0]))
	}
	for _, p := range after {
		i := slices.IndexFunc(last, func(o v1alpha1.PlaceStatus) bool { return changeover.Same(o, p) })
		if i >= 0 && last[i].State == v1alpha1.PlaceKept && p.State == v1alpha1.PlaceLeft {
			r.say(domain, placeLeft, "%s is left; waiting for %s", changeover.Describe(p), p.WaitingFor)
		}
		if _, trouble, ok := strings.Cut(p.WaitingFor, changeover.Unwritable); ok && i >= 0 && !strings.Contains(last[i].WaitingFor, changeover.Unwritable) {
			r.say(domain, placeTrouble, "%s is kept equal no more%s%s", changeover.Describe(p), changeover.Unwritable, trouble)
		}
	}
}
