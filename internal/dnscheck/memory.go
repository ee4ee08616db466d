// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"reflect"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// memory is what a target's surveys left behind.
type memory struct {
	verdict Verdict
	// highest is the fact with the longest wait since the value was last replaced.
	highest fact
	// unverifiedSince is when the target was first watched or last fell from Verified.
	unverifiedSince time.Time
	// ttl is the highest TTL that a value at the name was ever seen with.
	ttl uint32
}

// former is what caches keep of the target that m was about, once another
// value takes its place.
func (m *memory) former(name dnsrecord.Name) fact {
	if m.ttl == 0 {
		return m.highest
	}
	return higher(m.highest, answerFact(name, "former value", m.ttl))
}

func newMemory(now time.Time, minimum time.Duration) memory {
	m := memory{unverifiedSince: now, verdict: Verdict{State: Unknown}}
	m.verdict.Wait, m.verdict.WaitReason = wait(fact{}, minimum)
	return m
}

// remember folds a full sweep into what is known, and says whether a reader
// would see a change. began and ended frame the sweep: what it saw as lacking
// may have lacked until its end, and what it verified began at its end.
func (m *memory) remember(f finding, began, ended time.Time, minimum time.Duration) bool {
	before := m.verdict
	v := &m.verdict
	v.State, v.Zone, v.Path, v.Found, v.AnswerSize, v.PlainSize = f.state, f.zone, f.path, f.found, f.size, f.plain
	v.Servers, v.Message, v.Notes, v.SweptAt = f.servers, f.message, f.notes, began
	v.NameServers, v.NameServerTTL = f.names, f.nsTTL
	switch f.state {
	case Verified:
		m.verify(ended)
	case Lacking, Differs, Conflict:
		m.relapse(ended)
	case Unreachable, Unknown, Unchecked: // unknown is not absent: no wait restarts
		if before.State == Verified {
			m.unverifiedSince = ended
		}
	}
	// What the DNS answers once every server has the value keeps no cache from it.
	if before.VerifiedSince.IsZero() || v.VerifiedSince.IsZero() {
		m.highest = higher(m.highest, f.highest)
	}
	m.ttl = max(m.ttl, f.ttl)
	v.Wait, v.WaitReason = wait(m.highest, minimum)
	return !same(before, *v)
}

func (m *memory) verify(ended time.Time) {
	v := &m.verdict
	if v.FirstVerified.IsZero() {
		v.FirstVerified = ended
	}
	if v.VerifiedSince.IsZero() {
		v.VerifiedSince = ended
		if !v.LastLacking.IsZero() {
			v.LastLacking = ended
		}
	}
}

// relapse restarts the wait. What was observed counts until a wait has passed
// in full: no cache holds it after that.
func (m *memory) relapse(ended time.Time) {
	v := &m.verdict
	if !v.VerifiedSince.IsZero() {
		m.unverifiedSince = ended
		if ended.Sub(v.VerifiedSince) >= v.Wait {
			m.highest = fact{}
		}
	}
	v.VerifiedSince = time.Time{}
	v.LastLacking = ended
}

// same compares verdicts but for the times that every sweep moves.
func same(a, b Verdict) bool {
	a.SweptAt, b.SweptAt = time.Time{}, time.Time{}
	a.LastLacking, b.LastLacking = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// steadyDelay is the time to the next check of a verified target: the
// interval, a quarter more or less; random is in [0, 1).
func steadyDelay(interval time.Duration, random float64) time.Duration {
	return time.Duration(float64(interval) * (0.75 + random/2))
}

// retryDelay is the time to the next sweep of a target that has not been
// verified for a while: an eighth of that, between the bounds, and after an
// hour slowly up to the interval, so that a record nobody publishes costs
// little.
func retryDelay(unverified, lowest, highest, interval time.Duration) time.Duration {
	d := min(max(unverified/8, lowest), highest)
	if slow := unverified / 120; slow > highest {
		d = slow
	}
	return max(lowest, min(d, max(interval, highest)))
}
