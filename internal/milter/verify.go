// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

// RoleVerify takes everything that comes to be somebody else's, judges it, and writes down what was found.
const RoleVerify Role = "verify"

// Verification is what verifying listeners need.
type Verification struct {
	Resolver mailauth.Resolver
	// AuthservID names who judges (RFC 8601 §2.5); "": the MTA's own name, which is its macro {j}.
	AuthservID string
	// Timeout is how long the DNS may take for one message.
	Timeout time.Duration
	// Actions are what is done about findings; Tag for what is not named.
	Actions map[Finding]Action
}

// maxVerdicts bounds how many messages ask the DNS at a time; each has up to a dozen questions on their way, and each of
// them a socket and a stack. One more waits within its own Timeout, by which those before it have ended.
const maxVerdicts = 256

// verifier is the handler of RoleVerify.
type verifier struct {
	cfg   Config
	turns chan struct{} // one for each verdict that is being made
}

func newVerifier(cfg Config) verifier { return verifier{cfg, make(chan struct{}, maxVerdicts)} }

// terms of verifying: it adds a field and removes forged ones; who receives the message does not matter to it.
func (r verifier) terms() terms {
	t := terms{actions: addHeaders | changeHeaders, unneeded: noRcpt | noUnknown | noData}
	for _, action := range r.cfg.Verification.Actions {
		if action == Quarantine {
			t.actions |= quarantine
		}
	}
	return t
}

func (r verifier) begin(o origin, e envelope) transaction {
	id := r.cfg.Verification.AuthservID
	if id == "" {
		id = strings.ToLower(strings.TrimSuffix(o.mta, "."))
	}
	if mailauth.CheckAuthservID(id) != nil {
		id = ""
	}
	return &incoming{verifier: r, id: id, judgement: mailauth.NewJudgement(mailauth.Envelope{Client: o.client, HELO: o.helo, MailFrom: e.sender})}
}

// incoming is one message that is judged.
type incoming struct {
	verifier  verifier
	id        string // who judges; "" if nobody can tell
	judgement *mailauth.Judgement
	results   uint32   // Authentication-Results fields so far
	forged    []uint32 // those that claim to be ours, the first being 1
}

func (m *incoming) field(name string, value []byte) {
	if strings.EqualFold(strings.TrimRight(name, " \t"), mailauth.AuthResultsField) {
		m.results++
		if mailauth.ClaimsToBe(string(value), m.id) {
			m.forged = append(m.forged, m.results)
		}
	}
	m.judgement.Header(name, value)
}

func (m *incoming) endHeader()    { m.judgement.Body(nil) }
func (m *incoming) body(p []byte) { m.judgement.Body(p) }
func (m *incoming) size() int     { return m.judgement.Size() + 4*len(m.forged) }

func (m *incoming) end(ctx context.Context, queueID string) verdict {
	cfg := m.verifier.cfg
	if m.id == "" {
		return m.fail(ctx, queueID)
	}
	start := cfg.Now()
	limit, cancel := context.WithTimeout(ctx, cfg.Verification.Timeout)
	defer cancel()
	v := m.verifier.verdict(limit, m.judgement, start)
	r := rule(cfg.Verification.Actions, v)
	cfg.Metrics.judged(r, v, len(m.forged), cfg.Now().Sub(start))
	m.log(ctx, queueID, r, v)
	return m.answer(r, v)
}

// verdict judges a message when its turn comes. A message that waited until its time was over is judged without the DNS.
func (r verifier) verdict(ctx context.Context, j *mailauth.Judgement, now time.Time) mailauth.Verdict {
	r.turns <- struct{}{}
	defer func() { <-r.turns }()
	return j.Verdict(ctx, r.cfg.Verification.Resolver, now)
}

// answer is what the MTA is told. Forged fields go first, the lowest before those above it, so that none changes its number.
func (m *incoming) answer(r ruling, v mailauth.Verdict) verdict {
	if r.reply != "" {
		return verdict{reply: r.reply}
	}
	out := verdict{pass: true}
	for _, index := range slices.Backward(m.forged) {
		out.edits = append(out.edits, edit{resChangeHeader, index, mailauth.AuthResultsField, ""})
	}
	out.edits = append(out.edits, insertOnTop(mailauth.AuthResultsField, mailauth.AuthResults(m.id, v)))
	if r.action == Quarantine {
		_, out.quarantine, _ = strings.Cut(r.text, " ")
	}
	return out
}

// fail makes the message wait: what was not judged might hold a forged field.
func (m *incoming) fail(ctx context.Context, queueID string) verdict {
	cfg := m.verifier.cfg
	reply := notReady
	text := "a fault of the program"
	if m.id == "" {
		text = "the MTA does not tell its name in the macro j, and --authserv-id is not set"
		reply = "451 4.3.5 The name of this server is not known to its milter; try again later"
	}
	cfg.Metrics.messages.WithLabelValues(string(Tempfail), string(ReasonInternal)).Inc()
	cfg.Log.ErrorContext(ctx, "message", "queue_id", queueID, "action", string(Tempfail), "reason", string(ReasonInternal), "error", text)
	return verdict{reply: reply}
}

// log says what was found. No address and no header field goes into the log.
func (m *incoming) log(ctx context.Context, queueID string, r ruling, v mailauth.Verdict) {
	attrs := []any{
		"queue_id", queueID, "action", string(r.action), "reason", string(r.reason),
		"dkim", string(v.Signed().Result), "spf", string(v.Sent().Result), "dmarc", string(v.DMARC.Result),
	}
	if v.DMARC.Domain != "" {
		attrs = append(attrs, "domain", v.DMARC.Domain.String())
	}
	if v.DMARC.Policy != "" {
		attrs = append(attrs, "policy", string(v.DMARC.Policy))
	}
	if n := len(m.forged); n > 0 {
		attrs = append(attrs, "forged", n)
	}
	m.verifier.cfg.Log.Log(ctx, slog.LevelInfo, "message", attrs...)
}
