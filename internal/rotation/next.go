// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

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

// DeleteKey asks for a DKIMKey to be deleted whose record no cache knows any more. Its Secret goes with it.
type DeleteKey struct{ Key string }

func (CreateKey) step() {}
func (SetIntent) step() {}
func (SignWith) step()  {}
func (Sweep) step()     {}
func (DeleteKey) step() {}

// Decision is what to do now, when to look again at the latest (zero: when something changes) and what is
// being waited for, in words that stay the same until the wait ends.
type Decision struct {
	Steps      []Step
	LookAgain  time.Time
	WaitingFor string
	// CannotUndo says why the rotation that a person wants undone stays.
	CannotUndo string
}

// Next decides the next steps for the keys of one domain.
func Next(policy Policy, keys []Key, now time.Time) Decision {
	// A stable order, newest first, makes the decision the same whatever order the keys were listed in.
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Selector, a.Selector))
	})
	// Invariant 7: who signs is decided about all keys together, so that one of which nothing is known stops it.
	if k, ok := pick(keys, func(k Key) bool { return k.Unsure != "" }); ok {
		return Decision{WaitingFor: k.Selector + ": " + k.Unsure}
	}
	p := plan{policy: policy, keys: keys, now: now}
	for _, want := range policy.Keys {
		p.lanes = append(p.lanes, nextOf(policy, want, ofAlgorithm(keys, want.Algorithm), now))
	}
	p.rotateTogether()
	p.mostUrgentFirst()
	var given []string
	for i := range p.lanes {
		given = append(given, p.lanes[i].settle(policy, keys, given, now)...)
	}
	p.keepOneRSA()
	p.dropUnwanted()
	p.deleteGone()
	return p.decision()
}

// plan gathers the lanes, one for each algorithm.
type plan struct {
	policy Policy
	keys   []Key
	now    time.Time

	lanes  []lane
	linger []string // selectors of an algorithm that is wanted no more, which stay a moment
	retire []Step   // of keys whose algorithm is wanted no more
	remove []Step
	look   time.Time
}

// rotateTogether has the algorithms swap in one write: a routine rotation waits for the last look of the other ones.
// Nothing that is urgent does, and nobody waits for a key that is not ready.
func (p *plan) rotateTogether() {
	looking := slices.ContainsFunc(p.lanes, func(l lane) bool { return l.move == look })
	for i := range p.lanes {
		if l := &p.lanes[i]; looking && l.move == swap && l.routine {
			l.move = stay
			l.waitFor(l.heir, "a fresh look at the key of the other algorithm, to rotate together")
		}
	}
}

// mostUrgentFirst has the lanes choose selectors in turn: the slots of a ring are few, and one algorithm must not take every
// slot that comes free.
func (p *plan) mostUrgentFirst() {
	slices.SortStableFunc(p.lanes, func(a, b lane) int {
		if a.signs != b.signs {
			return map[bool]int{true: 1, false: -1}[a.signs]
		}
		return newest(a.keys).Compare(newest(b.keys))
	})
}

// keepOneRSA enforces that RSA signs first: Ed25519 alone fails at several large receivers, so that no other
// algorithm begins before an RSA key does, and none goes on alone after a revocation (invariant 3).
func (p *plan) keepOneRSA() {
	signers := p.signers()
	rsaSigns := slices.ContainsFunc(p.keys, func(k Key) bool {
		return k.Algorithm == dkim.RSA && slices.Contains(signers, k.Selector)
	})
	if rsaSigns || !p.policy.wants(dkim.RSA) {
		return
	}
	for i := range p.lanes {
		p.lanes[i].signers, p.lanes[i].intents, p.lanes[i].retire = nil, nil, nil
	}
}

// dropUnwanted lets the keys go whose algorithm left the spec: out of the signing Secret, and then retired.
func (p *plan) dropUnwanted() {
	for _, k := range p.keys {
		switch {
		case p.policy.wants(k.Algorithm):
		case k.Signs && !k.Revoked && !k.noted():
			p.linger = append(p.linger, k.Selector)
		case !k.Signs && k.Intent != ToRetire:
			p.retire = append(p.retire, SetIntent{Key: k.Name, Intent: ToRetire})
		}
	}
}

// deleteGone deletes what left no trace in the DNS. A DKIMKey that a person wrote is that person's to delete.
func (p *plan) deleteGone() {
	for _, k := range p.keys {
		if k.reached() != Remove || k.Manual || k.Deleting {
			continue
		}
		if r := Retire(k, p.policy.Lifetimes, p.now); r.Stage == Gone {
			p.remove = append(p.remove, DeleteKey{Key: k.Name})
		} else {
			p.look = earliest(p.look, r.Until)
		}
	}
}

func (p *plan) signers() []string {
	all := slices.Clone(p.linger)
	for _, l := range p.lanes {
		all = append(all, l.signers...)
	}
	slices.Sort(all)
	return all
}

// decision puts the steps into the order in which they are safe, whatever the moment of a crash (invariant 6): a key is
// asked to sign before signers get it, so that its controller never withdraws what is about to sign, and none retires
// before signers were seen without it.
func (p *plan) decision() Decision {
	d := Decision{LookAgain: p.look}
	var create, sweep, intents, retire []Step
	var waiting, cannot []string
	for _, l := range p.lanes {
		create = append(create, l.create...)
		sweep = append(sweep, l.sweep...)
		intents = append(intents, l.intents...)
		retire = append(retire, l.retire...)
		waiting = append(waiting, l.waiting...)
		cannot = append(cannot, l.cannotUndo...)
		d.LookAgain = earliest(d.LookAgain, l.look)
	}
	d.Steps = slices.Concat(create, sweep, intents)
	if signers := p.signers(); !slices.Equal(signers, signing(p.keys)) {
		d.Steps = append(d.Steps, SignWith{Selectors: signers})
	}
	d.Steps = slices.Concat(d.Steps, retire, p.retire, p.remove)
	d.WaitingFor, d.CannotUndo = strings.Join(waiting, "; "), strings.Join(cannot, "; ")
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
	of := make([]Key, 0, len(keys))
	for _, k := range keys {
		if k.Algorithm == a {
			of = append(of, k)
		}
	}
	return of
}

func pick(keys []Key, is func(Key) bool) (Key, bool) {
	if i := slices.IndexFunc(keys, is); i >= 0 {
		return keys[i], true
	}
	return Key{}, false
}
