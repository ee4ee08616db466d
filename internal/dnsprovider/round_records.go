// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// writeRecords makes the changes of all domains whose marker stands, and judges by what is read back.
func (r *round) writeRecords(ctx context.Context) {
	var changes []dnsplan.Change
	place := map[Question]int{}
	for _, d := range r.all() {
		if !d.open() {
			continue
		}
		for _, c := range d.changes {
			// Two domains that want the same at one name need it done once.
			if _, ok := place[c.Key()]; !ok {
				place[c.Key()] = len(changes)
				changes = append(changes, c)
			}
		}
	}
	errs := r.apply(ctx, changes)
	r.settle(ctx, errs)
	after, readErr := r.readBack(ctx, changes)
	for _, c := range changes {
		delete(r.seen, c.Key())
	}
	maps.Copy(r.seen, after)
	for _, d := range r.all() {
		if d.open() {
			r.confirm(d, func(k Question) error { return errs[place[k]] }, readErr)
		}
	}
}

// confirm turns the planned outcomes into what became of them: planning once
// more over what was read back must leave nothing to do.
func (r *round) confirm(d *domain, applyErr func(Question) error, readErr error) {
	_, after := dnsplan.Plan(r.seen, d.standing.Marker, d.wishes)
	for i, planned := range d.outcomes {
		if !planned.Changed {
			continue
		}
		o := after[i]
		k := d.wishes[i].Key()
		switch o.State {
		case dnsplan.InPlace, dnsplan.Absent:
			o.Changed, o.Found, o.Replaced = true, planned.Found, planned.Replaced
			o.Message = lost(d.changes, k, r.seen[k])
		case dnsplan.Conflict:
			o.Message = "changed in the meantime: " + o.Message
		case dnsplan.Pending, dnsplan.Failed, dnsplan.Held:
			o.State, o.Changed, o.Replaced = dnsplan.Failed, false, planned.Replaced // the change may still show
			o.Message = notTaken(k, r.seen, applyErr(k), readErr)
		}
		d.outcomes[i] = o
	}
}

// lost names records of others that stood beside ours and went with our change.
func lost(changes []dnsplan.Change, k Question, after dnsrecord.Set) string {
	at := slices.IndexFunc(changes, func(c dnsplan.Change) bool { return c.Key() == k })
	if at < 0 {
		return ""
	}
	var missing []string
	for _, v := range changes[at].Prerequisite.Values {
		if !slices.Contains(changes[at].Delete, v) && !after.Has(v) {
			missing = append(missing, dnsrecord.Quote(v))
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return clean(fmt.Sprintf("records of others at %s are gone since this change: %v", k.Name, missing))
}

func notTaken(k Question, seen map[Question]dnsrecord.Set, applyErr, readErr error) string {
	set, read := seen[k]
	switch {
	case applyErr != nil:
		return clean(fmt.Sprintf("%s was not changed: %s", k.Name, asError(applyErr).Message))
	case !read && readErr != nil:
		return clean(fmt.Sprintf("%s was written but could not be read back: %s", k.Name, asError(readErr).Message))
	case !read:
		return fmt.Sprintf("%s was written but could not be read back", k.Name)
	case len(set.Values) == 0:
		return fmt.Sprintf("the provider said that it changed %s, but nothing stands there", k.Name)
	}
	quoted := make([]string, len(set.Values))
	for i, v := range set.Values {
		quoted[i] = dnsrecord.Quote(v)
	}
	slices.Sort(quoted)
	return clean(fmt.Sprintf("the provider said that it changed %s, but this stands there: %v", k.Name, quoted))
}

// finish hands every job its part.
func (r *round) finish() {
	for _, d := range r.domains {
		at := 0
		for _, j := range d.jobs {
			r.result(d, j, at)
			at += len(j.sub.Wishes)
		}
	}
}

func (r *round) result(d *domain, j *job, at int) {
	j.retryAfter = r.retryAfter
	j.result.MarkerGeneration = j.sub.RememberedGeneration
	if d.judged {
		j.result.MarkerGeneration, j.result.MarkerValue = d.standing.Marker.Generation, d.standing.Value()
	}
	if d.err != nil {
		j.result.Err = asError(d.err)
		return
	}
	if d.standing.Conflict != "" {
		j.result.Outcomes = r.forAll(j.sub.Wishes, d.standing)
		j.retry = j.result.Outcomes != nil && d.standing.Unknown && r.hearing
		if d.standing.Rival && !j.retry {
			j.result.Rival = d.standing.Conflict
		}
		return
	}
	j.result.Outcomes = slices.Clone(d.outcomes[at : at+len(j.sub.Wishes)])
	j.held = slices.ContainsFunc(j.result.Outcomes, func(o dnsplan.Outcome) bool { return o.State == dnsplan.Held })
	j.retry = d.retry || j.held || slices.ContainsFunc(j.result.Outcomes, func(o dnsplan.Outcome) bool { return o.State == dnsplan.Failed })
}

// forAll says of every wish of a domain that its marker forbids to write.
func (r *round) forAll(wishes []dnsplan.Wish, s dnsplan.Standing) []dnsplan.Outcome {
	o := dnsplan.Outcome{State: dnsplan.Conflict, Message: s.Conflict}
	if s.Unknown && r.hearing {
		o.State, o.Message = dnsplan.Pending, "the marker lists records that no object has told of yet: waiting for the objects of this domain"
	}
	outcomes := make([]dnsplan.Outcome, len(wishes))
	for i, w := range wishes {
		o.Name, o.Type = w.Name, w.Type
		outcomes[i] = o
	}
	return outcomes
}

// write applies changes and reads back their names. Neither error stops the
// other: what stands is what counts.
func (r *round) write(ctx context.Context, changes []dnsplan.Change) (errs []error, after map[Question]dnsrecord.Set, readErr error) {
	errs = r.apply(ctx, changes)
	after, readErr = r.readBack(ctx, changes)
	return errs, after, readErr
}

func (r *round) readBack(ctx context.Context, changes []dnsplan.Change) (map[Question]dnsrecord.Set, error) {
	if len(changes) == 0 {
		return nil, nil //nolint:nilnil // nothing was asked
	}
	questions := make([]Question, len(changes))
	for i, c := range changes {
		questions[i] = c.Key()
	}
	return r.read(ctx, questions)
}

func (r *round) apply(ctx context.Context, changes []dnsplan.Change) []error {
	if len(changes) == 0 {
		return nil
	}
	var errs []error
	err := r.call(ctx, func(ctx context.Context) error {
		errs = r.zone.Apply(ctx, changes)
		return nil
	})
	if len(errs) != len(changes) { // not called, or it broke off
		errs = make([]error, len(changes))
		for i := range errs {
			errs[i] = firstError(err, errBroken)
		}
	}
	for _, err := range errs {
		r.note(err)
	}
	return errs
}

// settle waits until the provider's name servers have what was applied. It holds none of the places for calls meanwhile,
// and its error says nothing of the records: the name servers are asked anyway.
func (r *round) settle(ctx context.Context, errs []error) {
	s, ok := r.zone.(Settler)
	if !ok || !slices.Contains(errs, nil) {
		return
	}
	ctx, cancel := context.WithTimeout(withTurns(ctx, r.account.limiter), settleTimeout)
	defer cancel()
	r.note(guarded(func() error { return s.Settle(ctx) }))
}

func (r *round) read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	slices.SortFunc(questions, func(a, b Question) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	questions = slices.Compact(questions)
	var seen map[Question]dnsrecord.Set
	err := r.call(ctx, func(ctx context.Context) error {
		var err error
		seen, err = r.zone.Read(ctx, questions)
		return err
	})
	if seen == nil {
		seen = map[Question]dnsrecord.Set{}
	}
	r.note(err)
	return seen, err
}

var errBroken = errors.New("the driver broke off")

// call speaks to the provider: within the number of calls at the same time, and the time for one call. The driver takes
// turns within the rate limit.
func (r *round) call(ctx context.Context, f func(context.Context) error) error {
	leave, err := r.q.calls.enter(ctx, r.jobs[0].sub.Provider.Namespace)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(withTurns(ctx, r.account.limiter), callTimeout)
	defer cancel()
	return guarded(func() error { return f(ctx) })
}

// guarded: provider libraries have been seen to panic on answers that they did not expect.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newError(Unknown, errBroken, "the driver broke off on an answer that it did not expect")
		}
	}()
	return f()
}

// note remembers what concerns the account as a whole.
func (r *round) note(err error) {
	var e *Error
	if !errors.As(err, &e) {
		return
	}
	r.unauthorized = r.unauthorized || e.Reason == Unauthorized
	r.retryAfter = max(r.retryAfter, e.RetryAfter)
}
