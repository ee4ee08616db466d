// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	callTimeout = 2 * time.Minute
	// settleTimeout bounds the wait for a provider's own name servers; Route 53 mostly needs one minute.
	settleTimeout = 3 * time.Minute
	defaultTTL    = 300
)

// round carries out one batch:
//
//	read names and markers → judge the markers → plan → hold removals that a person has to agree to
//	→ write the markers that lack something, read them back
//	→ write the records, read them back
//	→ take what is gone out of the markers
//
// A crash between any two of these leaves the marker listing at least what
// stands, so that the next round finds its own records again.
type round struct {
	*batch
	q       *Queue
	zone    Zone
	domains map[dnsrecord.Name]*domain
	seen    map[Question]dnsrecord.Set

	unauthorized bool
	retryAfter   time.Duration
}

// domain is the part of a round that shares one marker.
type domain struct {
	name   dnsrecord.Name
	jobs   []*job
	wishes []dnsplan.Wish // of the jobs, in their order, then of others at the same names

	standing dnsplan.Standing
	judged   bool  // standing says what stands
	err      error // nothing more can be done for this domain now
	retry    bool  // all is well, but something is left to tidy up

	changes  []dnsplan.Change
	outcomes []dnsplan.Outcome
}

func newRound(q *Queue, b *batch) *round {
	r := &round{batch: b, q: q, zone: b.account.Driver.Zone(b.zone), domains: map[dnsrecord.Name]*domain{}, seen: map[Question]dnsrecord.Set{}}
	for _, j := range b.jobs {
		d, ok := r.domains[j.sub.Domain]
		if !ok {
			d = &domain{name: j.sub.Domain}
			r.domains[d.name] = d
		}
		d.jobs = append(d.jobs, j)
		for _, w := range j.sub.Wishes {
			w.TTL = max(w.TTL, b.account.Driver.MinimumTTL())
			if w.TTL == 0 {
				w.TTL = defaultTTL
			}
			d.wishes = append(d.wishes, w)
		}
	}
	r.addNeighbours()
	return r
}

// addNeighbours adds the wishes of others at the same names, so that two objects
// of ours that want different records there are told so instead of taking turns.
func (r *round) addNeighbours() {
	for _, d := range r.domains {
		mine := map[Question]bool{}
		for _, w := range d.wishes {
			mine[w.Key()] = true
		}
		for _, s := range r.others(d) {
			for _, w := range s.Wishes {
				if mine[w.Key()] {
					d.wishes = append(d.wishes, w)
				}
			}
		}
	}
}

// others are the submissions in this zone that are no jobs of the domain.
func (r *round) others(d *domain) []Submission {
	others := slices.Clone(r.neighbours)
	for _, j := range r.jobs {
		if j.sub.Domain != d.name {
			others = append(others, j.sub)
		}
	}
	return others
}

func (r *round) run(ctx context.Context) {
	err := r.readAll(ctx)
	if errors.Is(err, ErrByHand) {
		for _, j := range r.jobs {
			j.result = Result{Outcomes: byHand(j.sub.Wishes), MarkerGeneration: j.sub.RememberedGeneration}
		}
		return
	}
	for _, d := range r.all() {
		r.judge(d, err)
		if d.open() {
			d.changes, d.outcomes = dnsplan.Plan(r.seen, d.standing.Marker, d.wishes)
			r.explainUnread(d.outcomes, err)
			r.leave(d)
		}
	}
	r.holdRemovals(ctx)
	r.writeMarkers(ctx, func(d *domain) (dnsplan.Marker, bool, error) {
		needed := dnsplan.Needed(d.wishes, d.outcomes)
		if !d.standing.Lacks(needed) {
			return dnsplan.Marker{}, false, nil
		}
		m, err := d.standing.With(needed)
		return m, true, err
	}, func(d *domain, err error) { d.err = err })
	r.writeRecords(ctx)
	r.writeMarkers(ctx, func(d *domain) (dnsplan.Marker, bool, error) {
		gone := dnsplan.Gone(r.seen, d.standing.Marker, d.wishes)
		return d.standing.Without(gone), len(gone) > 0, nil
	}, func(d *domain, _ error) { d.retry = true })
	r.finish()
}

// open reports whether the domain can still be worked on.
func (d *domain) open() bool { return d.err == nil && d.standing.Conflict == "" }

// all returns the domains in a stable order.
func (r *round) all() []*domain {
	domains := make([]*domain, 0, len(r.domains))
	for _, d := range r.domains {
		domains = append(domains, d)
	}
	slices.SortFunc(domains, func(a, b *domain) int { return cmp.Compare(a.name, b.name) })
	return domains
}

func (r *round) readAll(ctx context.Context) error {
	var questions []Question
	for _, d := range r.all() {
		key := r.markerKey(d.name)
		if len(key.Name) > dnsrecord.MaxName {
			d.err = newError(Invalid, nil, fmt.Sprintf("the marker of %s in the zone %s would have a name of more than %d octets: use a zone with a shorter name", d.name, r.batch.zone, dnsrecord.MaxName))
			continue
		}
		questions = append(questions, key)
		for _, w := range d.wishes {
			if w.Name.In(r.batch.zone) && w.Name != "" && w.Type != "" {
				questions = append(questions, w.Key())
			}
		}
	}
	if len(questions) == 0 {
		return nil
	}
	seen, err := r.read(ctx, questions)
	r.seen = seen
	return err
}

func (r *round) markerKey(domain dnsrecord.Name) Question {
	return Question{Name: dnsplan.MarkerName(domain, r.batch.zone), Type: dnsrecord.TXT}
}

// judge decides whether the domain is ours to write.
func (r *round) judge(d *domain, readErr error) {
	if d.err != nil {
		return
	}
	key := r.markerKey(d.name)
	if obstacle := dnsplan.Obstacle(r.seen, key); obstacle != "" {
		d.standing.Conflict = obstacle
		return
	}
	set, ok := r.seen[key]
	if !ok {
		// Without the marker nothing is known of the domain, and nothing is written.
		d.err = readErr
		if readErr == nil {
			d.err = newError(Unknown, nil, fmt.Sprintf("the provider did not tell what stands at %s", key.Name))
		}
		return
	}
	d.standing = r.claim(d).Judge(set)
	d.judged = true
}

func (r *round) claim(d *domain) dnsplan.Claim {
	c := dnsplan.Claim{Domain: d.name, Zone: r.batch.zone, Owner: r.q.owner, Known: map[string]bool{}, Remembered: r.memories[d.name].generation}
	for _, digest := range r.memories[d.name].digests {
		c.Known[digest] = true
	}
	for _, s := range r.families[d.name] {
		if s.Zone == r.batch.zone { // each zone has a marker of its own
			c.Remembered = max(c.Remembered, s.RememberedGeneration)
		}
		if s.TakeOver != "" {
			c.TakeOver = dnsplan.OwnerHash(s.TakeOver)
		}
		for _, digest := range s.Known {
			c.Known[digest] = true
		}
		for _, w := range s.Wishes {
			for _, v := range append(slices.Clone(w.Ours), w.Value) {
				c.Known[dnsplan.Digest(w.Name, w.Type, v)] = true
			}
		}
	}
	return c
}

// leave takes the changes out of the plan that the driver leaves to a person.
func (r *round) leave(d *domain) {
	reserved, ok := r.account.Driver.(Reserved)
	if !ok {
		return
	}
	d.changes = slices.DeleteFunc(d.changes, func(c dnsplan.Change) bool {
		left := false
		for i, w := range d.wishes {
			if w.Key() != c.Key() || !d.outcomes[i].Changed {
				continue
			}
			if why := reserved.Refuses(r.batch.zone, w, c); why != "" {
				left = true
				d.outcomes[i].State, d.outcomes[i].Changed, d.outcomes[i].Message = dnsplan.Conflict, false, clean(why)
			}
		}
		return left
	})
}

// explainUnread says why a name is not among what was read.
func (r *round) explainUnread(outcomes []dnsplan.Outcome, err error) {
	for i, o := range outcomes {
		if _, ok := r.seen[Question{Name: o.Name, Type: o.Type}]; ok || o.State != dnsplan.Failed || o.Name == "" {
			continue
		}
		switch {
		case !o.Name.In(r.batch.zone):
			outcomes[i].Message = fmt.Sprintf("%s is not in the zone %s", o.Name, r.batch.zone)
		case err != nil:
			outcomes[i].Message = fmt.Sprintf("%s could not be read: %s", o.Name, asError(err).Message)
		}
	}
}

// writeMarkers writes the markers that next returns, all in one call, and reads
// them back. failed is told of those that do not stand as written.
func (r *round) writeMarkers(ctx context.Context, next func(*domain) (dnsplan.Marker, bool, error), failed func(*domain, error)) {
	var domains []*domain
	var markers []dnsplan.Marker
	var changes []dnsplan.Change
	for _, d := range r.all() {
		if !d.open() {
			continue
		}
		m, write, err := next(d)
		if err != nil {
			failed(d, newError(Invalid, err, fmt.Sprintf("the marker of %s: %v", d.name, err)))
			continue
		}
		if write {
			domains, markers = append(domains, d), append(markers, m)
			changes = append(changes, d.standing.Change(m, markerTTL(d)))
		}
	}
	errs, after, readErr := r.write(ctx, changes)
	for i, d := range domains {
		if err := r.confirmMarker(d, markers[i], after, errs[i], readErr); err != nil {
			failed(d, err)
		}
	}
}

func markerTTL(d *domain) uint32 {
	var ttl uint32
	for _, w := range d.wishes {
		ttl = max(ttl, w.TTL)
	}
	return ttl
}

// confirmMarker accepts the marker that was read back, whatever the write said.
func (r *round) confirmMarker(d *domain, m dnsplan.Marker, after map[Question]dnsrecord.Set, applyErr, readErr error) error {
	set, ok := after[r.markerKey(d.name)]
	if !ok {
		return r.markerError(d.name, firstError(applyErr, readErr))
	}
	standing, err := d.standing.Written(m, set)
	if err != nil {
		return r.markerError(d.name, firstError(applyErr, err))
	}
	d.standing = standing
	return nil
}

// firstError returns the first error.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ErrChanged
}

func (r *round) markerError(domain dnsrecord.Name, err error) error {
	e := asError(err)
	e.Message = clean(fmt.Sprintf("the marker at %s was not written: %s", r.markerKey(domain).Name, e.Message))
	return e
}
