// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"errors"
	"sync"
)

// errNoMemory ends a connection so that others have memory.
var errNoMemory = errors.New("closed, since all connections together keep too much")

const (
	// windowSize is what Postfix sends of a body at a time.
	windowSize = 64 << 10
	// maxWindows bounds those that are lent at a time, keepWindows those that lie idle beside them.
	maxWindows, keepWindows = 64, 16
)

// windows lends buffers for bodies. Where none is left, a body passes through
// the small buffer of its connection: slower, and not refused.
type windows struct {
	mu   sync.Mutex
	lent int
	idle []*[windowSize]byte
}

// lend returns a window, or nil if all are lent.
func (w *windows) lend() *[windowSize]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lent == maxWindows {
		return nil
	}
	w.lent++
	if n := len(w.idle); n > 0 {
		window := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return window
	}
	return new([windowSize]byte)
}

func (w *windows) give(window *[windowSize]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lent--
	switch {
	case w.lent == 0: // The rush is over: who comes alone needs one.
		clear(w.idle)
		w.idle = append(w.idle[:0], window)
	case len(w.idle) < keepWindows:
		w.idle = append(w.idle, window)
	}
}

// ownShare is what a connection may keep without being counted: the header of nearly every honest message.
const ownShare = 16 << 10

// memory counts what connections keep of headers and unfinished fields beyond
// their own share. When all together is too much, the connection that has kept
// some for longest is closed, and its message waits at the client. An honest
// message needs it for a few milliseconds; who keeps it is who does not go on.
type memory struct {
	limit int
	// closed is told of each connection that is closed for others.
	closed func()

	mu      sync.Mutex
	used    int
	turn    uint64 // counts the connections that began to keep
	holders map[*holder]struct{}
}

// holder is what one connection keeps.
type holder struct {
	memory *memory
	// evict closes the connection; it does not wait.
	evict func()

	counted bool // a copy of n > 0 that only the connection looks at
	n       int  // of memory.mu, as what follows
	since   uint64
	evicted bool
}

func newMemory(limit int, closed func()) *memory {
	return &memory{limit: limit, closed: closed, holders: map[*holder]struct{}{}}
}

// keep says that the connection keeps n octets now. It returns errNoMemory
// if the connection was closed for others, or is now.
func (h *holder) keep(n int) error {
	n = max(0, n-ownShare)
	if n == 0 && !h.counted {
		return nil
	}
	h.counted = n > 0
	return h.memory.count(h, n)
}

func (m *memory) count(h *holder, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.evicted {
		return errNoMemory
	}
	if h.n == 0 && n > 0 {
		m.turn++
		h.since = m.turn
	}
	m.set(h, n)
	for m.used > m.limit {
		oldest := m.oldest()
		m.set(oldest, 0)
		oldest.evicted = true
		m.closed()
		oldest.evict()
	}
	if h.evicted {
		return errNoMemory
	}
	return nil
}

func (m *memory) set(h *holder, n int) {
	m.used += n - h.n
	h.n = n
	if n > 0 {
		m.holders[h] = struct{}{}
	} else {
		delete(m.holders, h)
	}
}

func (m *memory) oldest() *holder {
	var oldest *holder
	for h := range m.holders {
		if oldest == nil || h.since < oldest.since {
			oldest = h
		}
	}
	return oldest
}

// wasEvicted tells whether the connection was closed for others.
func (h *holder) wasEvicted() bool {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	return h.evicted
}
