// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"slices"
	"sync"
)

// bell tells a listener which owners have something to look at. Adding never
// waits, and an owner who waits to be delivered is in the queue once.
type bell struct {
	out   chan string
	added chan struct{}

	mu    sync.Mutex
	queue []string
}

func newBell() *bell {
	return &bell{out: make(chan string), added: make(chan struct{}, 1)}
}

func (b *bell) add(owners []string) {
	slices.Sort(owners)
	b.mu.Lock()
	for _, owner := range owners {
		if !slices.Contains(b.queue, owner) {
			b.queue = append(b.queue, owner)
		}
	}
	b.mu.Unlock()
	select {
	case b.added <- struct{}{}:
	default:
	}
}

// take removes the first of the queue.
func (b *bell) take() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return "", false
	}
	owner := b.queue[0]
	b.queue = b.queue[1:]
	return owner, true
}

// ring delivers until ctx ends.
func (b *bell) ring(ctx context.Context) {
	for {
		owner, ok := b.take()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-b.added:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case b.out <- owner:
		}
	}
}
