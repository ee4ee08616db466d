// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// change is what a server answers from a moment on.
type change struct {
	at    time.Time
	value keyID
}

// zone is the primary, which the provider writes, and every authoritative server behind it, each with a lag of its own.
type zone struct {
	primary map[string]keyID
	servers []map[string][]change // oldest first
}

func newZone(servers int) zone {
	z := zone{primary: map[string]keyID{}}
	for range servers {
		z.servers = append(z.servers, map[string][]change{})
	}
	return z
}

func (z *zone) answer(server int, selector string, now time.Time) keyID {
	for _, c := range slices.Backward(z.servers[server][selector]) {
		if !c.at.After(now) {
			return c.value
		}
	}
	return absent
}

// append plans what a server answers from a moment on, never before what was planned already. It returns that moment.
func (z *zone) append(server int, selector string, at time.Time, value keyID) time.Time {
	history := z.servers[server][selector]
	if n := len(history); n > 0 && !at.After(history[n-1].at) {
		at = history[n-1].at.Add(time.Second)
	}
	z.servers[server][selector] = append(history, change{at: at, value: value})
	return at
}

// everywhere tells whether all servers answer the value, and since when the last of them does.
func (z *zone) everywhere(selector string, value keyID, now time.Time) (since time.Time, all bool) {
	for server := range z.servers {
		if z.answer(server, selector, now) != value {
			return time.Time{}, false
		}
		for i, c := range slices.Backward(z.servers[server][selector]) {
			before := i == 0 || z.servers[server][selector][i-1].value != value
			if !c.at.After(now) && c.value == value && before {
				if c.at.After(since) {
					since = c.at
				}
				break
			}
		}
	}
	return since, true
}

// cacheEntry is what a cache remembers, also that there was nothing.
type cacheEntry struct {
	value   keyID
	expires time.Time
}

// resolver is a receiver's cache.
type resolver struct{ entries map[string]cacheEntry }

// lookup answers from the cache, or else asks a server.
func (r *resolver) lookup(w *world, selector string) keyID {
	if e, ok := r.entries[selector]; ok && w.now.Before(e.expires) {
		return e.value
	}
	return r.ask(w, selector, w.rng.IntN(len(w.zone.servers)))
}

func (r *resolver) ask(w *world, selector string, server int) keyID {
	value, ttl := w.zone.answer(server, selector, w.now), w.profile.ttl
	if value == absent {
		ttl = w.profile.negativeTTL
	}
	r.entries[selector] = cacheEntry{value: value, expires: w.now.Add(ttl)}
	return value
}

// lag is how long one change takes to reach one server.
func (w *world) lag() time.Duration {
	lag := 1 + time.Duration(w.rng.Int64N(int64(w.profile.serverLag)))
	if w.rng.Float64() < 0.02 {
		lag *= 100
	}
	return lag
}

// publish has the primary hold a value. One second before each server follows, somebody asks it: some cache then holds
// what was before for as long as it may.
func (w *world) publish(selector string, value keyID) {
	w.zone.primary[selector] = value
	for server := range w.zone.servers {
		w.change(server, selector, w.now.Add(w.lag()), value)
	}
}

func (w *world) change(server int, selector string, at time.Time, value keyID) {
	at = w.zone.append(server, selector, at, value)
	w.prober.watch(selector, at)
	if r := &w.resolvers[w.rng.IntN(len(w.resolvers))]; w.rng.Float64() < 0.5 {
		w.at(at.Add(-time.Second), func() { r.ask(w, selector, server) })
	}
}

// relapse has a server lose a record for a while, as one that was restored from a backup. It lasts longer than the
// operator's rounds are apart, and the operator runs: nothing helps against one that nobody could see.
func (w *world) relapse() {
	w.in(w.between(w.profile.relapses), w.relapse)
	if w.down() {
		return
	}
	for _, k := range w.cluster.live() {
		signed := !k.signingSince.IsZero() || k.intent != rotation.ToStandBy || w.signsLive(k)
		if signed || k.verified.IsZero() || w.zone.primary[k.selector] != k.pair || w.truth.pending() || w.rng.Float64() < 0.5 {
			continue
		}
		server := w.rng.IntN(len(w.zone.servers))
		w.change(server, k.selector, w.now.Add(time.Second), absent)
		w.change(server, k.selector, w.now.Add(proberRound+time.Duration(w.rng.Int64N(int64(2*time.Hour)))), k.pair)
		w.report.Relapses++
		return
	}
}

// between is a random span of time around the average.
func (w *world) between(average time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(average))
}
