// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package thirdparty looks at the records of others that ours depend on: what an SPF record includes, and whether those who
// get the reports about a domain have permitted it. They change without us, so they are looked at again every two hours.
//
//	Watch ──► due ──► Evaluate, Permits (the only questions, through dnscheck.Inquiry) ──► Findings, Tell
//
// Whoever owns an included record chooses what is asked next: the terms of a tree are bounded, and so are the questions of
// one look and its time.
package thirdparty

import (
	"cmp"
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// Subject is what is looked at for one domain. The zero Subject needs no look.
type Subject struct {
	Domain dnsrecord.Name
	// SPF is the record as it is published, or is to be; "" if it is not ours.
	SPF string
	// Destinations are the domains that reports go to.
	Destinations []dnsrecord.Name
	Policy       dnscheck.Policy
}

func (s Subject) empty() bool {
	return s.SPF == "" && len(s.Destinations) == 0 || s.Policy.Mode == dnscheck.None
}

// Findings are what the records of others said at the last look.
type Findings struct {
	Tree Tree // of Subject.SPF
	// Refusing are the destinations that permit no reports.
	Refusing []dnsrecord.Name
	// Unread are the destinations that nobody could ask.
	Unread []dnsrecord.Name
}

func (f Findings) complete() bool { return f.Tree.Unread == "" && len(f.Unread) == 0 }

// Options configure a Watch.
type Options struct {
	Now func() time.Time
	// After is time.After when nil.
	After func(time.Duration) <-chan time.Time
	// Inquire begins the questions of one look.
	Inquire func(dnscheck.Policy) DNS
	// Tell hears which owner's findings changed.
	Tell func(ctx context.Context, owner string)
	// Interval is the mean time between two looks; 2 hours when 0, as docs/probing.md computes with.
	Interval time.Duration
	// Retry is the time after a look at which something could not be asked, 5 minutes when 0, and Patience how long that
	// may go on before it is a finding; an hour when 0.
	Retry, Patience time.Duration
}

const (
	workers     = 2
	lookTimeout = 5 * time.Minute
	shortSleep  = time.Minute // with nothing due
)

// Watch looks at the subjects of its owners. Its methods may be called from any goroutine and never wait for the DNS.
type Watch struct {
	options Options
	kick    chan struct{}

	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	owner   string
	subject Subject
	due     time.Time
	running bool
	failing time.Time // since when looks are incomplete; zero if the last one was complete

	found    bool
	findings Findings
}

// New makes a Watch; nobody is asked before Start.
func New(o Options) *Watch {
	if o.After == nil {
		o.After = time.After
	}
	o.Interval, o.Retry, o.Patience = cmp.Or(o.Interval, 2*time.Hour), cmp.Or(o.Retry, 5*time.Minute), cmp.Or(o.Patience, time.Hour)
	return &Watch{options: o, kick: make(chan struct{}, workers), entries: map[string]*entry{}}
}

// Watch replaces what is looked at for an owner. What the owner knows already, from before a restart, is looked at within
// the interval, so that the looks of all stay spread; the rest at once.
func (w *Watch) Watch(owner string, s Subject, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[owner]
	switch {
	case s.empty():
		delete(w.entries, owner)
		return
	case e != nil && reflect.DeepEqual(e.subject, s):
		return
	}
	s.Destinations, s.Policy.Nameservers = slices.Clone(s.Destinations), slices.Clone(s.Policy.Nameservers)
	due := w.options.Now()
	if known {
		due = due.Add(time.Duration(rand.Float64() * float64(w.options.Interval))) //nolint:gosec // jitter is no secret
	}
	w.entries[owner] = &entry{owner: owner, subject: s, due: due}
	w.nudge()
}

// Forget ends what is looked at for an owner.
func (w *Watch) Forget(owner string) { w.Watch(owner, Subject{}, false) }

// Findings are those of the owner's very subject; false if nobody has looked yet. They are not to be changed.
func (w *Watch) Findings(owner string, s Subject) (Findings, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.entries[owner]; e != nil && e.found && reflect.DeepEqual(e.subject, s) {
		return e.findings, true
	}
	return Findings{}, false
}

// Start looks until ctx ends, and returns nil then.
func (w *Watch) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error { w.work(ctx); return nil })
	}
	return group.Wait()
}

func (w *Watch) nudge() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *Watch) work(ctx context.Context) {
	for ctx.Err() == nil {
		e, sleep := w.take()
		if e != nil {
			w.settle(ctx, e, look(ctx, w.options.Inquire(e.subject.Policy), e.subject))
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.kick:
		case <-w.options.After(sleep):
		}
	}
}

// take returns the entry that is due for the longest, or how long none will be.
func (w *Watch) take() (*entry, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next *entry
	for _, e := range w.entries {
		if !e.running && (next == nil || e.due.Before(next.due)) {
			next = e
		}
	}
	if next == nil {
		return nil, shortSleep
	}
	if wait := next.due.Sub(w.options.Now()); wait > 0 {
		return nil, min(wait, shortSleep)
	}
	next.running = true
	return next, 0
}

// look asks everything that a subject needs.
func look(ctx context.Context, dns DNS, s Subject) Findings {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var f Findings
	if record, err := spf.Parse(s.SPF); s.SPF != "" && err == nil {
		f.Tree = Evaluate(ctx, dns, s.Domain, record)
	}
	for _, d := range s.Destinations {
		switch permits, err := Permits(ctx, dns, s.Domain, d); {
		case err != nil:
			f.Unread = append(f.Unread, d)
		case !permits:
			f.Refusing = append(f.Refusing, d)
		}
	}
	return f
}

// settle takes a look in. What nobody could answer is a finding only after a while: it is said to people, and most of it
// ends by itself.
func (w *Watch) settle(ctx context.Context, e *entry, f Findings) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	now := w.options.Now()
	e.running = false
	e.due = now.Add(time.Duration((0.75 + rand.Float64()/2) * float64(w.options.Interval))) //nolint:gosec // jitter is no secret
	news := false
	switch {
	case f.complete():
		e.failing = time.Time{}
		news = !e.found || !reflect.DeepEqual(e.findings, f)
	case e.failing.IsZero():
		e.failing = now
		e.due = now.Add(w.options.Retry)
	default:
		e.due = now.Add(w.options.Retry)
		news = now.Sub(e.failing) >= w.options.Patience && !reflect.DeepEqual(e.findings, f)
	}
	if news {
		e.found, e.findings = true, f
	}
	news = news && w.entries[e.owner] == e
	w.mu.Unlock()
	if news {
		w.options.Tell(ctx, e.owner)
	}
}
