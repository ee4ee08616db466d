// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

var (
	errConflict = errors.New("the API server refused")
	errCrashed  = errors.New("the operator crashed")
)

// write passes a write to the API server on, or does not. After any write the operator may crash.
func (w *world) write(apply func()) error {
	switch r := w.rng.Float64(); {
	case r < w.profile.conflict:
		w.report.Conflicts++
		return errConflict
	case r < w.profile.conflict*1.5: // it was done, but the answer is lost
		w.report.Conflicts++
		apply()
		return errConflict
	}
	apply()
	if w.rng.Float64() < w.profile.crash {
		w.crash()
		return errCrashed
	}
	return nil
}

// crash ends the operator for a while. It forgets everything that it did not write.
func (w *world) crash() {
	w.report.Crashes++
	down := time.Second + time.Duration(w.rng.Int64N(int64(10*time.Minute)))
	if w.rng.Float64() < 0.05 {
		down = time.Duration(w.rng.Int64N(int64(8 * day)))
	}
	w.truth.downSince, w.downUntil = w.now, w.now.Add(down)
	w.prober.forget()
	w.provider.forget()
	w.operator.crashed()
	w.at(w.downUntil, w.wakeAll)
}

func (w *world) down() bool { return w.now.Before(w.downUntil) }

// operatorNow is what the operator takes for the time, with the precision of a status: the API server's, unless the two are
// so far apart that nobody knows who is right.
func (w *world) operatorNow() time.Time { return w.now.Add(w.skew()).Truncate(time.Second) }

func (w *world) skew() time.Duration {
	if w.inDoubt() {
		return w.clock.offset
	}
	return 0
}

func (w *world) inDoubt() bool { return !rotation.ClocksAgree(w.now.Add(w.clock.offset), w.now) }

func (w *world) visible() time.Time { return w.now.Add(cacheLag(w.rng)) }

// lifetimes are the policy's, and whether time can be told.
func (w *world) lifetimes() rotation.Lifetimes {
	l := w.profile.lifetimes
	l.ClockInDoubt = w.inDoubt()
	return l
}

// reconcileDomain is the domain controller: observe, decide, act, report.
func (w *world) reconcileDomain() {
	if w.down() {
		return
	}
	views := w.observeDomain()
	unsure := slices.ContainsFunc(views, func(k rotation.Key) bool { return k.Unsure != "" })
	now := w.operatorNow()
	policy := w.policy(views, now)
	d := rotation.Next(policy, views, now)
	w.waitingFor = d.WaitingFor
	if unsure && len(d.Steps) > 0 {
		w.violated(7, "steps %v though something could not be read", d.Steps)
	}
	if d.CannotUndo != "" && !w.cluster.domain.undo.IsZero() {
		w.cluster.domain.undo = time.Time{}
	}
	err := w.carryOut(views, d.Steps)
	if errors.Is(err, errCrashed) {
		return
	}
	if err == nil {
		err = w.write(func() {
			for _, k := range views {
				w.cluster.domain.used[k.Selector] = true
			}
		})
	}
	if errors.Is(err, errCrashed) {
		return
	}
	if err != nil || unsure {
		w.domainAlarm.in(time.Second + time.Duration(w.rng.Int64N(int64(10*time.Second))))
	}
	if !d.LookAgain.IsZero() {
		w.domainAlarm.at(d.LookAgain.Add(-w.skew()))
	}
}

// observeDomain reads from the cache. What cannot be read is unsure, and its view as wrong as can be.
func (w *world) observeDomain() []rotation.Key {
	signing, stale, _ := w.cluster.signing.cached(w.now)
	unreadable := w.rng.Float64() < w.profile.unread
	keys, old := w.cluster.cached(w.now)
	views := make([]rotation.Key, 0, len(keys))
	for _, k := range keys {
		v := w.view(k, signing)
		if unreadable {
			v.Unsure, v.Signs, v.KeyPair = "the signing Secret cannot be read", false, true
		}
		views = append(views, v)
	}
	if stale || old {
		w.report.StaleReads++
	}
	if unreadable {
		w.report.Unreadable++
	}
	return views
}

// view is what is known of one key, with what the signing Secret and its own Secret say.
func (w *world) view(k *dkimKey, signing signingSecret) rotation.Key {
	signs := k.pair != absent && signing.keys[k.selector] == k.pair
	secret := w.cluster.secrets[k.name]
	return rotation.Key{
		Name: k.name, Selector: k.selector, Algorithm: k.algorithm, Bits: k.bits, Created: k.created,
		Intent: k.intent, Revoked: k.revoked || w.cluster.domain.revoked[k.selector], Adopted: k.adopted, Manual: k.adopted,
		KeyPair: k.pair != absent && (secret == k.pair || signs), Lost: k.pair != absent && secret == absent && !signs,
		PublishedAt: k.published, VerifiedAt: k.verified, UsableAt: k.usable,
		Fresh: w.prober.fresh(target{k.selector, k.pair}),
		Signs: signs, SigningSince: k.signingSince, RetiredAt: k.retired, RevokedAt: k.emptied, RemovedAt: k.removed,
	}
}

func (w *world) policy(views []rotation.Key, now time.Time) rotation.Policy {
	spec := &w.cluster.domain
	rotateAt, next := w.due(views, now)
	if !next.IsZero() {
		w.domainAlarm.at(next.Add(-w.skew()))
	}
	selectors := w.profile.selectors
	selectors.Used, selectors.Revoked = sortedKeys(spec.used), sortedKeys(spec.revoked)
	return rotation.Policy{Keys: spec.keys, Selectors: selectors, RotateAt: rotateAt, Undo: spec.undo, Lifetimes: w.lifetimes()}
}

// due says which rotation is due and when the next one is, and follows whether it is completed.
func (w *world) due(views []rotation.Key, now time.Time) (rotateAt, next time.Time) {
	spec := &w.cluster.domain
	calendar := w.profile.calendar
	calendar.Seed, calendar.Suspended = w.seed, spec.suspended
	calendar.Asked, calendar.Handled = spec.asked, spec.handled
	generation := rotation.Generation(views)
	if !spec.asked.IsZero() && !generation.Before(spec.asked) {
		spec.handled = spec.asked
	}
	rotateAt, next = calendar.Due(generation, now)
	if !w.inDoubt() {
		w.noteDue(rotateAt, next, generation)
	}
	return rotateAt, next
}

// carryOut does one step after the other and stops at the first that fails.
func (w *world) carryOut(views []rotation.Key, steps []rotation.Step) error {
	for _, v := range views {
		if live := w.cluster.byName(v.Name); v.Revoked && live != nil && !live.revoked {
			if err := w.apply(v.Name, func(k *dkimKey) { k.revoked = true }); err != nil {
				return err
			}
		}
	}
	for _, step := range steps {
		if err := w.step(views, step); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) step(views []rotation.Key, step rotation.Step) error {
	switch s := step.(type) {
	case rotation.CreateKey:
		return w.create(s)
	case rotation.SetIntent:
		return w.apply(s.Key, func(k *dkimKey) { k.intent = s.Intent })
	case rotation.SignWith:
		return w.signWith(views, s.Selectors)
	case rotation.Sweep:
		if k := w.cluster.byName(s.Key); k != nil {
			w.prober.sweep(k.selector)
		}
	case rotation.DeleteKey:
		return w.delete(s.Key)
	}
	return nil
}

// create applies a new DKIMKey. Of one that is there already, as after a crash, nothing changes.
func (w *world) create(s rotation.CreateKey) error {
	name := nameOf(s.Selector)
	if k := w.cluster.byName(name); k != nil {
		w.checkCreateAgain(k, s)
		return nil
	}
	return w.write(func() {
		w.checkSelector(s.Selector)
		w.report.Keys++
		w.cluster.put(dkimKey{
			name: name, selector: s.Selector, algorithm: s.Algorithm, bits: s.Bits, created: w.now.Truncate(time.Second), intent: rotation.ToStandBy,
		}, w.visible())
		w.wakeSoon(s.Selector)
	})
}

// apply changes a part of a DKIMKey's spec, whatever else happened to it.
func (w *world) apply(name string, change func(*dkimKey)) error {
	if w.cluster.byName(name) == nil {
		return errConflict // one that is gone is not made again
	}
	return w.write(func() {
		k := *w.cluster.keys[name].live
		change(&k)
		w.cluster.put(k, w.visible())
		w.wakeSoon(k.selector)
	})
}

// signWith writes the signing Secret, with the private keys of the selectors, in one write.
func (w *world) signWith(views []rotation.Key, selectors []string) error {
	after := w.cluster.signing.live.clone()
	after.keys = map[string]keyID{}
	for _, s := range selectors {
		i := slices.IndexFunc(views, func(k rotation.Key) bool { return k.Selector == s })
		k := w.cluster.byName(views[i].Name)
		if k == nil {
			return errConflict
		}
		after.keys[s] = k.pair
		if w.cluster.secrets[k.name] != k.pair && w.cluster.signing.live.keys[s] != k.pair {
			return errConflict // its private key cannot be read
		}
	}
	after.required = after.required || len(after.keys) > 0
	return w.write(func() {
		before := w.cluster.signing.live
		w.checkSigners(before, after)
		w.cluster.signing.set(after, w.visible())
		w.mount(before, after)
		for _, s := range slices.Concat(sortedKeys(before.keys), sortedKeys(after.keys)) {
			w.wakeSoon(s)
		}
	})
}

// delete deletes a DKIMKey, and in its finalizer its Secret.
func (w *world) delete(name string) error {
	if w.cluster.byName(name) == nil {
		return nil
	}
	return w.write(func() {
		o := w.cluster.keys[name]
		w.checkDeletion(o.live)
		w.report.Deleted++
		delete(w.cluster.secrets, name)
		if len(w.profile.selectors.Ring) > 0 { // the person takes a slot off the list when its key is gone
			delete(w.cluster.domain.revoked, o.live.selector)
		}
		delete(w.prober.targets, o.live.selector)
		o.set(nil, w.visible())
		w.domainAlarm.at(o.versions[len(o.versions)-1].at)
	})
}

// wakeSoon wakes whoever watches a key when the caches show what changed.
func (w *world) wakeSoon(selector string) {
	at := w.now
	if o := w.cluster.keys[nameOf(selector)]; o != nil && o.versions[len(o.versions)-1].at.After(at) {
		at = o.versions[len(o.versions)-1].at
	}
	if v := w.cluster.signing.versions; v[len(v)-1].at.After(at) {
		at = v[len(v)-1].at
	}
	w.domainAlarm.at(at)
	w.keyAlarm(selector).at(at)
}

// nameOf is the DKIMKey of a selector.
func nameOf(selector string) string { return "example-" + selector }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// describe lists the keys for a person who reads a violation.
func (w *world) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n    waiting for: %s", w.waitingFor)
	for _, k := range w.cluster.live() {
		fmt.Fprintf(&b, "\n    %s %s %d pair %d intent %s signs %t since %s retired %s emptied %s removed %s", k.selector, k.algorithm, k.bits, k.pair,
			k.intent, w.signsLive(k), brief(k.signingSince), brief(k.retired), brief(k.emptied), brief(k.removed))
	}
	return b.String()
}

func brief(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02T15:04:05")
}
