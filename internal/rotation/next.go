// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// maxUnretired bounds how many keys of one algorithm may stand side by side: one signs, one is the spare, and
// two may be stuck (a conflict in the DNS, a key pair that was lost) before we stop making more.
const maxUnretired = 4

// Step is one thing to do. The order of a Decision's steps is the order in which they are safe.
type Step interface{ step() }

// CreateKey asks for a new DKIMKey with intent Standby.
type CreateKey struct {
	Selector  string
	Algorithm dkim.Algorithm
	Bits      int
}

// SetIntent tells a key what it is for from now on.
type SetIntent struct {
	Key    string // name of the DKIMKey
	Intent Intent
}

// SignWith says which selectors the signing Secret holds from now on, sorted; a swap is one write.
type SignWith struct{ Selectors []string }

// Sweep asks for a fresh look at every authoritative server, the last evidence before a key signs.
type Sweep struct{ Key string }

func (CreateKey) step() {}
func (SetIntent) step() {}
func (SignWith) step()  {}
func (Sweep) step()     {}

// Decision is what to do now, when to look again at the latest (zero: when something changes) and what is
// being waited for, in words that stay the same until the wait ends.
type Decision struct {
	Steps      []Step
	LookAgain  time.Time
	WaitingFor string
}

// Next decides the next steps for the keys of one domain.
func Next(policy Policy, keys []Key, now time.Time) Decision {
	// A stable order, newest first, makes the decision the same whatever order the keys were listed in.
	keys = slices.SortedFunc(slices.Values(keys), func(a, b Key) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Selector, a.Selector))
	})

	var plan plan
	taken := takenSelectors(policy, keys)
	for _, want := range policy.Keys {
		plan.add(nextOf(policy, want, ofAlgorithm(keys, want.Algorithm), taken, now))
	}
	plan.keepOneRSA(policy, keys)
	for _, k := range keys {
		if !policy.wants(k.Algorithm) && !k.Signs && k.Intent != ToRetire {
			plan.retire = append(plan.retire, SetIntent{Key: k.Name, Intent: ToRetire})
		}
	}
	return plan.decision(keys)
}

// lane is the outcome for one algorithm: lanes do not wait for each other.
type lane struct {
	create  []Step
	sweep   []Step
	intents []Step
	signers []string
	waiting []string
	look    time.Time
}

// nextOf decides for one algorithm: who signs, and is there a spare?
func nextOf(policy Policy, want WantedKey, keys []Key, taken map[string]bool, now time.Time) lane {
	var l lane
	incumbent, signs := pick(keys, func(k Key) bool { return k.Signs && !k.Revoked })
	spare, hasSpare := successor(keys, want, incumbent, now)

	switch replace := !signs || spare.Intent == ToSign || policy.replaces(want, incumbent, now); {
	case replace && hasSpare && spare.usable(now):
		// The swap: the spare's intent first, so that its controller never withdraws what is about to sign.
		if spare.Intent != ToSign {
			l.intents = append(l.intents, SetIntent{Key: spare.Name, Intent: ToSign})
		}
		incumbent, signs, hasSpare = spare, true, false
	case replace && hasSpare && spare.ready(now):
		l.sweep = append(l.sweep, Sweep{Key: spare.Name})
		l.waiting = append(l.waiting, spare.Selector+": a fresh look at every authoritative server")
	case hasSpare:
		l.wait(spare, now)
	}
	if signs {
		// Also when it should be replaced and cannot be yet: a stuck rotation leaves the old key signing (invariant 3).
		l.signers = append(l.signers, incumbent.Selector)
	}
	// The first key comes before its spare: two new records at once would make the first Ready later, not sooner.
	// After a swap the next spare is made when the swap was seen done.
	if !hasSpare && (!signs || incumbent.Signs) {
		l.create = createStep(policy, want, keys, taken, now, &l)
	}
	l.intents = append(l.intents, retireSteps(keys, want, l.signers)...)
	return l
}

// successor is the key that signs next: one that was chosen already, else one that could sign now, else the newest.
func successor(keys []Key, want WantedKey, incumbent Key, now time.Time) (Key, bool) {
	candidates := slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		former := incumbent.Signs && !k.SigningSince.IsZero() // signed before the incumbent: on its way out
		return k.Signs || !k.alive() || !want.fits(k) || former
	})
	for _, preferred := range []func(Key) bool{
		func(k Key) bool { return k.Intent == ToSign && k.ready(now) },
		func(k Key) bool { return k.ready(now) },
		func(Key) bool { return true },
	} {
		if k, ok := pick(candidates, preferred); ok {
			return k, true
		}
	}
	return Key{}, false
}

func createStep(policy Policy, want WantedKey, keys []Key, taken map[string]bool, now time.Time, l *lane) []Step {
	if len(slices.DeleteFunc(slices.Clone(keys), Key.outOfTheWay)) >= maxUnretired {
		l.waiting = append(l.waiting, fmt.Sprintf("%s: %d keys stand already and none can be used; see their conditions", want.Algorithm, maxUnretired))
		return nil
	}
	selector, ok := policy.Selectors.next(want.Algorithm, now, taken)
	if !ok {
		l.waiting = append(l.waiting, fmt.Sprintf("%s: every selector of the ring is in use", want.Algorithm))
		return nil
	}
	taken[selector] = true
	return []Step{CreateKey{Selector: selector, Algorithm: want.Algorithm, Bits: want.Bits}}
}

// outOfTheWay tells whether a key does not count as standing. One that was retired because someone else's record stands
// under its selector counts as long as that does: what stops this selector may stop every selector.
func (k Key) outOfTheWay() bool { return k.retired() && !k.Conflict }

// retireSteps retires what neither signs nor can be the spare. Invariant 2: only once the signing Secret was seen
// without it.
func retireSteps(keys []Key, want WantedKey, signers []string) []Step {
	var steps []Step
	for _, k := range keys {
		done := k.Intent == ToSign || !want.fits(k) || k.Conflict
		if done && !k.Signs && k.Intent != ToRetire && !slices.Contains(signers, k.Selector) && len(signers) > 0 {
			steps = append(steps, SetIntent{Key: k.Name, Intent: ToRetire})
		}
	}
	return steps
}

func (l *lane) wait(k Key, now time.Time) {
	switch {
	case !k.KeyPair:
		l.waiting = append(l.waiting, k.Selector+": its key pair")
	case k.PublishedAt.IsZero():
		l.waiting = append(l.waiting, k.Selector+": publication")
	case k.VerifiedAt.IsZero():
		l.waiting = append(l.waiting, k.Selector+": every authoritative server to answer it")
	case now.Before(k.UsableAt):
		l.waiting = append(l.waiting, k.Selector+": caches, until "+k.UsableAt.UTC().Format(time.RFC3339))
		l.look = k.UsableAt
	}
}

// plan gathers the lanes.
type plan struct {
	lanes  []lane
	retire []Step // of keys whose algorithm is wanted no more
}

func (p *plan) add(l lane) { p.lanes = append(p.lanes, l) }

func (p *plan) signers() []string {
	var all []string
	for _, l := range p.lanes {
		all = append(all, l.signers...)
	}
	slices.Sort(all)
	return all
}

// keepOneRSA enforces that RSA signs first: Ed25519 alone fails at several large receivers, so that no other
// algorithm begins before an RSA key does, and none goes on alone after a revocation (invariant 3).
func (p *plan) keepOneRSA(policy Policy, keys []Key) {
	signers := p.signers()
	rsaSigns := slices.ContainsFunc(keys, func(k Key) bool {
		return k.Algorithm == dkim.RSA && slices.Contains(signers, k.Selector)
	})
	if rsaSigns || !policy.wants(dkim.RSA) {
		return
	}
	for i := range p.lanes {
		p.lanes[i].signers, p.lanes[i].intents = nil, nil
	}
}

func (p *plan) decision(keys []Key) Decision {
	var d Decision
	var create, sweep, intents []Step
	retire := p.retire
	var waiting []string
	for _, l := range p.lanes {
		create = append(create, l.create...)
		sweep = append(sweep, l.sweep...)
		waiting = append(waiting, l.waiting...)
		if !l.look.IsZero() && (d.LookAgain.IsZero() || l.look.Before(d.LookAgain)) {
			d.LookAgain = l.look
		}
		for _, s := range l.intents {
			if s.(SetIntent).Intent == ToRetire {
				retire = append(retire, s)
			} else {
				intents = append(intents, s)
			}
		}
	}
	d.Steps = slices.Concat(create, sweep, intents)
	if signers := p.signers(); !slices.Equal(signers, signing(keys)) {
		d.Steps = append(d.Steps, SignWith{Selectors: signers})
	}
	d.Steps = append(d.Steps, retire...)
	d.WaitingFor = strings.Join(waiting, "; ")
	return d
}

// signing lists the selectors that the signing Secret holds now, sorted.
func signing(keys []Key) []string {
	var out []string
	for _, k := range keys {
		if k.Signs {
			out = append(out, k.Selector)
		}
	}
	slices.Sort(out)
	return out
}

func ofAlgorithm(keys []Key, a dkim.Algorithm) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.Algorithm != a })
}

func pick(keys []Key, is func(Key) bool) (Key, bool) {
	if i := slices.IndexFunc(keys, is); i >= 0 {
		return keys[i], true
	}
	return Key{}, false
}
