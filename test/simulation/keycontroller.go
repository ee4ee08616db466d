// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// reconcileKey is the DKIMKey controller: it makes the key pair, has the record published, and notes when the key passed
// each point of its life.
func (w *world) reconcileKey(selector string) {
	if w.down() {
		return
	}
	o := w.cluster.keys[nameOf(selector)]
	if o == nil {
		return
	}
	k, stale, _ := o.cached(w.now)
	if k == nil {
		return
	}
	if stale {
		w.report.StaleReads++
	}
	w.reconcile(*k)
}

func (w *world) reconcile(k dkimKey) {
	before := k
	if k.pair == absent {
		if err := w.makePair(&k); err != nil {
			w.again(k, err)
			return
		}
	}
	w.restore(k)
	view := w.view(&k, w.cluster.signing.live) // live: what follows from it cannot be undone
	if w.rng.Float64() < w.profile.unread {
		w.report.Unreadable++
		view.Unsure, view.Signs = "the signing Secret cannot be read", false
	}
	view.HeldBy = w.heldBy(k)
	r := rotation.Retire(view, w.lifetimes(), w.operatorNow())
	w.checkStage(k, view, r)
	k.asked = [...]keyID{rotation.Keep: k.pair, rotation.Empty: empty, rotation.Remove: absent, rotation.Gone: absent}[r.Stage]
	if k.asked == before.asked { // the status knows of it: after a crash the record is found to be ours
		w.provider.submit(k.selector, k.asked)
		w.prober.expect(target{k.selector, k.asked})
	}
	w.noteRelapse(&k, view.Signs)
	if !w.inDoubt() { // no wait begins by a clock that may be wrong
		w.note(&k, view)
	}
	if !r.Until.IsZero() {
		w.keyAlarm(k.selector).at(r.Until.Add(-w.skew()))
	}
	if !k.usable.IsZero() && w.operatorNow().Before(k.usable) {
		w.keyAlarm(k.selector).at(k.usable.Add(-w.skew()))
	}
	w.patchStatus(before, k)
	if view.Unsure != "" {
		w.keyAlarm(k.selector).in(time.Minute)
	}
}

// makePair stores the private key before the status knows of it: after a crash between the two it is read, not remade.
func (w *world) makePair(k *dkimKey) error {
	if id, ok := w.cluster.secrets[k.name]; ok {
		k.pair = id
		return nil
	}
	w.pairs++
	id := w.pairs
	err := w.write(func() { w.cluster.secrets[k.name] = id })
	k.pair = id
	return err
}

// restore writes a private key again that is lost, where signers still hold it.
func (w *world) restore(k dkimKey) {
	if _, ok := w.cluster.secrets[k.name]; !ok && w.signsLive(&k) {
		_ = w.write(func() { w.cluster.secrets[k.name] = k.pair }) // what fails is tried again
		w.keyAlarm(k.selector).in(time.Minute)
	}
}

// note fills in the times of the status, from what the provider, the name servers and the signing Secret say.
func (w *world) note(k *dkimKey, view rotation.Key) {
	now := w.operatorNow()
	if w.zone.primary[k.selector] == k.pair && k.pair != absent {
		stamp(&k.published, now)
	}
	if v := w.prober.verdict(target{k.selector, k.asked}); !v.at.IsZero() {
		w.noteVerdict(k, v, now)
	}
	retires := k.intent == rotation.ToRetire || view.Revoked
	switch {
	case view.Unsure != "":
	case view.Signs && (k.signingSince.IsZero() || !k.retired.IsZero()):
		k.signingSince, k.retired = now, time.Time{}
	case view.Signs || k.signingSince.IsZero() || !retires:
	case view.HeldBy == "":
		stamp(&k.retired, now)
	case k.emptied.IsZero(): // a pod shows it that did not when that was noted: mail is on its way again
		k.retired = time.Time{}
	}
}

// noteRelapse restarts the wait of a key whose record a name server lost.
func (w *world) noteRelapse(k *dkimKey, signs bool) {
	if v := w.prober.verdict(target{k.selector, k.pair}); !v.at.IsZero() && !v.verified && !signs {
		k.verified, k.usable = time.Time{}, time.Time{}
	}
}

// noteVerdict notes since when every name server answers what was asked for.
func (w *world) noteVerdict(k *dkimKey, v verdict, now time.Time) {
	switch {
	case k.asked == empty && v.verified:
		stamp(&k.emptied, now)
	case k.asked == absent && v.verified:
		stamp(&k.removed, now)
	case k.asked == k.pair && v.verified:
		stamp(&k.verified, now)
		stamp(&k.usable, k.verified.Add(max(w.profile.negativeTTL, minimumWait)+time.Second))
	}
}

func stamp(t *time.Time, now time.Time) {
	if t.IsZero() {
		*t = now
	}
}

// minimumWait is how long a record stands at least before its key signs.
const minimumWait = 15 * time.Minute

// patchStatus writes onto the version that was read, or not at all.
func (w *world) patchStatus(before, after dkimKey) {
	if before == after {
		return
	}
	err := w.write(func() {
		live := w.cluster.byName(after.name)
		if live == nil || live.version != before.version {
			w.report.Conflicts++
			w.keyAlarm(after.selector).in(time.Second)
			return
		}
		w.cluster.put(after, w.visible())
		w.wakeSoon(after.selector)
	})
	w.again(after, err)
}

func (w *world) again(k dkimKey, err error) {
	if err != nil && !w.down() {
		w.keyAlarm(k.selector).in(time.Second + time.Duration(w.rng.Int64N(int64(10*time.Second))))
	}
}
