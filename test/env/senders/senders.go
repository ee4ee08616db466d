// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package senders is mail clients that try again what a server refuses for now,
// as every mail server does: they lose nothing that may not be lost.
package senders

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/smtp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	clients    = 4
	retryAfter = 50 * time.Millisecond
	// Every other message is long, so that a kill finds it on its way through a milter.
	longBody, shortBody = 512 << 10, 4 << 10
	// killWithin is after a message was taken: another one is then somewhere on its way.
	killWithin = 60 * time.Millisecond
)

// Senders are some clients that send message after message, each until the server has taken it.
type Senders struct {
	Server   string // host:port
	From, To string

	enough         atomic.Bool // ends them after the messages at hand
	group          sync.WaitGroup
	taken, refused atomic.Int64
	midway         atomic.Int64
	last           atomic.Value // the last refusal

	mu   sync.Mutex
	lost []error
}

// Start has them send until Stop, or until ctx ends.
func (s *Senders) Start(ctx context.Context) {
	for client := range clients {
		s.group.Go(func() {
			for n := 0; !s.enough.Load() && ctx.Err() == nil; n++ {
				if err := s.send(ctx, client, n); err != nil {
					s.mu.Lock()
					s.lost = append(s.lost, fmt.Errorf("message %d of client %d is lost: %w", n, client, err))
					s.mu.Unlock()
					return
				}
			}
		})
	}
}

// Stop ends them when each has got rid of its message. The error names those that were refused for good.
func (s *Senders) Stop() error {
	s.enough.Store(true)
	s.group.Wait()
	return errors.Join(s.lost...)
}

// Taken is how many messages the server has taken so far.
func (s *Senders) Taken() int { return int(s.taken.Load()) }

// Midway is how many attempts were refused for now after the whole message had been handed over.
func (s *Senders) Midway() int { return int(s.midway.Load()) }

// String tells how it goes.
func (s *Senders) String() string {
	return fmt.Sprintf("%d messages were taken; %d attempts were refused for now, %d of them after the message, the last: %v",
		s.Taken(), s.refused.Load(), s.Midway(), s.last.Load())
}

// KilledMeanwhile kills a milter that serves them again and again, each time after a message was taken and at a moment
// from the seed, and returns what kill did: the process ids.
func (s *Senders) KilledMeanwhile(ctx context.Context, times int, seed uint64, kill func(context.Context) (int, error)) ([]int, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	var pids []int
	for range times {
		// Only a milter that has served something is worth killing.
		if err := s.takeOne(ctx); err != nil {
			return pids, err
		}
		<-time.After(time.Duration(random.Int64N(int64(killWithin))))
		pid, err := kill(ctx)
		if err != nil {
			return pids, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// takeOne waits until another message is taken.
func (s *Senders) takeOne(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for before := s.taken.Load(); s.taken.Load() == before; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing is taken any more: %w: %s", ctx.Err(), s)
		case <-tick.C:
		}
	}
	return nil
}

// send sends one message until it is taken.
func (s *Senders) send(ctx context.Context, client, n int) error {
	size := shortBody
	if n%2 == 0 {
		size = longBody
	}
	const line = "A line of the story.\r\n"
	message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %d of client %d\r\n\r\n%s", s.From, s.To, n, client, strings.Repeat(line, size/len(line)))
	for {
		err := s.attempt(ctx, message)
		if err == nil {
			s.taken.Add(1)
			return nil
		}
		if strings.HasPrefix(err.Error(), "5") || ctx.Err() != nil {
			return err
		}
		s.refused.Add(1)
		s.last.Store(err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// attempt sends a message once; nil means that the server has taken it.
func (s *Senders) attempt(ctx context.Context, message string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	host, _, err := net.SplitHostPort(s.Server)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return c.Hello("client.example") },
		func() error { return c.Mail(s.From) },
		func() error { return c.Rcpt(s.To) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, message); err != nil {
		return err
	}
	err = w.Close()
	if err != nil {
		s.midway.Add(1)
	}
	return err
}
