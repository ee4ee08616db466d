// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import "time"

// target is a value that shall stand under a selector; absent means that none may.
type target struct {
	selector string
	value    keyID
}

// verdict is what a look at every authoritative server found.
type verdict struct {
	verified bool
	at       time.Time
	ours     time.Time // the same by the operator's clock
	since    time.Time // when the value was first found, by the operator's clock
}

// prober asks the authoritative servers, as internal/dnscheck does, and wakes whoever wants to know.
type prober struct {
	world    *world
	targets  map[string]target // by selector
	verdicts map[string]verdict
}

// proberRound is how far apart its rounds are once a record stands.
const proberRound = 10 * time.Minute

// expect has the prober look for a value until it is found, and now and then after.
func (p *prober) expect(t target) {
	if p.targets[t.selector] == t {
		return
	}
	p.targets[t.selector] = t
	delete(p.verdicts, t.selector)
	p.watch(t.selector, p.world.now)
}

// watch looks within a round of the moment at which an answer changes. A real prober looks all the time; what it sees in
// between is the same.
func (p *prober) watch(selector string, changes time.Time) {
	p.world.at(changes.Add(time.Duration(p.world.rng.Int64N(int64(proberRound)))), func() { p.look(selector) })
}

func (p *prober) look(selector string) {
	w := p.world
	t, ok := p.targets[selector]
	if !ok || w.down() {
		return
	}
	if w.rng.Float64() < w.profile.unread { // unknown is not absent: the verdict stays
		w.in(time.Minute, func() { p.look(selector) })
		return
	}
	_, verified := w.zone.everywhere(selector, t.value, w.now)
	if last, ok := p.verdicts[selector]; !ok || last.verified != verified {
		w.wakeKey(selector)
	}
	v := verdict{verified: verified, at: w.now, ours: w.operatorNow()}
	if v.since = p.verdicts[selector].since; verified {
		stamp(&v.since, v.ours)
	} else {
		v.since = time.Time{}
	}
	p.verdicts[selector] = v
}

// sweep looks at once, for the last evidence before a key signs. Where a record is lacking, the rounds go on anyway.
func (p *prober) sweep(selector string) {
	w := p.world
	if !p.verdicts[selector].verified {
		return
	}
	w.in(time.Second+time.Duration(w.rng.Int64N(int64(9*time.Second))), func() {
		p.look(selector)
		w.domainAlarm.in(0)
	})
}

// freshness is how old the last evidence before a key signs may be.
const freshness = 2 * time.Minute

func (p *prober) fresh(t target) bool {
	v := p.verdict(t)
	return v.verified && p.world.now.Sub(v.at) < freshness
}

// verdict is the last one about a target that is looked at; zero if there is none yet.
func (p *prober) verdict(t target) verdict {
	if p.targets[t.selector] != t {
		return verdict{}
	}
	return p.verdicts[t.selector]
}

// forget is what a restart does.
func (p *prober) forget() {
	clear(p.targets)
	clear(p.verdicts)
}

// provider writes the zone. One call at a time for each selector; what was asked last counts.
type provider struct {
	world  *world
	wanted map[string]keyID
	broken time.Time // until when every call fails
	answer func(selector string, value keyID, done bool)
}

// submit asks for a value and wakes the key's controller when it stands.
func (p *provider) submit(selector string, value keyID) {
	if asked, ok := p.wanted[selector]; ok && asked == value {
		return
	}
	p.wanted[selector] = value
	p.call(selector, value)
}

func (p *provider) call(selector string, value keyID) {
	w := p.world
	w.in(time.Second+time.Duration(w.rng.Int64N(int64(30*time.Second))), func() {
		if w.down() || p.wanted[selector] != value {
			return
		}
		if w.rng.Float64() < w.profile.fault && !w.now.Before(p.broken) {
			p.broken = w.now.Add(pick(w.rng, time.Minute, time.Hour, 2*day))
		}
		if w.now.Before(p.broken) {
			w.report.ProviderFaults++
			p.answer(selector, value, false)
			p.callAgain(selector, value)
			return
		}
		if w.zone.primary[selector] != value {
			w.checkRecordChange(selector, value)
			w.publish(selector, value)
		}
		p.answer(selector, value, true)
		w.wakeKey(selector)
	})
}

// callAgain tries again with the patience of a backoff.
func (p *provider) callAgain(selector string, value keyID) {
	wait := max(p.broken.Sub(p.world.now)/4, time.Minute)
	p.world.in(wait, func() { p.call(selector, value) })
}

func (p *provider) forget() { clear(p.wanted) }

// steppingClock is the clock of the operator's node: right, but for what was stepped.
type steppingClock struct{ offset time.Duration }

// stepClock has the operator's clock be wrong for a while, as after a node's clock lost its battery.
func (w *world) stepClock() {
	w.in(w.between(w.profile.clockSteps), w.stepClock)
	if w.clock.offset != 0 {
		return
	}
	off := pick(w.rng, 10*time.Second, 3*time.Minute, 6*time.Minute, time.Hour, day, 40*day, 400*day)
	if w.rng.Float64() < 0.5 {
		off = -off
	}
	w.clock.offset = off + time.Duration(w.rng.Int64N(int64(time.Minute)))*sign(off)
	w.report.ClockSteps++
	w.wakeAll()
	w.in(time.Minute+time.Duration(w.rng.Int64N(int64(3*day))), func() {
		w.clock.offset = 0
		w.wakeAll()
	})
}

func sign(d time.Duration) time.Duration {
	if d < 0 {
		return -1
	}
	return 1
}
