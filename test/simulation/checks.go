// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// truth is what really happened, whatever any status says. Nothing in the operator reads it.
type truth struct {
	owner     map[string]string // who has a selector, or had it
	algorithm map[keyID]dkim.Algorithm
	began     map[keyID]time.Time // when the signing Secret first held it
	left      map[keyID]time.Time // when it last stopped to
	withdrawn map[keyID]bool      // its record was changed
	revoked   map[keyID]time.Time

	rotating  time.Time // the rotation that was begun last
	dueSince  time.Time // when; zero once it is completed
	nextDue   time.Time // as it was announced
	downSince time.Time
	suspended bool // ever
}

func newTruth() truth {
	return truth{
		owner: map[string]string{}, algorithm: map[keyID]dkim.Algorithm{}, began: map[keyID]time.Time{}, left: map[keyID]time.Time{},
		withdrawn: map[keyID]bool{}, revoked: map[keyID]time.Time{},
	}
}

func (t *truth) pending() bool { return !t.dueSince.IsZero() }

// checkSelector is invariant 4: a selector is never given to a second key, but for a slot of the ring that no cache
// knows any more.
func (w *world) checkSelector(selector string) {
	if _, used := w.truth.owner[selector]; used {
		since, gone := w.zone.everywhere(selector, absent, w.now)
		ring := slices.Contains(w.profile.selectors.Ring, selector)
		if !ring || !gone || w.now.Before(since.Add(w.profile.ttl)) {
			w.report.ReusedSelectors++
			w.violated(4, "selector %s is given to a second key; no server answers the first one (%t) since %s", selector, gone, brief(since))
		}
	}
	w.truth.owner[selector] = selector
}

// checkCreateAgain: to create what was made a moment ago changes nothing, as after a stale read.
func (w *world) checkCreateAgain(live *dkimKey, s rotation.CreateKey) {
	if live.intent != rotation.ToStandBy || live.revoked {
		w.report.ReusedSelectors++
		w.violated(4, "selector %s is given to a second key while the first is there", s.Selector)
	}
}

// checkSigners looks at what the signing Secret is about to hold: invariants 1, 3 and 8.
func (w *world) checkSigners(before, after signingSecret) {
	for _, k := range w.cluster.live() {
		w.truth.algorithm[k.pair] = k.algorithm
	}
	for _, selector := range sortedKeys(after.keys) {
		if id := after.keys[selector]; before.keys[selector] != id {
			w.checkBegins(selector, id)
		}
	}
	for selector, id := range before.keys {
		if after.keys[selector] != id {
			w.truth.left[id] = w.now
		}
	}
	w.checkRSA(before, after)
	w.countSwap(before, after)
}

func (w *world) checkBegins(selector string, id keyID) {
	since, all := w.zone.everywhere(selector, id, w.now)
	if !all || w.now.Before(since.Add(w.profile.negativeTTL)) {
		w.violated(1, "%s begins to sign, and its record is everywhere (%t) since %s only", selector, all, brief(since))
	}
	if _, ok := w.truth.revoked[id]; ok {
		w.violated(3, "%s begins to sign though it is revoked", selector)
	}
	_, signed := w.truth.began[id]
	if w.inDoubt() && !signed {
		w.violated(8, "%s begins to sign though our clock is %s off", selector, w.clock.offset)
	}
	w.truth.began[id] = w.now
}

func (w *world) checkRSA(before, after signingSecret) {
	former, now := w.rsaOf(before), w.rsaOf(after)
	_, revoked := w.truth.revoked[former]
	switch {
	case now == absent && len(after.keys) > 0:
		w.violated(3, "%v sign without RSA", sortedKeys(after.keys))
	case now == absent && former != absent && !revoked:
		w.violated(3, "no RSA key signs any more")
	}
}

func (w *world) rsaOf(s signingSecret) keyID {
	for _, selector := range sortedKeys(s.keys) {
		if id := s.keys[selector]; w.truth.algorithm[id] == dkim.RSA {
			return id
		}
	}
	return absent
}

// countSwap counts a rotation by its RSA key, and looks whether the former one signed for too long.
func (w *world) countSwap(before, after signingSecret) {
	former, now := w.rsaOf(before), w.rsaOf(after)
	if former == absent || now == absent || former == now {
		return
	}
	if _, back := w.truth.left[now]; back {
		w.report.Undone++
		return
	}
	w.report.Rotations++
	w.swaps = append(w.swaps, w.now)
	w.checkAge(former)
}

// checkAge: no key signs for much longer than the calendar says, however often something came in between.
func (w *world) checkAge(id keyID) {
	most := w.profile.period + w.profile.period/10 + 20*day
	if ring := w.profile.selectors.Ring; len(ring) > 0 {
		most += w.profile.lifetimes.Overlap + w.profile.lifetimes.Tombstone // until a slot comes free
	}
	if began, ok := w.truth.began[id]; ok && !w.truth.suspended && w.now.Sub(began) > most {
		w.unfinished("key %d signed since %s, though keys rotate every %s", id, brief(began), w.profile.period)
	}
}

func (w *world) unfinished(format string, args ...any) {
	w.report.Unfinished++
	w.violated(0, format, args...)
}

// checkRecordChange looks at what the provider is about to write: invariant 2.
func (w *world) checkRecordChange(selector string, value keyID) {
	id := w.zone.primary[selector]
	if id <= 0 || id == value {
		return
	}
	w.truth.withdrawn[id] = true
	_, signed := w.truth.began[id]
	_, revoked := w.truth.revoked[id]
	if !signed || revoked {
		return
	}
	left := w.truth.left[id]
	if w.cluster.signing.live.keys[selector] == id {
		w.violated(2, "the record of %s changes while it signs", selector)
	} else if w.now.Before(left.Add(w.profile.lifetimes.Overlap)) {
		w.violated(2, "the record of %s changes %s after it left the signing Secret, overlap %s", selector, w.now.Sub(left), w.profile.lifetimes.Overlap)
	}
}

// checkStage looks at what a key's controller decided: invariants 7 and 8.
func (w *world) checkStage(k dkimKey, view rotation.Key, r rotation.Retirement) {
	reached := rotation.Keep
	if !k.emptied.IsZero() {
		reached = rotation.Empty
	}
	if !k.removed.IsZero() {
		reached = rotation.Remove
	}
	if r.Stage <= reached {
		return
	}
	if view.Unsure != "" {
		w.violated(7, "%s goes on to %s though something could not be read", k.selector, r.Stage)
	}
	if w.inDoubt() {
		w.violated(8, "%s goes on to %s though our clock is %s off", k.selector, r.Stage, w.clock.offset)
	}
}

// checkDeletion is invariant 5.
func (w *world) checkDeletion(k *dkimKey) {
	for server := range w.zone.servers {
		if k.pair != absent && w.zone.answer(server, k.selector, w.now) == k.pair {
			w.violated(5, "the private key of %s is deleted and server %d answers its record", k.selector, server)
		}
	}
	if w.signsLive(k) {
		w.violated(5, "the private key of %s is deleted and signs", k.selector)
	}
	if w.inDoubt() {
		w.violated(8, "%s is deleted though our clock is %s off", k.selector, w.clock.offset)
	}
}

// noteDue follows rotations from the moment they are due to the moment when every key is new.
func (w *world) noteDue(rotateAt, next, generation time.Time) {
	t := &w.truth
	missed := t.nextDue.After(t.downSince) && t.nextDue.Before(w.downUntil)
	defer func() { t.nextDue = next }()
	if generation.IsZero() {
		return
	}
	if t.pending() && !generation.Before(t.rotating) {
		w.report.LongestWait = max(w.report.LongestWait, w.now.Sub(t.dueSince))
		t.dueSince = time.Time{}
	}
	if rotateAt.After(generation) && rotateAt.After(t.rotating) {
		if !t.pending() {
			t.dueSince = w.now
		}
		if missed {
			w.report.Missed++
		}
		t.rotating = rotateAt
	}
}

// checkEnd is invariant 6: whatever crashed in between, nothing is left that is not on its way.
func (w *world) checkEnd() {
	if w.truth.pending() && w.now.Sub(w.truth.dueSince) > 20*day+w.profile.lifetimes.Overlap+w.profile.lifetimes.Tombstone {
		w.unfinished("a rotation is due since %s", brief(w.truth.dueSince))
	}
	for _, selector := range sortedKeys(w.cluster.signing.live.keys) {
		w.checkAge(w.cluster.signing.live.keys[selector])
	}
	spares := map[dkim.Algorithm]int{}
	for _, k := range w.cluster.live() {
		w.checkNotForgotten(k)
		if !w.signsLive(k) && k.intent != rotation.ToRetire && !k.revoked {
			spares[k.algorithm]++
		}
	}
	for _, algorithm := range sortedKeys(spares) {
		if n := spares[algorithm]; n > 1 {
			w.violated(6, "%d spares of %s stand", n, algorithm)
		}
	}
}

func (w *world) checkNotForgotten(k *dkimKey) {
	const patience = 30 * day
	l := w.profile.lifetimes
	signs, retired := w.signsLive(k), k.intent == rotation.ToRetire || k.revoked
	left, hasLeft := w.truth.left[k.pair]
	switch {
	case signs || k.adopted || w.now.Sub(k.created) < patience:
	case !retired && hasLeft && w.now.Sub(left) > patience:
		w.violated(6, "%s signed until %s and is forgotten", k.selector, brief(left))
	case retired && hasLeft && w.now.Sub(left) > l.Overlap+l.Tombstone+patience:
		w.violated(6, "%s signed until %s and is still there", k.selector, brief(left))
	}
}
