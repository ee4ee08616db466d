// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	defaultMaxCalls = 16
	// defaultHearing is how long after the start a marker may list records of
	// which no object has told yet, before that means a second copy of us.
	defaultHearing = 2 * time.Minute
	// defaultGather is how long the first submission waits for others that come with it: the objects of a domain, and
	// those of many domains, are reconciled one after the other.
	defaultGather = 2 * time.Second
)

// Options make a Queue.
type Options struct {
	// OwnerID is the installation's --owner-id.
	OwnerID  string
	Accounts *Accounts
	Now      func() time.Time
	// Jitter returns a number from 0 to 1 for the waits between attempts; random if nil.
	Jitter func() float64
	// MaxCalls is how many calls to the providers of a namespace run at the same time; 16 if 0.
	MaxCalls int
	// Hearing is how long after Start the objects of a domain may take to tell
	// of their records, before records that nobody knows mean that a second copy
	// of this installation writes them; 2 minutes if 0.
	Hearing time.Duration
	// Removals limits how many records may go without a person's word. Census counts those of the installation; without it
	// nothing is held.
	Removals brake.Limit
	Census   func(context.Context) (brake.Census, error)
	// Gather is how long a submission waits for others to share its calls, at drivers to which many cost little more
	// than few (Broad); 2 seconds if 0.
	Gather time.Duration
}

// Queue carries out submissions, one worker for each (account, zone).
//
// No lock is held while a provider is spoken to. Safe for concurrent use.
type Queue struct {
	opts  Options
	owner string // hash
	calls *lanes
	gate  *gate
	wake  *wakeSet[Owner]
	wg    sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context // nil unless running
	started time.Time
	entries map[Owner]*entry
	domains map[dnsrecord.Name]map[Owner]*entry
	workers map[workerKey]*worker
}

// entry is what one owner submitted, and what became of it. Guarded by Queue.mu.
type entry struct {
	sub        Submission
	want, full string // fingerprints of sub
	worker     *worker

	dirty    bool      // to be run, from due on
	due      time.Time // zero: as soon as what belongs together has gathered
	since    time.Time // dirty with no due time from here on
	running  bool
	attempts int // in a row that did not end well

	answered bool
	result   Result
	deeds    map[dnsplan.Key]deed // at the names of the last answer
}

// hurry has the entry run without waiting for a next attempt. Guarded by Queue.mu.
func (e *entry) hurry(now time.Time) {
	if !e.dirty || !e.due.IsZero() {
		e.since = now
	}
	e.dirty, e.due = true, time.Time{}
}

// NewQueue returns a queue; nothing runs before Start.
func NewQueue(opts Options) *Queue {
	if opts.Jitter == nil {
		opts.Jitter = rand.Float64
	}
	if opts.MaxCalls <= 0 {
		opts.MaxCalls = defaultMaxCalls
	}
	if opts.Hearing <= 0 {
		opts.Hearing = defaultHearing
	}
	if opts.Gather <= 0 {
		opts.Gather = defaultGather
	}
	q := &Queue{
		opts:    opts,
		owner:   dnsplan.OwnerHash(opts.OwnerID),
		calls:   newLanes(opts.MaxCalls),
		gate:    newGate(opts),
		wake:    newWakeSet[Owner](),
		entries: map[Owner]*entry{},
		domains: map[dnsrecord.Name]map[Owner]*entry{},
		workers: map[workerKey]*worker{},
	}
	opts.Accounts.onChange(q.accountChanged)
	return q
}

// Start works until ctx ends and the calls under way have come back; it always
// returns nil. Run it once, on the leader only.
func (q *Queue) Start(ctx context.Context) error {
	q.mu.Lock()
	q.ctx, q.started = ctx, q.opts.Now()
	q.wg.Go(func() { q.wake.run(ctx.Done()) })
	q.wg.Go(func() { q.opts.Accounts.wake.run(ctx.Done()) })
	for _, e := range q.entries {
		q.dispatch(e) //nolint:contextcheck // workers run on the context that was just stored
	}
	q.mu.Unlock()

	<-ctx.Done()
	q.mu.Lock()
	q.ctx = nil // no new worker from here on
	q.mu.Unlock()
	q.wg.Wait()
	return nil
}

// NeedLeaderElection tells the manager to start the queue on the leader only.
func (q *Queue) NeedLeaderElection() bool { return true }

// Submit replaces what the owner wanted before. It never waits. What is settled
// already is not done again, and what waits for its next attempt goes on waiting
// unless something else is wanted now.
func (q *Queue) Submit(s Submission) {
	want, full := s.Fingerprint(), s.fullFingerprint()
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[s.Owner]
	if !ok {
		e = &entry{}
		q.entries[s.Owner] = e
	}
	same := ok && e.want == want && (e.full == full || e.dirty || e.running || e.result.Settled())
	q.unlist(e)
	e.sub, e.want, e.full = s, want, full
	q.list(e)
	if same {
		return
	}
	e.attempts = 0
	e.hurry(q.opts.Now())
	q.dispatch(e)
}

// Recheck reads the owner's records again and repairs them, although nothing else
// is wanted. What was answered before is no answer any more. A retry that waits already is not hurried.
func (q *Queue) Recheck(o Owner) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[o]; ok && !e.dirty {
		e.answered = false
		e.hurry(q.opts.Now())
		q.dispatch(e)
	}
}

// Result returns the last answer to what the owner submitted. Do not change it.
func (q *Queue) Result(o Owner) (Result, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[o]
	if !ok || !e.answered {
		return Result{}, false
	}
	return e.result, true
}

// Forget drops what the owner submitted. Its records stay.
func (q *Queue) Forget(o Owner) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[o]; ok {
		q.leave(e)
		q.unlist(e)
		delete(q.entries, o)
	}
}

// Wake yields the owners whose result has changed. It has one reader and runs while Start does.
func (q *Queue) Wake() <-chan Owner { return q.wake.out }

// accountChanged runs everything of a provider object again.
func (q *Queue) accountChanged(key ProviderKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if e.sub.Provider == key {
			e.attempts = 0
			e.hurry(q.opts.Now())
			q.dispatch(e)
		}
	}
}

// dispatch hands a dirty entry to the worker of its account and zone. Call with the lock.
func (q *Queue) dispatch(e *entry) {
	if !e.dirty {
		return
	}
	account, ok := q.opts.Accounts.Get(e.sub.Provider)
	if !ok {
		q.leave(e)
		q.answer(e, Result{Fingerprint: e.want, MarkerGeneration: e.sub.RememberedGeneration, Time: q.opts.Now(), Err: notReady(e.sub.Provider)})
		return
	}
	key := workerKey{fingerprint: account.Fingerprint, zone: e.sub.Zone}
	if e.worker == nil || e.worker.key != key {
		q.leave(e)
		q.join(e, key)
	}
	e.worker.account = account
	q.spawn(e.worker)
}

func notReady(key ProviderKey) error {
	return newError(NotReady, nil, key.Kind+" "+key.Name+" is not ready: its own conditions say why")
}

// join and leave keep entry and worker in step. Call with the lock.
func (q *Queue) join(e *entry, key workerKey) {
	w, ok := q.workers[key]
	if !ok {
		w = &worker{key: key, entries: map[Owner]*entry{}, domains: map[dnsrecord.Name]memory{}, kick: make(chan struct{}, 1)}
		q.workers[key] = w
	}
	w.entries[e.sub.Owner] = e
	e.worker = w
}

func (q *Queue) leave(e *entry) {
	w := e.worker
	if w == nil {
		return
	}
	e.worker = nil
	delete(w.entries, e.sub.Owner)
	q.retire(w)
}

// retire drops a worker without entries. One that runs is kept until it has
// come back, so that a zone never has two. Call with the lock.
func (q *Queue) retire(w *worker) {
	if len(w.entries) == 0 && !w.running && q.workers[w.key] == w {
		delete(q.workers, w.key)
	}
}

// list and unlist keep the entries of each domain. Call with the lock.
func (q *Queue) list(e *entry) {
	family, ok := q.domains[e.sub.Domain]
	if !ok {
		family = map[Owner]*entry{}
		q.domains[e.sub.Domain] = family
	}
	family[e.sub.Owner] = e
}

func (q *Queue) unlist(e *entry) {
	family := q.domains[e.sub.Domain]
	delete(family, e.sub.Owner)
	if len(family) > 0 {
		return
	}
	delete(q.domains, e.sub.Domain)
	for _, w := range q.workers {
		delete(w.domains, e.sub.Domain)
	}
}

// answer stores a result and wakes the owner if it says something new. Call with the lock.
func (q *Queue) answer(e *entry, r Result) {
	news := !e.answered || !sameResult(e.result, r)
	e.answered, e.result = true, r
	if news {
		q.wake.add(e.sub.Owner)
	}
}
