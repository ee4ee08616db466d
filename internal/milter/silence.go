// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"errors"
	"time"
)

// How long a connection may be silent before another may take its place, where there are as many as may be.
const (
	idleGrace = 10 * time.Second
	// busyGrace is for one with a message on its way: a client may take so long for its next command (RFC 5321 §4.5.3.2).
	busyGrace = 5 * time.Minute
)

// errDisplaced ends a silent connection.
var errDisplaced = errors.New("closed for another connection, since it was silent for longest and there were too many")

// silence is how a connection waits for its MTA.
type silence struct {
	since time.Time // zero: it does not wait
	busy  bool      // with a message on its way
}

// yields tells whether another connection may take the place of one.
func (s silence) yields(now time.Time) bool {
	grace := idleGrace
	if s.busy {
		grace = busyGrace
	}
	return !s.since.IsZero() && now.Sub(s.since) >= grace
}

// before tells whether one goes before another: those without a message first, then whoever is silent for longer.
func (s silence) before(other silence) bool {
	if s.busy != other.busy {
		return other.busy
	}
	return s.since.Before(other.since)
}

// makeRoom closes the connection that is silent for longest; false where all are at work. The caller holds s.mu.
//
// Without it, peers that connect and say nothing would keep the MTA out until their timeout.
func (s *Server) makeRoom() bool {
	now := s.cfg.Now()
	var longest *session
	var its silence
	for c := range s.sessions {
		if silent := c.silent(); silent.yields(now) && (longest == nil || silent.before(its)) {
			longest, its = c, silent
		}
	}
	if longest == nil {
		return false
	}
	s.forget(longest)
	s.cfg.Metrics.displaced.Inc()
	longest.displace()
	return true
}

func (c *session) silent() silence {
	c.mu.Lock()
	defer c.mu.Unlock()
	return silence{c.waiting, c.busy}
}

func (c *session) displace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.displaced = true
	_ = c.conn.Close()
}

func (c *session) wasDisplaced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.displaced
}
