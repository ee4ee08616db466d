// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

var (
	errDeadline = errors.New("our own deadline passed")
	errPanic    = errors.New("the program failed")
)

// signer is the handler of RoleSign: it makes signatures, bounded in number at a time and in time.
type signer struct {
	cfg   Config
	turns *turns
}

func newSigner(cfg Config) *signer {
	return &signer{cfg: cfg, turns: newTurns(runtime.GOMAXPROCS(0))}
}

// terms of signing: it adds a field, and who receives the message does not matter to it.
func (s *signer) terms() terms {
	return terms{actions: addHeaders, unneeded: noHelo | noRcpt | noUnknown | noData}
}

func (s *signer) begin(o origin, e envelope) transaction {
	return &outgoing{signer: s, table: s.cfg.Live.Table(), origin: o, envelope: e}
}

// outgoing is one message that is ours to send. It keeps the table that it began with.
type outgoing struct {
	signer   *signer
	table    *Table
	origin   origin
	envelope envelope
	header   mailauth.Header
	hash     *mailauth.BodyHash // nil: nobody will ask for it
	decision Decision           // as of the end of the header
}

// signed is what a message came to.
type signed struct {
	decision   Decision
	signatures []string // values of DKIM-Signature, in the order of the keys
	flaws      mailauth.Flaws
}

func (m *outgoing) field(name string, value []byte) { m.header.Add(name, value) }

// endHeader decides: all that a decision needs is known now.
func (m *outgoing) endHeader() {
	m.decision = m.signer.cfg.Policy.decide(m.table, facts{
		from: m.header.From(), login: m.origin.login, client: m.origin.client, nullSender: m.envelope.nullSender,
	})
	if m.decision.Action == Sign {
		m.hash, _ = hashes.Get().(*mailauth.BodyHash)
	}
}

// hashes are those of bodies that have ended, for others to begin.
var hashes = sync.Pool{New: func() any { return mailauth.NewBodyHash() }}

func (m *outgoing) body(p []byte) {
	if m.hash != nil {
		_, _ = m.hash.Write(p)
	}
}

func (m *outgoing) size() int { return m.header.Size() }

func (m *outgoing) end(ctx context.Context, queueID string) verdict {
	start := m.signer.cfg.Now()
	r, err := m.signer.finish(ctx, m)
	m.signer.record(ctx, queueID, r, err, m.signer.cfg.Now().Sub(start))
	return r.verdict()
}

func (m *outgoing) fail(ctx context.Context, queueID string) verdict {
	r := signed{decision: m.signer.cfg.Policy.Failure(ReasonInternal, m.decision.Entry)}
	m.signer.record(ctx, queueID, r, errPanic, 0)
	return r.verdict()
}

// verdict is what the MTA is told.
func (r signed) verdict() verdict {
	switch r.decision.Action { //nolint:exhaustive // Only a word of these two lets a message go.
	default:
		return verdict{reply: r.decision.Reply()}
	case Sign, Accept:
		v := verdict{pass: true}
		// Each goes to the very top, so the last sent is the first of the message.
		for _, value := range slices.Backward(r.signatures) {
			v.edits = append(v.edits, insertOnTop(mailauth.SignatureField, value))
		}
		return v
	}
}

// finish ends a message. After it the message must not be used: a key that hangs may still hold it.
func (s *signer) finish(ctx context.Context, m *outgoing) (signed, error) {
	if m.decision.Action != Sign {
		return signed{decision: m.decision}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	type result struct {
		signed signed
		err    error
	}
	done := make(chan result, 1)
	go func() {
		r, err := s.sign(ctx, m)
		done <- result{r, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return s.failure(m.decision.Entry, r.err)
		}
		return r.signed, nil
	case <-ctx.Done():
		return s.failure(m.decision.Entry, errDeadline)
	}
}

// sign makes one signature per key; all or none, so that no receiver is left with the key it cannot read.
func (s *signer) sign(ctx context.Context, m *outgoing) (r signed, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", errPanic, fault)
		}
	}()
	hash, flaws := m.hash.Sum()
	m.hash.Reset()
	hashes.Put(m.hash)
	m.hash = nil
	if flaws |= m.header.Flaws(); m.envelope.smtputf8 {
		flaws &^= mailauth.EightBit
	}
	r = signed{decision: m.decision, flaws: flaws}
	entry := m.decision.Entry
	options := mailauth.Options{Now: s.cfg.Now(), Expiry: s.cfg.Expiry}
	for _, key := range entry.keys {
		value, err := s.signature(ctx, m, hash, key, options)
		if err != nil {
			return signed{}, err
		}
		r.signatures = append(r.signatures, value)
	}
	return r, nil
}

// signature makes one signature, in a turn of the domain.
func (s *signer) signature(ctx context.Context, m *outgoing, hash [sha256.Size]byte, key mailauth.Key, options mailauth.Options) (string, error) {
	domain := m.decision.Entry.Domain.Domain
	if s.turns.take(ctx, domain) != nil {
		return "", errDeadline
	}
	defer s.turns.give(domain)
	return mailauth.Sign(&m.header, hash, domain, key, options)
}

// failure is the result of a message that could not be signed; the error is for the log.
func (s *signer) failure(e *Entry, err error) (signed, error) {
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
		return signed{decision: s.cfg.Policy.Failure(reason, e)}, err
	}
	// A domain that is not required yet flows as it did before.
	return signed{decision: Decision{Action: Accept, Reason: reason, Entry: e}}, err
}

// record counts and logs a message that was answered. No address and no header field goes into the log.
func (s *signer) record(ctx context.Context, queueID string, r signed, err error, duration time.Duration) {
	d := r.decision
	s.cfg.Metrics.message(d, r.flaws)
	attrs := append(make([]slog.Attr, 0, 8),
		slog.String("queue_id", queueID), slog.String("action", string(d.Action)), slog.String("reason", string(d.Reason)))
	if d.Entry != nil {
		attrs = append(attrs, slog.String("domain", d.Entry.Domain.Domain.String()))
	}
	if d.Action == Sign {
		s.cfg.Metrics.latency.Observe(duration.Seconds())
		selectors := make([]string, len(d.Entry.keys))
		for i, k := range d.Entry.keys {
			selectors[i] = k.Selector
		}
		attrs = append(attrs, slog.Any("selectors", selectors))
		if r.flaws != 0 {
			attrs = append(attrs, slog.Any("flaws", r.flaws.Names()))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	level := slog.LevelInfo
	if err != nil || d.Unsigned || d.Reason == ReasonNoTree || d.Reason == ReasonUnread || d.Reason == ReasonNoKey {
		level = slog.LevelError
	}
	s.cfg.Log.LogAttrs(ctx, level, "message", attrs...)
}
