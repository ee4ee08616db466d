// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package changeover decides how long the records of a domain are kept at a place, a provider and a zone there, that its
// spec names no more.
//
//	              the spec names        parent and zone      as long as caches       a person
//	              another place         drop its servers     may know them           asks for it
//	InUse ──────────────► Kept ─────────────► Kept ────────────────► Left ────────────► (cleaned)
//	                       both places are equal                      stays as it is
//
// A resolver asks the name servers that it remembers, until the NS records at the parent and those of the zone itself,
// which it prefers (RFC 2181 §5.4.1), have run out. So a message that was signed today may be verified with what the
// former place says, days after the change.
package changeover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// maxPlaces bounds how many places the status lists.
const maxPlaces = 8

// Seen is what is known of a domain's places at this moment.
type Seen struct {
	// Named is the place that the spec names; nil while there is none that could be used, or as long as the claim is not ours.
	Named *Place
	// Standing: records of ours were published, which have to be kept where they are.
	Standing   bool
	Delegation Delegation
	// Missing says what the named place does not hold yet, in words; "" if it holds every record.
	Missing string
	// Leave is a person's word that nobody asks the places any more that were left before that time; zero without one.
	Leave time.Time
	// Trouble says of a former place, by its description, why it cannot be written now.
	Trouble      map[string]string
	ClockInDoubt bool
}

// Unwritable leads over, in the words of a wait, to why a former place cannot be written.
const Unwritable = "; it cannot be written now, and does not follow what changes: "

// Place is where records go.
type Place struct {
	Provider v1alpha1.ProviderRef
	Zone     string
}

// Delegation is who answers for the domain in the public DNS.
type Delegation struct {
	// Unknown says why nobody can tell; then the rest says nothing.
	Unknown string
	Zone    string   // the apex
	Servers []string // that the parent or the zone itself names
	TTL     time.Duration
	SeenAt  time.Time
}

// Decision is what becomes of the places.
type Decision struct {
	// Places are those of the status, the one that the spec names first.
	Places []v1alpha1.PlaceStatus
	// Refused says why the place that the spec names cannot become the domain's; "" if it is.
	Refused string
	// Reason and Message describe the change-over under way; "" without one.
	Reason, Message string
	// Sweep: look at the delegation once more before a place is left.
	Sweep bool
	// LookAgain is when a wait ends; zero if none does.
	LookAgain time.Time
}

// Next decides what becomes of the places that the status lists.
func Next(before []v1alpha1.PlaceStatus, seen Seen, now time.Time) Decision {
	d := Decision{Places: clone(before)}
	d.arrive(seen, now)
	for i := range d.Places {
		if d.Places[i].State == v1alpha1.PlaceKept {
			d.follow(i, seen, now)
		}
	}
	d.settle()
	return d
}

// arrive makes the place that the spec names the first one. The one that was first is kept from now on, if anything of
// ours stands there.
func (d *Decision) arrive(seen Seen, now time.Time) {
	if seen.Named == nil {
		return
	}
	named := v1alpha1.PlaceStatus{ProviderRef: seen.Named.Provider.WithDefaults(), Zone: seen.Named.Zone, State: v1alpha1.PlaceInUse}
	if len(d.Places) > 0 && Same(d.Places[0], named) {
		return
	}
	rest := clone(d.Places)
	if len(rest) > 0 && !seen.Standing {
		rest = rest[1:]
	} else if len(rest) > 0 {
		rest[0].State, rest[0].FormerSinceTime = v1alpha1.PlaceKept, stamp(now)
	}
	if i := slices.IndexFunc(rest, func(p v1alpha1.PlaceStatus) bool { return Same(p, named) }); i >= 0 {
		named.NameServers = rest[i].NameServers // it comes back while others leave: these are its own
		rest = slices.Delete(rest, i, i+1)
	}
	for len(rest) >= maxPlaces {
		i := lastLeft(rest)
		if i < 0 {
			d.Refused = fmt.Sprintf("%s: %d former places are still kept; wait until one of them is left, or go back to one", Describe(named), len(rest))
			return
		}
		rest = slices.Delete(rest, i, i+1)
	}
	d.Places = append([]v1alpha1.PlaceStatus{named}, rest...)
}

func lastLeft(places []v1alpha1.PlaceStatus) int {
	for i, p := range slices.Backward(places) {
		if p.State == v1alpha1.PlaceLeft {
			return i
		}
	}
	return -1
}

// follow takes one place that is kept a step further.
func (d *Decision) follow(at int, seen Seen, now time.Time) {
	p := &d.Places[at]
	if !seen.Leave.IsZero() && p.FormerSinceTime != nil && !seen.Leave.Before(p.FormerSinceTime.Time) {
		p.State, p.WaitingFor = v1alpha1.PlaceLeft, "nothing: left on a person's word; what stands there has to be removed there"
		return
	}
	if seen.Delegation.Unknown == "" {
		d.look(at, seen, now)
	}
	reason, waiting, until := d.wait(at, seen, now)
	if reason == "" {
		p.State, p.WaitingFor = v1alpha1.PlaceLeft,
			"nothing: nobody asks there any more; the records stay until the annotation "+v1alpha1.AnnotationCleanFormerPlaces+" has them removed"
		return
	}
	if trouble := seen.Trouble[Describe(*p)]; trouble != "" {
		waiting += Unwritable + trouble
	}
	p.WaitingFor = readiness.Cut(waiting, v1alpha1.MaxMessageLength)
	if d.Reason == "" {
		d.Reason = reason
	}
	d.until(until)
}

// look takes in who answers for the domain now.
func (d *Decision) look(at int, seen Seen, now time.Time) {
	p, others := &d.Places[at], d.serversOfOthers(at)
	if len(p.NameServers) == 0 && p.DroppedTime == nil { // nobody has looked since it was the domain's place
		p.NameServers = slices.DeleteFunc(slices.Clone(seen.Delegation.Servers), func(s string) bool { return slices.Contains(others, s) })
	}
	named := len(stillNamed(*p, d.Places[0], seen.Delegation)) > 0
	if named || p.DroppedTime == nil {
		p.NameServerTTLSeconds = max(p.NameServerTTLSeconds, int32(min(seen.Delegation.TTL, maxTTL)/time.Second)) //nolint:gosec // a week at most
	}
	switch {
	case named:
		p.DroppedTime = nil // the wait begins anew
	case p.DroppedTime == nil && !seen.ClockInDoubt:
		p.DroppedTime = stamp(now)
	}
}

// maxTTL is the longest that a cache keeps anything (RFC 8767 §4).
const maxTTL = 7 * 24 * time.Hour

func (d *Decision) serversOfOthers(at int) []string {
	var all []string
	for i, p := range d.Places {
		if i != at {
			all = append(all, p.NameServers...)
		}
	}
	return all
}

// stillNamed are the servers of a former place that parent or zone name. Where the zone is another one than before, on the
// same servers maybe, the one that was found tells.
func stillNamed(p, inUse v1alpha1.PlaceStatus, d Delegation) []string {
	if p.Zone != inUse.Zone && d.Zone == inUse.Zone {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.NameServers), func(s string) bool { return !slices.Contains(d.Servers, s) })
}

// freshness is how old the last look at the delegation may be when a place is left: servers may have come back.
const freshness = 2 * time.Minute

// wait is why a former place is still kept, and until when at least; no reason: it is left.
func (d *Decision) wait(at int, seen Seen, now time.Time) (reason, why string, until time.Time) {
	p := d.Places[at]
	if seen.Missing != "" && p.DroppedTime == nil {
		return v1alpha1.ReasonFillingPlace, Describe(d.Places[0]) + " to hold every record; do not change the delegation before: " + seen.Missing, time.Time{}
	}
	if seen.Delegation.Unknown != "" {
		return v1alpha1.ReasonWaitingForDelegation, "a look at the delegation: " + seen.Delegation.Unknown, time.Time{}
	}
	if p.DroppedTime == nil && len(p.NameServers) == 0 {
		return v1alpha1.ReasonWaitingForDelegation, "our clock and the API server's to agree", time.Time{}
	}
	if p.DroppedTime == nil {
		return v1alpha1.ReasonWaitingForDelegation, fmt.Sprintf("the parent of %s, and the zone itself, to name other servers than %s: both places are equal",
			seen.Delegation.Zone, strings.Join(p.NameServers, ", ")), time.Time{}
	}
	ttl := time.Duration(p.NameServerTTLSeconds) * time.Second
	end := p.DroppedTime.Add(ttl + time.Second) // stamps are cut to the second
	if now.Before(end) {
		return v1alpha1.ReasonWaitingForCaches, fmt.Sprintf("caches to forget its name servers, until %s (NS TTL %d s)",
			end.UTC().Format(time.RFC3339), p.NameServerTTLSeconds), end
	}
	if seen.ClockInDoubt {
		return v1alpha1.ReasonWaitingForCaches, "our clock and the API server's to agree", time.Time{}
	}
	if now.Sub(seen.Delegation.SeenAt) > freshness {
		d.Sweep = true
		return v1alpha1.ReasonWaitingForCaches, "a last look at the delegation", time.Time{}
	}
	return "", "", time.Time{}
}

// Clean tells why our records may not be removed yet from a place that was left; "" if they may. sweep asks for a fresh look
// at the delegation before.
func Clean(p, inUse v1alpha1.PlaceStatus, d Delegation, now time.Time) (why string, sweep bool) {
	still := stillNamed(p, inUse, d)
	switch {
	case p.DroppedTime == nil:
		return "a person to remove the records there: nobody saw that the place is asked no more", false
	case d.Unknown != "":
		return "a look at the delegation: " + d.Unknown, false
	case len(still) > 0:
		return fmt.Sprintf("the parent of %s, and the zone itself, to name other servers than %s", d.Zone, strings.Join(still, ", ")), false
	case now.Sub(d.SeenAt) > freshness:
		return "a last look at the delegation", true
	}
	return "", false
}

func (d *Decision) until(at time.Time) {
	if !at.IsZero() && (d.LookAgain.IsZero() || at.Before(d.LookAgain)) {
		d.LookAgain = at
	}
}

// settle tells of the change-over as a whole, and forgets what mattered only during it.
func (d *Decision) settle() {
	var kept []string
	for _, p := range d.Places {
		if p.State == v1alpha1.PlaceKept {
			kept = append(kept, Describe(p)+" is kept equal, waiting for "+p.WaitingFor)
		}
	}
	if len(kept) == 0 {
		d.Reason = ""
		if len(d.Places) > 0 {
			d.Places[0].NameServers = nil
		}
		return
	}
	d.Message = "the records are at " + Describe(d.Places[0]) + "; " + strings.Join(kept, "; ")
}

// Same tells whether both are the same provider and zone.
func Same(a, b v1alpha1.PlaceStatus) bool {
	return a.ProviderRef.WithDefaults() == b.ProviderRef.WithDefaults() && a.Zone == b.Zone
}

// Describe names a place: "DNSProvider dns, zone example.org".
func Describe(p v1alpha1.PlaceStatus) string {
	ref := p.ProviderRef.WithDefaults()
	return string(ref.Kind) + " " + ref.Name + ", zone " + p.Zone
}

// Kept are the former places that have to be as equal as the one that the spec names.
func Kept(places []v1alpha1.PlaceStatus) []v1alpha1.PlaceStatus {
	return slices.DeleteFunc(slices.Clone(places), func(p v1alpha1.PlaceStatus) bool { return p.State != v1alpha1.PlaceKept })
}

func clone(places []v1alpha1.PlaceStatus) []v1alpha1.PlaceStatus {
	after := make([]v1alpha1.PlaceStatus, len(places))
	for i := range places {
		after[i] = *places[i].DeepCopy()
	}
	return after
}

func stamp(t time.Time) *metav1.Time { return &metav1.Time{Time: t.UTC().Truncate(time.Second)} }
