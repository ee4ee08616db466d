// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"slices"
	"time"
)

// maxUnretired bounds how many keys of one algorithm may stand side by side: one signs, one is the spare, and
// two may be stuck (a conflict in the DNS, a key pair that was lost) before we stop making more.
const maxUnretired = 4

// move is what becomes of the key that signs.
type move int

const (
	stay move = iota // it signs on, also when it should be replaced and cannot be yet (invariant 3)
	look             // the key that is to sign in its place is looked at once more
	swap             // that one signs
)

// lane is the decision for one algorithm.
type lane struct {
	want WantedKey
	keys []Key

	incumbent Key // signs now
	signs     bool
	spare     Key // stands ready, or is on its way there
	hasSpare  bool
	heir      Key // signs next: the spare, or when a rotation is undone the key that signed before
	hasHeir   bool
	move      move
	routine   bool // nobody minds if the swap is a moment later

	create, sweep, intents, retire []Step
	signers                        []string
	waiting, cannotUndo            []string
	look                           time.Time
}

// nextOf decides for one algorithm who signs and who is next.
func nextOf(policy Policy, want WantedKey, keys []Key, now time.Time) lane {
	l := lane{want: want, keys: keys}
	l.incumbent, l.signs = pick(keys, func(k Key) bool { return k.Signs && !k.Revoked })
	l.spare, l.hasSpare = successor(keys, want, l.incumbent, now)
	l.heir, l.hasHeir = l.spare, l.hasSpare

	newest := newest(keys)
	undo := l.signs && policy.undoes(l.incumbent, newest, now) && l.undo(policy, now)
	urgent := undo || !l.signs || l.heir.Intent == ToSign || want.unfit(l.incumbent)
	l.routine = !urgent
	switch {
	case !l.hasHeir:
	case l.signs && !l.incumbent.noted():
		l.waitFor(l.incumbent, "the note that it signs")
	case !urgent && !policy.rotates(newest, now) || !l.heir.ready(now):
		l.wait(l.heir, now)
	case policy.begins(l.heir):
		l.move = swap
	case l.heir.Fresh:
		l.waitFor(l.heir, "our clock and the API server's to agree")
	default:
		l.move = look
	}
	return l
}

// successor is the key that signs next: one that was chosen already, else one that could sign now, else the newest.
func successor(keys []Key, want WantedKey, incumbent Key, now time.Time) (Key, bool) {
	candidate := func(k Key) bool {
		former := incumbent.Signs && !k.SigningSince.IsZero() // signed before the incumbent: on its way out
		return !k.Signs && k.alive() && want.fits(k) && !former
	}
	for _, preferred := range []func(Key) bool{
		func(k Key) bool { return k.Intent == ToSign && k.ready(now) },
		func(k Key) bool { return k.ready(now) },
		func(Key) bool { return true },
	} {
		if k, ok := pick(keys, func(k Key) bool { return candidate(k) && preferred(k) }); ok {
			return k, true
		}
	}
	return Key{}, false
}

// undo makes the key that signed before the heir again, if there is one that may.
func (l *lane) undo(policy Policy, now time.Time) bool {
	last, ok := lastBefore(policy.Lifetimes, l.want, l.keys, now)
	if !ok {
		l.cannotUndo = append(l.cannotUndo, fmt.Sprintf("%s: no key that signed before is Retiring with its record as it was", l.want.Algorithm))
		return false
	}
	l.heir, l.hasHeir = last, true
	return true
}

// settle turns the move into steps, and sees to the spare and to what is on its way out. given are the selectors that
// were given to the lanes before; it returns the one that it gives itself.
func (l *lane) settle(policy Policy, all []Key, given []string, now time.Time) []string {
	signer, signs := l.incumbent, l.signs
	switch l.move {
	case swap:
		signer, signs = l.heir, true
	case look:
		l.sweep = append(l.sweep, Sweep{Key: l.heir.Name})
		l.waitFor(l.heir, "a fresh look at every authoritative server")
	case stay:
	}
	if signs {
		l.signers = []string{signer.Selector}
	}
	if signs && signer.Intent != ToSign { // also of one that signs already: what a stale copy had done is made good
		l.intents = append(l.intents, SetIntent{Key: signer.Name, Intent: ToSign})
	}
	// The first key comes before its spare: two new records at once would make the first Ready later, not sooner.
	// After a swap the next spare is made when the swap was seen done.
	var selector []string
	if !l.hasSpare && l.move != swap {
		selector = l.makeKey(policy, all, given, now)
	}
	l.retireOthers(now)
	return selector
}

func (l *lane) makeKey(policy Policy, all []Key, given []string, now time.Time) []string {
	standing := slices.DeleteFunc(slices.Clone(l.keys), Key.outOfTheWay)
	if len(standing) >= maxUnretired {
		l.waiting = append(l.waiting, fmt.Sprintf("%s: %d keys stand already and none can be used; see their conditions", l.want.Algorithm, maxUnretired))
		return nil
	}
	selector, ok := policy.Selectors.next(l.want.Algorithm, now, taken(policy.Selectors, all, given))
	if !ok {
		wait := fmt.Sprintf("%s: every selector of the ring is in use or revoked", l.want.Algorithm)
		if free := policy.Selectors.freeAt(all, policy.Lifetimes); !free.IsZero() {
			wait += ", until " + free.UTC().Format(time.RFC3339)
		}
		l.waiting = append(l.waiting, wait)
		return nil
	}
	l.create = append(l.create, CreateKey{Selector: selector, Algorithm: l.want.Algorithm, Bits: l.want.Bits})
	return []string{selector}
}

// outOfTheWay tells whether a key does not count as standing. One that was retired because someone else's record stands
// under its selector counts as long as that does: what stops this selector may stop every selector.
func (k Key) outOfTheWay() bool { return k.retired() && !k.Conflict }

// retireOthers retires what neither signs nor will. Invariant 2: only once the signing Secret was seen without it.
func (l *lane) retireOthers(now time.Time) {
	for _, k := range l.keys {
		done := k.Intent == ToSign || !l.want.fits(k) || k.Conflict || k.Lost && l.hasSpare || l.surplus(k, now)
		needed := k.Signs || l.hasHeir && k.Name == l.heir.Name || slices.Contains(l.signers, k.Selector)
		if done && !needed && k.Intent != ToRetire && len(l.signers) > 0 {
			l.retire = append(l.retire, SetIntent{Key: k.Name, Intent: ToRetire})
		}
	}
}

// surplus tells whether a key stands beside a spare that is ready. A stale copy had it made; what a person wrote stays.
func (l *lane) surplus(k Key, now time.Time) bool {
	stands := l.signs && l.move != swap && l.hasSpare && l.spare.ready(now)
	return stands && k.Name != l.spare.Name && k.SigningSince.IsZero() && !k.Manual && !k.Adopted
}

// wait says what a key waits for that may not sign yet.
func (l *lane) wait(k Key, now time.Time) {
	switch {
	case !k.KeyPair:
		l.waitFor(k, "its key pair")
	case k.PublishedAt.IsZero():
		l.waitFor(k, "publication")
	case k.VerifiedAt.IsZero():
		l.waitFor(k, "every authoritative server to answer it")
	case now.Before(k.UsableAt):
		l.waitFor(k, "caches, until "+k.UsableAt.UTC().Format(time.RFC3339))
		l.look = earliest(l.look, k.UsableAt)
	}
}

func (l *lane) waitFor(k Key, what string) { l.waiting = append(l.waiting, k.Selector+": "+what) }
