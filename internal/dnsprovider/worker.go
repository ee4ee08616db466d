// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// defaultBatch is how many submissions one round carries out where every name is a question of its own.
	defaultBatch = 64

	firstRetry     = time.Second
	lastRetry      = 5 * time.Minute
	firstLongRetry = 2 * time.Minute // after errors that need a person
	lastLongRetry  = 15 * time.Minute
)

type workerKey struct {
	fingerprint string
	zone        dnsrecord.Name
}

// worker serves one zone of one account. It has a goroutine only while there is
// something to do or to wait for. Guarded by Queue.mu.
type worker struct {
	key       workerKey
	account   *Account
	entries   map[Owner]*entry
	domains   map[dnsrecord.Name]memory
	notBefore time.Time // the provider asked to be left alone
	kick      chan struct{}
	running   bool
}

// memory is what this process knows of the marker of a domain.
type memory struct {
	generation int64
	digests    []string
}

// job is one submission under way, with nothing in it that anybody changes.
type job struct {
	sub        Submission
	want, full string
	result     Result
	retry      bool // although the result is settled
	held       bool // it waits for a person
	retryAfter time.Duration
}

// batch is what one round is about.
type batch struct {
	account *Account
	zone    dnsrecord.Name
	jobs    []*job
	// neighbours are the submissions of the same worker that do not run now.
	neighbours []Submission
	// families are all submissions of each domain, in whatever zone.
	families map[dnsrecord.Name][]Submission
	memories map[dnsrecord.Name]memory
	// hearing: objects that have not told of their records yet may still do so.
	hearing bool
}

// spawn gives the worker a goroutine, or its goroutine a nudge. Call with the lock.
func (q *Queue) spawn(w *worker) {
	if q.ctx == nil || q.ctx.Err() != nil {
		return
	}
	if w.running {
		select {
		case w.kick <- struct{}{}:
		default:
		}
		return
	}
	w.running = true
	ctx := q.ctx
	q.wg.Go(func() { q.work(ctx, w) })
}

func (q *Queue) work(ctx context.Context, w *worker) {
	for {
		b, wait, more := q.take(ctx, w)
		switch {
		case !more:
			return
		case b == nil:
			sleep(ctx, wait, w.kick)
		default:
			r := newRound(q, b)
			r.run(ctx)
			q.deliver(ctx, w, r)
		}
	}
}

func sleep(ctx context.Context, wait time.Duration, kick <-chan struct{}) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-ctx.Done():
	}
}

// take returns what is due, or how long to wait, or that the worker's goroutine has nothing left to do.
func (q *Queue) take(ctx context.Context, w *worker) (b *batch, wait time.Duration, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.opts.Now()
	broad, isBroad := w.account.Driver.(Broad)
	gather := time.Duration(0)
	if isBroad {
		gather = q.opts.Gather
	}
	next, found := w.next(gather)
	if !found || ctx.Err() != nil {
		w.running = false
		q.retire(w)
		return nil, 0, false
	}
	if next.After(now) {
		return nil, next.Sub(now), true
	}
	b = &batch{account: w.account, zone: w.key.zone, hearing: now.Sub(q.started) < q.opts.Hearing}
	limit := defaultBatch
	if isBroad {
		limit = broad.Batch()
	}
	due, taken := w.due(now), map[Owner]bool{}
	for _, e := range due[:min(len(due), limit)] {
		e.dirty, e.running, taken[e.sub.Owner] = false, true, true
		b.jobs = append(b.jobs, &job{sub: e.wanted(), want: e.want, full: e.full})
	}
	for _, e := range w.entries {
		if !taken[e.sub.Owner] {
			b.neighbours = append(b.neighbours, e.sub)
		}
	}
	slices.SortFunc(b.jobs, func(x, y *job) int { return x.sub.Owner.compare(y.sub.Owner) })
	q.gather(w, b)
	return b, 0, true
}

// due are the entries that may run now; whoever waits longest comes first. Call with the lock.
func (w *worker) due(now time.Time) []*entry {
	var all []*entry
	for _, e := range w.entries {
		if e.dirty && !e.due.After(now) {
			all = append(all, e)
		}
	}
	waits := func(e *entry) time.Time {
		if e.due.IsZero() {
			return e.since
		}
		return e.due
	}
	slices.SortFunc(all, func(x, y *entry) int { return cmp.Or(waits(x).Compare(waits(y)), x.sub.Owner.compare(y.sub.Owner)) })
	return all
}

// gather collects what is known of the domains of the batch. Call with the lock.
func (q *Queue) gather(w *worker, b *batch) {
	b.families, b.memories = map[dnsrecord.Name][]Submission{}, map[dnsrecord.Name]memory{}
	for _, j := range b.jobs {
		domain := j.sub.Domain
		if _, ok := b.families[domain]; ok {
			continue
		}
		b.memories[domain] = w.domains[domain]
		for _, e := range q.domains[domain] {
			b.families[domain] = append(b.families[domain], e.sub)
		}
	}
}

// next returns when the first dirty entry is due; what is not waiting for a next attempt waits for others to gather. Call
// with the lock.
func (w *worker) next(gather time.Duration) (at time.Time, found bool) {
	for _, e := range w.entries {
		due := e.due
		if due.IsZero() {
			due = e.since.Add(gather)
		}
		if e.dirty && (!found || due.Before(at)) {
			at, found = due, true
		}
	}
	if at.Before(w.notBefore) {
		at = w.notBefore
	}
	return at, found
}

// deliver stores the results and plans the next attempts.
func (q *Queue) deliver(ctx context.Context, w *worker, r *round) {
	stale := q.store(ctx, w, r)
	for key := range stale {
		q.opts.Accounts.Stale(key)
	}
}

func (q *Queue) store(ctx context.Context, w *worker, r *round) map[ProviderKey]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	stale := map[ProviderKey]bool{}
	now := q.opts.Now()
	for _, j := range r.jobs {
		e, ok := q.entries[j.sub.Owner]
		if !ok || e.worker != w {
			continue // forgotten or moved meanwhile
		}
		e.running = false
		if ctx.Err() != nil {
			e.dirty = true // cut off: no answer at all
			continue
		}
		if r.unauthorized {
			stale[j.sub.Provider] = true
		}
		q.plan(e, j, now)
		if j.retryAfter > 0 && now.Add(j.retryAfter).After(w.notBefore) {
			w.notBefore = now.Add(j.retryAfter)
		}
		j.result.Fingerprint, j.result.Time = j.want, now
		j.result.Outcomes = e.remember(j.sub.Wishes, j.result.Outcomes, now)
		q.answer(e, j.result)
	}
	if ctx.Err() == nil {
		q.tellDomains(w, r, now)
	}
	return stale
}

// deed is what the queue did to a record for the sake of a value: the owner may have read none of the answers that told.
type deed struct {
	value    string
	time     time.Time
	from     []string
	replaced string
	// contested: somebody else's record stood there when it was looked at last. What is left of the two is not ours to
	// replace, whatever a status says that has not heard of it yet.
	contested bool
}

// remember adds to each outcome what was done for the same wish before: by an earlier run whose answer the owner may never
// have read, or by a call whose own answer never came.
func (e *entry) remember(wishes []dnsplan.Wish, outcomes []dnsplan.Outcome, now time.Time) []dnsplan.Outcome {
	if len(outcomes) != len(wishes) {
		return outcomes // an error: it undoes nothing
	}
	outcomes = slices.Clone(outcomes)
	deeds := map[dnsplan.Key]deed{}
	for i, w := range wishes {
		o, last := &outcomes[i], e.deeds[w.Key()]
		if last.value != w.Value {
			last = deed{value: w.Value}
		}
		last.replaced = cmp.Or(o.Replaced, last.replaced)
		if o.Changed {
			last.time, last.from = now, o.Found
		}
		last.contested = o.State == dnsplan.Conflict || last.contested && o.State != dnsplan.InPlace
		o.Replaced = ""
		if o.Changed || o.State == dnsplan.InPlace {
			o.ChangedTime, o.ChangedFrom, o.Replaced = last.time, last.from, last.replaced
		}
		deeds[w.Key()] = last
	}
	e.deeds = deeds
	return outcomes
}

// wanted is the submission as it may be carried out: nothing is ours any more where others' records stood beside it.
func (e *entry) wanted() Submission {
	s := e.sub
	s.Wishes = slices.Clone(s.Wishes)
	for i, w := range s.Wishes {
		if last := e.deeds[w.Key()]; w.Value != "" && last.value == w.Value && last.contested {
			s.Wishes[i].Ours = nil
		}
	}
	return s
}

// plan decides whether and when the entry runs again. Call with the lock.
func (q *Queue) plan(e *entry, j *job, now time.Time) {
	if e.dirty || e.want != j.want {
		// Something else is wanted by now, or a new look at the same.
		e.hurry(now)
		return
	}
	if e.full != j.full && !j.result.Settled() {
		e.hurry(now) // what is ours has changed meanwhile
		return
	}
	wait, again := q.backoff(j, e.attempts)
	if !again {
		e.attempts = 0
		return
	}
	e.attempts++
	e.dirty, e.due = true, now.Add(wait)
}

// backoff returns how long to wait before the next attempt, if there is to be one.
func (q *Queue) backoff(j *job, attempts int) (time.Duration, bool) {
	first, last := firstRetry, lastRetry
	var e *Error
	switch {
	case errors.As(j.result.Err, &e):
		if !e.Temporary() {
			first, last = firstLongRetry, lastLongRetry
		}
	case !j.retry:
		return 0, false
	case j.held:
		first, last = firstLongRetry, lastLongRetry
	}
	wait := last
	if attempts < 16 {
		wait = min(last, first<<attempts)
	}
	wait = time.Duration(float64(wait) * (0.75 + 0.5*q.opts.Jitter()))
	return max(wait, j.retryAfter), true
}

// tellDomains remembers the markers, and tells the other objects of a domain of
// a new generation: whoever remembers an old one would take it for a stranger's
// after a restart. Who was told of a rival that is none any more is answered anew:
// the objects of a domain do not learn at the same moment that it was taken over. Call with the lock.
func (q *Queue) tellDomains(w *worker, r *round, now time.Time) {
	for name, d := range r.domains {
		if !d.judged || d.standing.Conflict != "" {
			continue
		}
		w.domains[name] = memory{generation: d.standing.Marker.Generation, digests: d.standing.Marker.Digests}
		for _, e := range w.entries {
			if e.sub.Domain == name && e.answered {
				q.tell(e, d.standing, now)
			}
		}
	}
}

// tell brings an answer up to date with a marker. Call with the lock.
func (q *Queue) tell(e *entry, s dnsplan.Standing, now time.Time) {
	if e.result.Rival != "" && !e.running {
		e.hurry(now)
	}
	if e.result.MarkerGeneration >= s.Marker.Generation {
		return
	}
	told := e.result
	told.MarkerGeneration, told.MarkerValue = s.Marker.Generation, s.Value()
	q.answer(e, told)
}

// sameResult compares what an owner would act upon.
func sameResult(a, b Result) bool {
	if (a.Err == nil) != (b.Err == nil) || a.Err != nil && a.Err.Error() != b.Err.Error() {
		return false
	}
	a.Err, b.Err, a.Time, b.Time = nil, nil, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}
