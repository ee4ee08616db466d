// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import "sync"

// wakeSet hands keys to one reader. It never blocks a writer: a key that waits
// already is not added again, so that it holds at most one entry per key.
type wakeSet[K comparable] struct {
	mu      sync.Mutex
	waiting []K
	member  map[K]bool
	out     chan K
	ready   chan struct{}
}

func newWakeSet[K comparable]() *wakeSet[K] {
	return &wakeSet[K]{member: map[K]bool{}, out: make(chan K), ready: make(chan struct{}, 1)}
}

func (w *wakeSet[K]) add(k K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.member[k] {
		return
	}
	w.member[k] = true
	w.waiting = append(w.waiting, k)
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *wakeSet[K]) take() (K, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var k K
	if len(w.waiting) == 0 {
		return k, false
	}
	k = w.waiting[0]
	w.waiting = w.waiting[1:]
	delete(w.member, k)
	return k, true
}

// run moves keys into the channel until stop is closed.
func (w *wakeSet[K]) run(stop <-chan struct{}) {
	for {
		k, ok := w.take()
		if !ok {
			select {
			case <-w.ready:
				continue
			case <-stop:
				return
			}
		}
		select {
		case w.out <- k:
		case <-stop:
			w.add(k)
			return
		}
	}
}
