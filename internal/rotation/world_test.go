// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// world is what Next's decisions are carried out on, by someone who may crash between any two steps.
type world struct {
	now      time.Time
	keys     []Key
	everUsed map[string]bool
	rsaOnce  bool // an RSA key has signed
	revoked  bool // a revocation excuses silence
}

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func (w *world) byName(name string) *Key {
	i := slices.IndexFunc(w.keys, func(k Key) bool { return k.Name == name })
	return &w.keys[i]
}

func (w *world) carryOut(t failer, s Step) {
	switch s := s.(type) {
	case CreateKey:
		if w.everUsed[s.Selector] {
			t.Fatalf("invariant 4: selector %s is used again", s.Selector)
		}
		w.everUsed[s.Selector] = true
		w.keys = append(w.keys, Key{
			Name: "k-" + s.Selector, Selector: s.Selector, Algorithm: s.Algorithm, Bits: s.Bits,
			Created: w.now, Intent: ToStandBy,
		})
	case SetIntent:
		k := w.byName(s.Key)
		if s.Intent == ToRetire && k.Signs {
			t.Fatalf("invariant 2: %s retires while the signing Secret holds it", s.Key)
		}
		if k.Intent == ToRetire {
			t.Fatalf("%s moves backwards to %s", s.Key, s.Intent)
		}
		k.Intent = s.Intent
	case SignWith:
		w.sign(t, s.Selectors)
	case Sweep:
		w.byName(s.Key).Fresh = true
	case DeleteKey:
		if k := w.byName(s.Key); w.now.Before(k.RemovedAt.Add(lives.LongestTTL)) || k.RemovedAt.IsZero() {
			t.Fatalf("invariant 5: %s is deleted while its record may be known", s.Key)
		}
		w.keys = slices.DeleteFunc(w.keys, func(k Key) bool { return k.Name == s.Key })
	}
}

func (w *world) sign(t failer, selectors []string) {
	for i := range w.keys {
		k := &w.keys[i]
		in := slices.Contains(selectors, k.Selector)
		if in && !k.Signs {
			if !k.waitedOut(w.now) || !k.Fresh {
				t.Fatalf("invariant 1: %s signs before its wait is over", k.Selector)
			}
			if k.Revoked {
				t.Fatalf("%s signs though it is revoked", k.Selector)
			}
			k.SigningSince = w.now
		}
		k.Signs = in
	}
	rsaSigns := slices.ContainsFunc(w.keys, func(k Key) bool { return k.Signs && k.Algorithm == dkim.RSA })
	if w.rsaOnce && !rsaSigns && !w.revoked {
		t.Fatal("invariant 3: no RSA key signs")
	}
	if !rsaSigns && len(selectors) > 0 {
		t.Fatalf("invariant 3: %v sign without RSA", selectors)
	}
	w.rsaOnce = w.rsaOnce || rsaSigns
}

// happen lets the world around the keys move on by one event.
func (w *world) happen(t *rapid.T, policy *Policy) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds")) * time.Second)
	if len(w.keys) == 0 {
		return
	}
	k := &w.keys[rapid.IntRange(0, len(w.keys)-1).Draw(t, "key")]
	switch rapid.SampledFrom([]string{"pair", "publish", "verify", "verify", "fresh", "stale", "relapse", "rotate", "revoke", "lose", "bits"}).Draw(t, "event") {
	case "pair":
		k.KeyPair = true
	case "publish":
		if k.KeyPair && k.PublishedAt.IsZero() {
			k.PublishedAt = w.now
		}
	case "verify":
		if !k.PublishedAt.IsZero() && k.VerifiedAt.IsZero() {
			k.VerifiedAt, k.UsableAt = w.now, w.now.Add(15*time.Minute)
		}
	case "fresh":
		k.Fresh = !k.VerifiedAt.IsZero()
	case "stale":
		k.Fresh = false
	case "relapse":
		k.VerifiedAt, k.UsableAt, k.Fresh = time.Time{}, time.Time{}, false
	case "rotate":
		policy.RotateAt = w.now
	case "revoke":
		k.Revoked, w.revoked = true, true
	case "lose":
		k.KeyPair = false
	case "bits":
		policy.Keys[0].Bits = rapid.SampledFrom([]int{2048, 3072}).Draw(t, "bits")
	}
}

func TestWhateverHappensTheInvariantsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{now: day, everUsed: map[string]bool{}}
		policy := Policy{Keys: []WantedKey{rsa, ed}, Selectors: prefix}
		for range rapid.IntRange(10, 150).Draw(t, "rounds") {
			w.happen(t, &policy)
			policy.Selectors.Used = nil
			for s := range w.everUsed {
				policy.Selectors.Used = append(policy.Selectors.Used, s)
			}
			steps := Next(policy, w.keys, w.now).Steps
			// A crash between any two writes: only a part of the steps is carried out.
			for _, s := range steps[:rapid.IntRange(0, len(steps)).Draw(t, "carried out")] {
				w.carryOut(t, s)
			}
		}
	})
}

func TestWithoutFaultsEveryRotationEnds(t *testing.T) {
	w := world{now: day, everUsed: map[string]bool{}}
	policy := Policy{Keys: []WantedKey{rsa, ed}, Selectors: prefix}
	rotations := 0
	for range 24 * 365 {
		w.now = w.now.Add(time.Hour)
		for i := range w.keys {
			k := &w.keys[i]
			k.KeyPair, k.Fresh = true, true
			if k.VerifiedAt.IsZero() {
				k.PublishedAt, k.VerifiedAt, k.UsableAt = w.now, w.now, w.now.Add(15*time.Minute)
			}
		}
		if w.now.Day() == 1 && w.now.Hour() == 4 {
			policy.RotateAt = w.now
			rotations++
		}
		for _, s := range Next(policy, w.keys, w.now).Steps {
			w.carryOut(t, s)
		}
	}
	signed := 0
	for _, k := range w.keys {
		if !k.SigningSince.IsZero() {
			signed++
		}
	}
	if want := 2 * (rotations + 1); signed != want {
		t.Errorf("%d keys signed in a year of %d rotations, want %d", signed, rotations, want)
	}
}

func TestAConflictThatNoSelectorEscapesDoesNotPileUpKeys(t *testing.T) {
	// Such as a CNAME or a zone cut at _domainkey, or the marker of another installation.
	w := world{now: day, everUsed: map[string]bool{}}
	policy := Policy{Keys: []WantedKey{rsa}, Selectors: prefix}
	for range 100 {
		w.now = w.now.Add(time.Hour)
		for i := range w.keys {
			k := &w.keys[i]
			k.KeyPair, k.Conflict = true, i > 0
			if i == 0 && k.VerifiedAt.IsZero() {
				k.PublishedAt, k.VerifiedAt, k.UsableAt, k.Fresh = w.now, w.now, w.now, true
			}
		}
		for _, s := range Next(policy, w.keys, w.now).Steps {
			w.carryOut(t, s)
		}
	}
	if len(w.keys) != maxUnretired {
		t.Errorf("%d keys stand, want %d", len(w.keys), maxUnretired)
	}
}

// attend does what the controllers of the keys do, every ten minutes of a world without faults.
func (w *world) attend(l Lifetimes) {
	w.now = w.now.Add(10 * time.Minute)
	for i := range w.keys {
		k := &w.keys[i]
		k.KeyPair, k.Fresh = true, true
		if k.VerifiedAt.IsZero() {
			k.PublishedAt, k.VerifiedAt, k.UsableAt = w.now, w.now, w.now.Add(15*time.Minute)
		}
		if k.retired() && !k.Signs && k.RetiredAt.IsZero() {
			k.RetiredAt = w.now
		}
		switch Retire(*k, l, w.now).Stage {
		case Empty:
			if k.RevokedAt.IsZero() {
				k.RevokedAt = w.now
			}
		case Remove:
			if k.RemovedAt.IsZero() {
				k.RemovedAt = w.now
			}
		case Keep, Gone:
		}
	}
}

// Invariant 6: the end is the same wherever a crash cuts the steps.
func TestACrashBetweenAnyTwoStepsLeadsToTheSameEnd(t *testing.T) {
	l := Lifetimes{Overlap: time.Hour, Tombstone: time.Hour, LongestTTL: lives.LongestTTL}
	end := func(t failer, cut func(steps int) int) []string {
		w := world{now: day, everUsed: map[string]bool{}}
		policy := Policy{Keys: []WantedKey{rsa, ed}, Selectors: prefix, Lifetimes: l}
		for round := range 100 {
			w.attend(l)
			if round == 30 {
				policy.RotateAt = w.now
			}
			policy.Selectors.Used = slices.Sorted(maps.Keys(w.everUsed))
			steps := Next(policy, w.keys, w.now).Steps
			if round < 60 { // then it runs long enough to end
				steps = steps[:cut(len(steps))]
			}
			for _, s := range steps {
				w.carryOut(t, s)
			}
		}
		var keys []string
		for _, k := range w.keys {
			keys = append(keys, fmt.Sprintf("%s %s signs %t", k.Selector, k.Intent, k.Signs))
		}
		slices.Sort(keys)
		return keys
	}
	want := end(t, func(steps int) int { return steps })
	if len(want) != 4 {
		t.Fatalf("%v, want one key that signs and one spare of each algorithm", want)
	}
	rapid.Check(t, func(t *rapid.T) {
		got := end(t, func(steps int) int {
			if rapid.IntRange(0, 2).Draw(t, "crash") > 0 {
				return steps
			}
			return rapid.IntRange(0, steps).Draw(t, "after")
		})
		if !slices.Equal(got, want) {
			t.Fatalf("invariant 6: %v, and without a crash %v", got, want)
		}
	})
}
