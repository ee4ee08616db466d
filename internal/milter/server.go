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

// Config is what a Server needs. All of it but Expiry and Verification must be set.
type Config struct {
	Live   *Live
	Policy Policy
	// Expiry is how long signatures hold (x=); 0: for ever.
	Expiry time.Duration
	// Deadline is how long the signatures of one message may take.
	Deadline time.Duration
	// Memory bounds what connections keep of headers together, in octets, beyond a small share of each.
	Memory int
	// MaxConnections bounds the MTA's connections; one more takes the place of one that is silent, or is closed at once.
	MaxConnections int
	// NegotiateTimeout is how long a new connection may take to negotiate and give its first command.
	NegotiateTimeout time.Duration
	// IdleTimeout is how long the MTA may be silent between commands. It waits for SMTP clients itself.
	IdleTimeout time.Duration
	// PacketTimeout is how long one packet may take once it began.
	PacketTimeout time.Duration

	// Verification is for verifying listeners; nil: there are none.
	Verification *Verification

	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Server serves listeners, each in its role.
type Server struct {
	cfg      Config
	handlers map[Role]handler
	memory   *memory
	windows  windows

	mu        sync.Mutex
	sessions  map[*session]struct{}
	listeners map[net.Listener]Role
	draining  bool
	wg        sync.WaitGroup
}

// NewServer makes a server that serves nothing yet.
func NewServer(cfg Config) *Server {
	handlers := map[Role]handler{RoleSign: newSigner(cfg)}
	if cfg.Verification != nil {
		handlers[RoleVerify] = newVerifier(cfg)
	}
	return &Server{
		cfg: cfg, handlers: handlers,
		memory:   newMemory(cfg.Memory, cfg.Metrics.evicted.Inc),
		sessions: map[*session]struct{}{}, listeners: map[net.Listener]Role{},
	}
}

// Serve accepts connections until Shutdown, and closes the listener. Faults of
// accept that pass, such as too many open files, are waited out.
func (s *Server) Serve(ctx context.Context, l net.Listener, role Role) error {
	defer l.Close()
	h, known := s.handlers[role]
	if !known {
		return fmt.Errorf("listener %s: nothing is set up to %s", l.Addr(), role)
	}
	if !s.addListener(l, role) {
		return nil
	}
	defer s.removeListener(l)
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			s.admit(ctx, conn, h)
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

// admit serves a connection, or closes it where there are too many and none is
// silent: the MTA then acts as it is told for a milter that is not there.
func (s *Server) admit(ctx context.Context, conn net.Conn, h handler) {
	c := newSession(s, h, tune(conn))
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
	if s.draining || len(s.sessions) >= s.cfg.MaxConnections && !s.makeRoom() {
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
	s.forget(c)
}

// forget ends the count of a connection, once. The caller holds s.mu.
func (s *Server) forget(c *session) {
	if _, counted := s.sessions[c]; counted {
		delete(s.sessions, c)
		s.cfg.Metrics.connections.Dec()
	}
}

func (s *Server) addListener(l net.Listener, role Role) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.listeners[l] = role
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

// signs tells whether a listener signs, and so needs keys.
func (s *Server) signs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, role := range s.listeners {
		if role == RoleSign {
			return true
		}
	}
	return false
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
