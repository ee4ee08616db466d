// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// world is one domain and everything around it.
type world struct {
	agenda
	name    string
	seed    string // spreads its rotations
	profile profile
	rng     *rand.Rand
	report  Report

	operator    operator
	cluster     cluster
	clock       steppingClock
	downUntil   time.Time
	domainAlarm *alarm
	keyAlarms   map[string]*alarm
	prober      prober
	provider    provider
	pairs       keyID // how many were made

	zone      zone
	resolvers []resolver
	pods      []pod

	truth truth
	swaps []time.Time

	waitingFor string    // in the words of the last decision
	trace      *timeline // nil unless somebody draws it
}

func newWorld(name string, p profile, rng *rand.Rand) *world {
	w := &world{
		agenda: agenda{now: start}, name: name, profile: p, rng: rng,
		seed: name, cluster: newCluster(), keyAlarms: map[string]*alarm{}, zone: newZone(p.servers), truth: newTruth(),
	}
	w.report.Domains = 1
	w.operator = decisions{w}
	w.cluster.domain.keys = slices.Clone(p.keys)
	w.domainAlarm = &alarm{agenda: &w.agenda, ring: func() { w.operator.reconcileDomain(); w.trace.note(w) }}
	w.prober = prober{world: w, targets: map[string]target{}, verdicts: map[string]verdict{}}
	w.provider = provider{world: w, wanted: map[string]keyID{}, answer: func(string, keyID, bool) {}}
	for range p.resolvers {
		w.resolvers = append(w.resolvers, resolver{entries: map[string]cacheEntry{}})
	}
	w.pods = make([]pod, p.pods)
	return w
}

// operator is who looks after the domain: the decisions alone, or the real controllers. What it writes stands in w.cluster.
type operator interface {
	begin()                       // the MailDomain is there
	reconcileDomain()             // look at the domain
	reconcileKey(selector string) // look at one of its keys
	crashed()                     // forget what was not written
	hear()                        // a person changed w.cluster.domain
	lose(name string)             // somebody deleted a private key
}

// decisions are an operator that knows internal/rotation and little else.
type decisions struct{ *world }

func (d decisions) begin() {
	if d.profile.adopted {
		d.adopt()
	}
}

func (d decisions) crashed()         {}
func (d decisions) hear()            {}
func (d decisions) lose(name string) { delete(d.cluster.secrets, name) }

// run lets the world go on until the end, and then counts what was left undone.
func (w *world) run(end time.Time) {
	w.operator.begin()
	w.domainAlarm.in(0)
	w.resync()
	w.in(w.between(w.profile.clockSteps), w.stepClock)
	w.in(w.between(w.profile.relapses), w.relapse)
	w.planActs()
	w.sendNowAndThen()
	w.report.Events = w.runUntil(end)
	w.checkEnd()
}

// before is the selector of a key that signs already, outside of the cluster.
const before = "before"

// stands has the record of that key stand there, for long.
func (w *world) stands() keyID {
	w.pairs++
	id := w.pairs
	w.zone.primary[before] = id
	for server := range w.zone.servers {
		w.zone.append(server, before, start.Add(-30*day), id)
	}
	return id
}

// adopt brings it in: its Secret is there.
func (w *world) adopt() {
	id, selector := w.stands(), before
	k := dkimKey{
		name: nameOf(selector), selector: selector, algorithm: dkim.RSA, bits: 1024, created: start, adopted: true,
		intent: rotation.ToStandBy, pair: id, asked: id, published: start, verified: start, usable: start,
	}
	w.cluster.secrets[k.name] = id
	w.cluster.put(k, start)
	w.truth.owner[selector] = k.name
	w.keyAlarm(selector).in(0)
}

// resync looks at everything now and then, as an operator does for what no watch tells of.
func (w *world) resync() {
	w.in(10*day+time.Duration(w.rng.Int64N(int64(time.Hour))), w.resync)
	w.wakeAll()
}

func (w *world) wakeAll() {
	w.domainAlarm.in(0)
	for _, k := range w.cluster.live() {
		w.keyAlarm(k.selector).in(0)
	}
}

func (w *world) wakeKey(selector string) {
	w.keyAlarm(selector).in(0)
	w.domainAlarm.in(0)
}

func (w *world) keyAlarm(selector string) *alarm {
	a := w.keyAlarms[selector]
	if a == nil {
		a = &alarm{agenda: &w.agenda, ring: func() { w.operator.reconcileKey(selector); w.trace.note(w) }}
		w.keyAlarms[selector] = a
	}
	return a
}

func (w *world) signsLive(k *dkimKey) bool {
	return k.pair != absent && w.cluster.signing.live.keys[k.selector] == k.pair
}

// planActs has the person do each thing now and then.
func (w *world) planActs() {
	for a := rotateNow; a <= suspend; a++ {
		if average, ok := w.profile.acts[a]; ok {
			w.planAct(a, average)
		}
	}
}

func (w *world) planAct(a act, average time.Duration) {
	w.in(w.between(average), func() {
		w.do(a)
		w.operator.hear()
		w.domainAlarm.in(0)
		w.planAct(a, average)
	})
}

func (w *world) do(a act) {
	spec := &w.cluster.domain
	switch a {
	case rotateNow:
		spec.asked = w.now.Truncate(time.Second)
	case undo:
		spec.undo = w.now.Truncate(time.Second)
	case changeBits:
		spec.keys[0].Bits = 2048 + 3072 - spec.keys[0].Bits
	case toggleEd25519:
		if len(spec.keys) > 1 {
			spec.keys = spec.keys[:1]
		} else {
			spec.keys = append(spec.keys, ed25519)
		}
	case revoke:
		w.revoke()
	case losePrivateKey:
		if keys := w.cluster.live(); len(keys) > 0 {
			k := keys[w.rng.IntN(len(keys))]
			if !k.adopted { // who brought it puts it back
				w.operator.lose(k.name)
				w.report.Lost++
				w.wakeKey(k.selector)
			}
		}
	case suspend:
		spec.suspended = true
		w.truth.suspended = true
		w.in(time.Duration(w.rng.Int64N(int64(60*day))), func() { spec.suspended = false; w.operator.hear(); w.domainAlarm.in(0) })
	}
}

// revoke names a selector that signs as compromised.
func (w *world) revoke() {
	for _, k := range w.cluster.live() {
		if w.signsLive(k) && !k.revoked && w.rng.Float64() < 0.7 {
			w.cluster.domain.revoked[k.selector] = true
			w.truth.revoked[k.pair] = w.now
			w.report.Revocations++
			return
		}
	}
}

// violated notes that an invariant did not hold.
func (w *world) violated(invariant int, format string, args ...any) {
	if len(w.report.Violations) < 5 {
		w.report.Violations = append(w.report.Violations, Violation{
			Invariant: fmt.Sprintf("invariant %d", invariant), Domain: w.name, At: w.now, What: fmt.Sprintf(format, args...) + w.describe(),
		})
	}
}
