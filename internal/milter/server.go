// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Config is what a Server needs. All of it but Expiry must be set.
type Config struct {
	Live   *Live
	Policy Policy
	// Expiry is how long signatures hold (x=); 0: for ever.
	Expiry time.Duration
	// Deadline is how long the signatures of one message may take.
	Deadline time.Duration
	// MaxConnections bounds the MTA's connections; one more is closed at once.
	MaxConnections int
	// NegotiateTimeout is how long a new connection may be silent.
	NegotiateTimeout time.Duration
	// IdleTimeout is how long the MTA may be silent between commands. It waits for SMTP clients itself.
	IdleTimeout time.Duration
	// PacketTimeout is how long one packet may take once it began.
	PacketTimeout time.Duration

	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Server serves signing listeners.
type Server struct {
	cfg    Config
	signer *signer

	mu        sync.Mutex
	sessions  map[*session]struct{}
	listeners map[net.Listener]struct{}
	draining  bool
	wg        sync.WaitGroup
}

// NewServer makes a server that serves nothing yet.
func NewServer(cfg Config) *Server {
	return &Server{
		cfg: cfg, signer: newSigner(cfg),
		sessions: map[*session]struct{}{}, listeners: map[net.Listener]struct{}{},
	}
}

// Serve accepts connections until Shutdown, and closes the listener. Faults of
// accept that pass, such as too many open files, are waited out.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if !s.addListener(l) {
		return nil
	}
	defer s.removeListener(l)
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			s.admit(ctx, conn)
			continue
		case s.isDraining():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listener %s was closed: %w", l.Addr(), err)
		}
		s.cfg.Log.Error("cannot accept a connection", "listener", l.Addr().String(), "error", err.Error())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

// admit serves a connection, or closes it where there are too many: the MTA
// then acts as it is told for a milter that is not there.
func (s *Server) admit(ctx context.Context, conn net.Conn) {
	c := newSession(s, tune(conn))
	if !s.addSession(c) {
		s.cfg.Metrics.refused.Inc()
		_ = conn.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.removeSession(c)
		c.run(ctx)
	}()
}

func (s *Server) addSession(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || len(s.sessions) >= s.cfg.MaxConnections {
		return false
	}
	s.sessions[c] = struct{}{}
	s.wg.Add(1)
	s.cfg.Metrics.connections.Inc()
	return true
}

func (s *Server) removeSession(c *session) {
	_ = c.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	s.cfg.Metrics.connections.Dec()
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// Listening tells how many listeners accept connections.
func (s *Server) Listening() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.listeners)
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// Shutdown takes no new connection, lets every message that is on its way end,
// and closes what is left when ctx ends. The error is that of ctx, if messages were cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginDraining()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	n := s.cutOff()
	<-done
	return fmt.Errorf("%d messages were cut off: %w", n, ctx.Err())
}

func (s *Server) beginDraining() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.sessions {
		c.drain()
	}
}

func (s *Server) cutOff() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		_ = c.conn.Close()
	}
	return len(s.sessions)
}

// record counts and logs a message that was answered. No address and no header field goes into the log.
func (s *Server) record(ctx context.Context, queueID string, r result, err error, duration time.Duration) {
	d := r.decision
	s.cfg.Metrics.message(d, r.flaws)
	attrs := []any{"queue_id", queueID, "action", string(d.Action), "reason", string(d.Reason)}
	if d.Entry != nil {
		attrs = append(attrs, "domain", d.Entry.Domain.Domain.String())
	}
	if d.Action == Sign {
		s.cfg.Metrics.latency.Observe(duration.Seconds())
		selectors := make([]string, len(d.Entry.keys))
		for i, k := range d.Entry.keys {
			selectors[i] = k.Selector
		}
		attrs = append(attrs, "selectors", selectors)
		if r.flaws != 0 {
			attrs = append(attrs, "flaws", r.flaws.Names())
		}
	}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	level := slog.LevelInfo
	if err != nil || d.Unsigned || d.Reason == ReasonNoTree || d.Reason == ReasonUnread || d.Reason == ReasonNoKey {
		level = slog.LevelError
	}
	s.cfg.Log.Log(ctx, level, "message", attrs...)
}
