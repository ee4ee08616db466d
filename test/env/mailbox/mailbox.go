// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mailbox is the rest of the world's mail server: it takes every
// message and keeps it, octet by octet, as it arrived.
package mailbox

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/emersion/go-smtp"
)

// maxLine is far above what RFC 5321 §4.5.3.1.6 allows: what an MTA lets pass is for the tests to judge.
const maxLine = 1 << 20

// Delivery is one message as it arrived.
type Delivery struct {
	Sender     string // without < and >; empty: the null sender
	Recipients []string
	UTF8       bool // by SMTPUTF8 (RFC 6531)
	Message    []byte
}

// Mailbox is a running server.
type Mailbox struct {
	server   *smtp.Server
	arrivals chan Delivery
	served   chan struct{} // closed when nothing is served any more
}

// room is how many messages wait to be taken before the server keeps its clients waiting.
const room = 10_000

// Open listens and returns.
func Open(ctx context.Context, address string) (*Mailbox, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	m := &Mailbox{arrivals: make(chan Delivery, room), served: make(chan struct{})}
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{to: m.arrivals}, nil }))
	m.server.Domain = "world.example"
	m.server.MaxLineLength = maxLine
	m.server.EnableSMTPUTF8 = true
	m.server.ErrorLog = log.New(io.Discard, "", 0)
	go func() {
		defer close(m.served)
		_ = m.server.Serve(listener) // ends with Close
	}()
	return m, nil
}

// Wait takes the next count messages; it fails when they have not arrived before ctx ends.
func (m *Mailbox) Wait(ctx context.Context, count int) ([]Delivery, error) {
	var all []Delivery
	for len(all) < count {
		select {
		case d := <-m.arrivals:
			all = append(all, d)
		case <-ctx.Done():
			return all, fmt.Errorf("%d of %d messages arrived: %w", len(all), count, ctx.Err())
		}
	}
	return all, nil
}

// Take returns what has arrived and was not taken yet.
func (m *Mailbox) Take() []Delivery {
	var all []Delivery
	for {
		select {
		case d := <-m.arrivals:
			all = append(all, d)
		default:
			return all
		}
	}
}

// Close ends the server and its connections.
func (m *Mailbox) Close() error {
	err := m.server.Close()
	<-m.served
	return err
}

// session is one connection.
type session struct {
	to   chan<- Delivery
	next Delivery
}

func (s *session) Reset()        { s.next = Delivery{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.next = Delivery{Sender: from, UTF8: options.UTF8}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.next.Recipients = append(s.next.Recipients, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	message, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.next.Message = message
	s.to <- s.next
	return nil
}
