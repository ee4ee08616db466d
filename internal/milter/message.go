// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

var (
	errDeadline = errors.New("our own deadline passed")
	errPanic    = errors.New("the program failed")
)

// message is one message as it comes in. It keeps the table that it began with.
type message struct {
	table    *Table
	envelope envelope
	login    string
	queueID  string
	header   mailauth.Header
	body     *mailauth.BodyHash // nil: nobody will ask for its hash
	ended    bool               // the header has ended
	failed   bool               // something went wrong on our side
	decision Decision           // as of the end of the header
}

// result is what a message came to.
type result struct {
	decision   Decision
	signatures []string // values of DKIM-Signature, in the order of the keys
	flaws      mailauth.Flaws
}

// endHeader decides: all that a decision needs is known now.
func (m *message) endHeader(p Policy, f facts) {
	if m.ended {
		return
	}
	m.ended = true
	f.from, f.login, f.nullSender = m.header.From(), m.login, m.envelope.nullSender
	m.decision = p.decide(m.table, f)
	if m.decision.Action == Sign {
		m.body = mailauth.NewBodyHash()
	}
}

// signer makes signatures: bounded in number at a time and in time.
type signer struct {
	policy   Policy
	expiry   time.Duration
	deadline time.Duration
	now      func() time.Time
	slots    chan struct{}
}

func newSigner(cfg Config) *signer {
	return &signer{
		policy: cfg.Policy, expiry: cfg.Expiry, deadline: cfg.Deadline, now: cfg.Now,
		// RSA is nothing but computing: more at once than processors only makes each wait longer.
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// finish ends a message. After it the message must not be used: a key that hangs may still hold it.
func (s *signer) finish(ctx context.Context, m *message) (result, error) {
	switch {
	case m.failed:
		return result{decision: s.policy.Failure(ReasonInternal, m.decision.Entry)}, nil
	case m.decision.Action != Sign:
		return result{decision: m.decision}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	done := make(chan result, 1)
	failed := make(chan error, 1)
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return s.failure(m.decision.Entry, errDeadline)
	}
	go func() {
		defer func() { <-s.slots }()
		r, err := s.sign(m)
		if err != nil {
			failed <- err
			return
		}
		done <- r
	}()
	select {
	case r := <-done:
		return r, nil
	case err := <-failed:
		return s.failure(m.decision.Entry, err)
	case <-ctx.Done():
		return s.failure(m.decision.Entry, errDeadline)
	}
}

// sign makes one signature per key; all or none, so that no receiver is left with the key it cannot read.
func (s *signer) sign(m *message) (r result, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", errPanic, fault)
		}
	}()
	hash, flaws := m.body.Sum()
	if flaws |= m.header.Flaws(); m.envelope.smtputf8 {
		flaws &^= mailauth.EightBit
	}
	r = result{decision: m.decision, flaws: flaws}
	entry := m.decision.Entry
	options := mailauth.Options{Now: s.now(), Expiry: s.expiry}
	for _, key := range entry.keys {
		value, err := mailauth.Sign(&m.header, hash, entry.Domain.Domain, key, options)
		if err != nil {
			return result{}, err
		}
		r.signatures = append(r.signatures, value)
	}
	return r, nil
}

// failure is the result of a message that could not be signed; the error is for the log.
func (s *signer) failure(e *Entry, err error) (result, error) {
	reason := ReasonKeyFailed
	switch {
	case errors.Is(err, errDeadline):
		reason = ReasonDeadline
	case errors.Is(err, errPanic):
		reason = ReasonInternal
	case errors.Is(err, mailauth.ErrHeaderTooLarge):
		reason = ReasonHeaderTooLarge
	}
	if e.Required {
		return result{decision: s.policy.Failure(reason, e)}, err
	}
	// A domain that is not required yet flows as it did before.
	return result{decision: Decision{Action: Accept, Reason: reason, Entry: e}}, err
}
