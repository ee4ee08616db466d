// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// profile is what one domain is like, and how often something happens to it.
type profile struct {
	keys      []rotation.WantedKey
	selectors rotation.Selectors
	calendar  rotation.Calendar
	cron      [2]string     // of the calendar's schedule: five fields and a time zone
	period    time.Duration // between two rotations, about
	lifetimes rotation.Lifetimes
	adopted   bool // a key of 1024 bits signs already
	watched   bool // pods are asked what they hold (spec.dkim.signers)

	servers, resolvers, pods int
	ttl, negativeTTL         time.Duration
	serverLag                time.Duration // most changes take less, some a hundred times as long
	mountLag                 time.Duration // of a pod, at most

	crash, conflict, unread, fault float64 // how likely at each write, read, provider call
	clockSteps, relapses           time.Duration
	acts                           map[act]time.Duration // a person's, on average this far apart
	sent                           time.Duration         // between two messages that are sent just so
}

// act is something that a person does, or that happens to one.
type act int

const (
	rotateNow act = iota
	undo
	changeBits
	toggleEd25519
	revoke
	losePrivateKey
	suspend
)

var (
	rsa2048 = rotation.WantedKey{Algorithm: dkim.RSA, Bits: 2048}
	ed25519 = rotation.WantedKey{Algorithm: dkim.Ed25519}
)

// maxMountLag is how long a kubelet takes at worst to show a pod what the Secret holds, unless the pod is asked.
const maxMountLag = 5 * time.Minute

// maxHold is how long an MTA tries to deliver (RFC 5321 §4.5.4.1: 4–5 days).
const maxHold = 5 * day

func draw(rng *rand.Rand) profile {
	p := profile{
		keys:      []rotation.WantedKey{rsa2048},
		selectors: rotation.Selectors{Prefix: "m"},
		lifetimes: rotation.Lifetimes{
			Overlap: pick(rng, 5*day, 7*day, 14*day), Tombstone: pick(rng, 2*day, 30*day), RevocationGrace: maxMountLag,
		},
		adopted: rng.Float64() < 0.1,
		watched: rng.Float64() < 0.2,
		servers: 2 + rng.IntN(3), resolvers: 3, pods: 1 + rng.IntN(3),
		ttl: pick(rng, 5*time.Minute, time.Hour), negativeTTL: pick(rng, 5*time.Minute, 30*time.Minute, 4*time.Hour),
		serverLag: pick(rng, 2*time.Second, time.Minute), mountLag: maxMountLag,
		crash: 0.003, conflict: 0.01, unread: 0.003, fault: 0.05,
		clockSteps: 120 * day, relapses: 90 * day,
		acts: map[act]time.Duration{
			rotateNow: 300 * day, undo: 200 * day, changeBits: 600 * day, losePrivateKey: 400 * day, suspend: 500 * day, revoke: 700 * day,
		},
		sent: day,
	}
	p.lifetimes.LongestTTL = max(p.ttl, p.negativeTTL)
	if rng.Float64() < 0.6 {
		p.keys = append(p.keys, ed25519)
		p.acts[toggleEd25519] = 900 * day
	}
	if p.watched { // a pod that hangs for hours would make a revocation's mail in flight unbounded
		p.mountLag = pick(rng, maxMountLag, 8*time.Hour)
		if p.mountLag > maxMountLag {
			delete(p.acts, revoke)
		}
	}
	drawCalendar(rng, &p)
	if rng.Float64() < 0.15 {
		if p.period < 30*day { // a slot that is out for long is out for several rotations
			p.lifetimes.Overlap, p.lifetimes.Tombstone = 5*day, 2*day
		}
		p.selectors = rotation.Selectors{Ring: []string{"a", "b", "c", "d", "e", "f", "g", "h"}[:max(3, 4*len(p.keys))]}
	}
	return p
}

func drawCalendar(rng *rand.Rand, p *profile) {
	if rng.Float64() < 0.5 {
		p.period = pick(rng, 14*day, 30*day, 30*day, 60*day, 90*day)
		p.calendar.Interval = p.period
		return
	}
	s := pick(rng, [2]string{"0 4 1 * *", ""}, [2]string{"30 2 15 */2 *", "Europe/Berlin"}, [2]string{"0 4 * * 0", "America/New_York"})
	schedule, err := rotation.ParseSchedule(s[0], s[1], start)
	if err != nil {
		panic(err) // of a text in this file
	}
	p.calendar.Schedule, p.cron = &schedule, s
	first := schedule.Next(start)
	p.period = schedule.Next(first).Sub(first)
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }
