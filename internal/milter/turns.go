// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"slices"
	"sync"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// turns lends processors to signatures, one signature a turn.
//
// RSA is nothing but computing: more signatures at once than processors only
// make each wait longer. Domains that wait are served in a round, so one with
// 32 keys or a thousand messages delays another by a signature, not by all of
// its own. And a domain that has no turn need not wait until one whose keys hang
// gives one back: there is a reserve for it.
type turns struct {
	processors, reserve int

	mu      sync.Mutex
	lent    int
	held    map[dnsrecord.Name]int
	waiting map[dnsrecord.Name][]chan struct{} // first come first
	round   []dnsrecord.Name                   // those that wait, whose turn is next first
}

func newTurns(processors int) *turns {
	return &turns{
		processors: processors, reserve: 3 * processors,
		held: map[dnsrecord.Name]int{}, waiting: map[dnsrecord.Name][]chan struct{}{},
	}
}

// take waits for a turn. The error is that of ctx, and then there is nothing to give back.
func (t *turns) take(ctx context.Context, domain dnsrecord.Name) error {
	turn := t.ask(domain)
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !t.leave(domain, turn) { // It came in the same moment.
		t.give(domain)
	}
	return ctx.Err()
}

// give ends a turn.
func (t *turns) give(domain dnsrecord.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lent--
	if t.held[domain]--; t.held[domain] == 0 {
		delete(t.held, domain)
	}
	t.serve()
}

// free tells whether a domain may have one more turn now.
func (t *turns) free(domain dnsrecord.Name) bool {
	return t.lent < t.processors || t.held[domain] == 0 && t.lent < t.processors+t.reserve
}

func (t *turns) lend(domain dnsrecord.Name) {
	t.lent++
	t.held[domain]++
}

// ask lends a turn at once, or returns what is closed when it comes. Whoever
// waits may not have one, so nobody is overtaken.
func (t *turns) ask(domain dnsrecord.Name) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free(domain) {
		t.lend(domain)
		return nil
	}
	turn := make(chan struct{})
	if len(t.waiting[domain]) == 0 {
		t.round = append(t.round, domain)
	}
	t.waiting[domain] = append(t.waiting[domain], turn)
	return turn
}

// leave gives up waiting, and is false if the turn has come.
func (t *turns) leave(domain dnsrecord.Name, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[domain], turn)
	if i < 0 {
		return false
	}
	t.waiting[domain] = slices.Delete(t.waiting[domain], i, i+1)
	if len(t.waiting[domain]) == 0 {
		delete(t.waiting, domain)
		t.round = slices.DeleteFunc(t.round, func(d dnsrecord.Name) bool { return d == domain })
	}
	return true
}

// serve lends what is free to those that wait, round after round.
func (t *turns) serve() {
	for i := 0; i < len(t.round); {
		domain := t.round[i]
		if !t.free(domain) {
			i++
			continue
		}
		t.lend(domain)
		close(t.waiting[domain][0])
		t.round = slices.Delete(t.round, i, i+1)
		if t.waiting[domain] = t.waiting[domain][1:]; len(t.waiting[domain]) == 0 {
			delete(t.waiting, domain)
		} else {
			t.round = append(t.round, domain)
		}
	}
}
