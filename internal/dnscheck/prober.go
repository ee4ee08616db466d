// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Prober watches targets. Its methods may be called from any goroutine and
// never wait for the DNS, but for Zone.
type Prober struct {
	options  Options
	surveyor *surveyor
	kick     chan struct{} // wakes a worker that waits for something to be due
	wake     *bell

	mu      sync.Mutex
	targets map[dnsrecord.Name][]*entry
	agenda  agenda
	owners  map[string][]*entry
	failing map[place]failing
}

// entry is a target that someone watches.
type entry struct {
	target Target
	policy Policy
	owners map[string]Policy
	memory memory

	due     time.Time
	at      int // on the agenda, from 1; 0 if it is not there
	running bool
	asked   bool // Sweep was called since the last sweep began
	gone    bool
	missed  int // samples in a row that no server answered
}

// Bounds of a prober.
const (
	maxMissed     = 3               // samples in a row without an answer before a sweep looks closer
	surveyTimeout = 5 * time.Minute // a survey that takes longer has failed
	longestSleep  = time.Minute     // of a worker with nothing due
)

// New makes a prober; nothing is asked before Start.
func New(o Options) *Prober {
	o = o.withDefaults()
	hasRoute := o.HasRoute
	if hasRoute == nil {
		hasRoute = systemRoute
	}
	private := slices.ContainsFunc(o.Roots, func(root netip.AddrPort) bool { return !isPublic(root.Addr()) })
	r := newResolver(&client{timeout: o.Timeout, exchange: overNetwork, hasRoute: hasRoute, pace: newPace(o), private: private}, o)
	return &Prober{
		options: o, surveyor: &surveyor{resolver: r, resolvConf: o.ResolvConf},
		kick: make(chan struct{}, o.Workers), wake: newBell(),
		targets: map[dnsrecord.Name][]*entry{}, owners: map[string][]*entry{}, failing: map[place]failing{},
	}
}

// Start asks until ctx ends, and returns nil then.
func (p *Prober) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range p.options.Workers {
		group.Go(func() error { p.work(ctx); return nil })
	}
	group.Go(func() error { p.wake.ring(ctx); return nil })
	return group.Wait()
}

// Wake delivers the owner of a target whose verdict changed, or whose sweep,
// asked for by Sweep, has ended. An owner who is waiting to be delivered is not queued again.
func (p *Prober) Wake() <-chan string { return p.wake.out }

// Watch replaces what an owner watches. A target that two owners watch has one
// verdict, under the policy of the owner who comes first in the alphabet.
func (p *Prober) Watch(owner string, policy Policy, targets []Target) {
	policy.Nameservers = slices.Clone(policy.Nameservers)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	before := p.owners[owner]
	var after []*entry
	for _, t := range targets {
		e := p.entry(t, policy, now)
		if !slices.Contains(after, e) {
			after = append(after, e)
		}
		e.owners[owner] = policy
		p.adopt(e, now)
	}
	for _, e := range before {
		if !slices.Contains(after, e) {
			delete(e.owners, owner)
			p.dropUnowned(e)
			p.adopt(e, now)
		}
	}
	p.owners[owner] = after
	if len(after) == 0 {
		delete(p.owners, owner)
	}
	p.nudge()
}

// Forget ends everything that an owner watches.
func (p *Prober) Forget(owner string) { p.Watch(owner, Policy{}, nil) }

// entry finds or makes the entry for a target of this policy.
func (p *Prober) entry(t Target, policy Policy, now time.Time) *entry {
	if e := p.find(t); e != nil {
		return e
	}
	e := &entry{target: t, owners: map[string]Policy{}, memory: newMemory(now, p.options.MinimumWait), due: now}
	// What stood here until now is what caches hold; not what servers said that somebody else has named.
	for _, old := range p.targets[t.Name] {
		if old.target.Type == t.Type && old.target.Kind == t.Kind && old.policy.equal(policy) {
			e.memory.highest = higher(e.memory.highest, old.memory.former(t.Name))
		}
	}
	p.targets[t.Name] = append(p.targets[t.Name], e)
	return e
}

// adopt gives an entry the policy of its first owner. Under another policy
// what was found before means nothing; what caches hold stays.
func (p *Prober) adopt(e *entry, now time.Time) {
	if len(e.owners) == 0 {
		return
	}
	policy := e.owners[slices.Min(slices.Collect(maps.Keys(e.owners)))]
	if e.policy.equal(policy) && e.policy.Mode != "" {
		return
	}
	policy.Mode = policy.mode()
	e.policy = policy
	highest, ttl := e.memory.highest, e.memory.ttl
	e.memory = newMemory(now, p.options.MinimumWait)
	e.memory.highest, e.memory.ttl = highest, ttl
	e.due, e.missed = now, 0
	p.agenda.put(e)
	if policy.Mode == None {
		v := &e.memory.verdict
		v.State, v.SweptAt = Unchecked, now
		p.wake.add(slices.Collect(maps.Keys(e.owners)))
	}
}

func (p *Prober) find(t Target) *entry {
	for _, e := range p.targets[t.Name] {
		if e.target == t {
			return e
		}
	}
	return nil
}

func (p *Prober) dropUnowned(e *entry) {
	if len(e.owners) > 0 {
		return
	}
	e.gone = true
	p.agenda.put(e)
	left := slices.DeleteFunc(p.targets[e.target.Name], func(o *entry) bool { return o == e })
	p.targets[e.target.Name] = left
	if len(left) == 0 {
		delete(p.targets, e.target.Name)
	}
}

// Verdict returns what is known about a target; false if nobody watches it.
// The slices in it are shared: they are not to be changed.
func (p *Prober) Verdict(t Target) (Verdict, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.find(t); e != nil {
		return e.memory.verdict, true
	}
	return Verdict{}, false
}

// Sweep asks for a full sweep of a target that begins after this call, with
// its zone's servers found anew. Wake tells when it has ended, and
// Verdict.SweptAt is then not before this call.
func (p *Prober) Sweep(t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.find(t)
	if e == nil {
		return
	}
	e.asked, e.due = true, p.options.Now()
	if e.policy.mode() == None {
		e.asked, e.memory.verdict.SweptAt = false, e.due
		p.wake.add(slices.Collect(maps.Keys(e.owners)))
	}
	p.agenda.put(e)
	p.nudge()
}

// Zone finds the zone that a name is in, by asking the authoritative servers
// from the root on. It waits for them; what it learns is kept as long as the
// TTL allows.
func (p *Prober) Zone(ctx context.Context, name dnsrecord.Name) (ZoneInfo, error) {
	z, err := p.surveyor.resolver.walk().zone(ctx, name)
	if err != nil {
		return ZoneInfo{}, err
	}
	return z.ZoneInfo, nil
}

// nudge wakes a worker; when all have been nudged there is nothing to add.
func (p *Prober) nudge() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// work surveys what is due until ctx ends.
func (p *Prober) work(ctx context.Context) {
	for ctx.Err() == nil {
		e, sleep := p.take()
		if e != nil {
			p.check(ctx, e)
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.kick:
		case <-p.options.After(sleep):
		}
	}
}

// take returns an entry that is due, or how long none will be.
func (p *Prober) take() (*entry, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	if len(p.agenda) == 0 {
		return nil, longestSleep
	}
	next := p.agenda[0]
	if next.due.After(now) {
		return nil, min(next.due.Sub(now), longestSleep)
	}
	next.running = true
	p.agenda.put(next)
	if len(p.agenda) > 0 && !p.agenda[0].due.After(now) {
		p.nudge()
	}
	return next, 0
}

// check surveys one entry: a sample while all is well, else a full sweep.
func (p *Prober) check(ctx context.Context, e *entry) {
	p.mu.Lock()
	began, asked, policy := p.options.Now(), e.asked, e.policy
	e.asked = false
	delegation := e.target.Type == dnsrecord.NS // one server cannot speak for parent and zone
	steady := e.memory.verdict.State == Verified && !asked && !delegation
	p.mu.Unlock()

	if steady && p.sample(ctx, e, policy) {
		p.reschedule(e)
		return
	}
	if asked || delegation {
		p.refresh(e)
	}
	s, err := p.survey(ctx, e, policy, p.surveyor.sweep)
	if err != nil {
		p.reschedule(e)
		return
	}
	p.settle(e, policy, s, began, asked)
}

// refresh makes the next sweep find the servers of every zone involved anew.
func (p *Prober) refresh(e *entry) {
	p.surveyor.resolver.forget(e.target.Name)
	p.mu.Lock()
	servers := e.memory.verdict.Servers
	p.mu.Unlock()
	for _, s := range servers {
		p.surveyor.resolver.forget(s.Asked)
	}
}

type surveyFunc func(context.Context, Target, Policy) (survey, error)

// survey runs one survey; the error is that the program ends.
func (p *Prober) survey(ctx context.Context, e *entry, policy Policy, run surveyFunc) (survey, error) {
	limited, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	s, err := run(limited, e.target, policy)
	if err != nil && ctx.Err() == nil {
		return survey{nodes: []node{{name: e.target.Name, failure: "the name servers for " + e.target.Name.String() + " take too long to answer"}}}, nil
	}
	return s, err
}

// sample asks one server of each name, and says whether that is enough.
func (p *Prober) sample(ctx context.Context, e *entry, policy Policy) bool {
	s, err := p.survey(ctx, e, policy, p.surveyor.sample)
	if err != nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteFailing(s)
	f := sampled(e.target, s)
	if f.state == Unreachable {
		e.missed++
		return e.missed < maxMissed
	}
	e.missed = 0
	v := e.memory.verdict
	return f.state == Verified && carriage(f.size, f.plain) == carriage(v.AnswerSize, v.PlainSize)
}

// sampled is what a sample found: that is the last answer at every node, the
// only one that said something, if any did.
func sampled(t Target, s survey) finding {
	for i, n := range s.nodes {
		s.nodes[i].answers = n.answers[max(0, len(n.answers)-1):]
	}
	return judge(t, s, patience{})
}

// settle takes a full sweep in.
func (p *Prober) settle(e *entry, policy Policy, s survey, began time.Time, asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	p.noteFailing(s)
	if e.gone || !e.policy.equal(policy) {
		e.running = false
		p.agenda.put(e)
		p.nudge()
		return
	}
	f := judge(e.target, s, patience{now: now, since: p.since(s), limit: p.options.Patience, strict: policy.Strict})
	changed := e.memory.remember(f, began, now, p.options.MinimumWait)
	e.missed = 0
	p.plan(e, now)
	if changed || asked {
		p.wake.add(slices.Collect(maps.Keys(e.owners)))
	}
}

// reschedule plans the next check after one that brought nothing new.
func (p *Prober) reschedule(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan(e, p.options.Now())
}

// plan says when an entry is due again; the caller holds the lock.
func (p *Prober) plan(e *entry, now time.Time) {
	o := p.options
	e.running = false
	switch {
	case e.asked:
		e.due = now
	case e.memory.verdict.State == Verified && e.missed == 0:
		e.due = now.Add(steadyDelay(o.Interval, rand.Float64())) //nolint:gosec // jitter is no secret
	case e.memory.verdict.State == Verified:
		e.due = now.Add(o.RetryMax)
	default:
		e.due = now.Add(retryDelay(now.Sub(e.memory.unverifiedSince), o.RetryMin, o.RetryMax, o.Interval))
	}
	p.agenda.put(e)
	p.nudge()
}
