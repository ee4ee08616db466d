// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash_test takes a domain through every step that its keys can take, and cuts each of them after each single
// write: the process dies, or does not hear what became of its change of the zone. What it comes to must be what the uncut
// run came to, and nothing forbidden may have happened on the way.
package crash_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

var show = flag.Bool("ends", false, "print what each uncut run leads to")

// transition is one step in the life of a domain's keys: what begins it, and how long it takes.
type transition struct {
	name  string
	after string // the transition that it follows; "" for an empty world
	begin func(w *world)
	takes time.Duration
	ends  func(w *world) string // what is wrong with where the uncut run ended; "" if nothing is
}

const aWhile = 3 * time.Hour

var transitions = []transition{
	{"a domain comes up", "", func(w *world) { w.domainComes("acme", bothAlgorithms) }, aWhile, phases("Signing", "Standby")},
	{"a rotation", "a domain comes up", func(w *world) { w.word(v1alpha1.AnnotationRotate) }, aWhile, phases("Retiring", "Signing", "Standby")},
	{"the overlap ends", "a rotation", nothing, overlap + aWhile, phases("Revoked", "Signing", "Standby")},
	{"the tombstone ends", "the overlap ends", nothing, grave + aWhile, phases("Signing", "Standby")},
	{"an undo", "a rotation", func(w *world) { w.word(v1alpha1.AnnotationRotateUndo) }, aWhile, phases("Retiring", "Signing", "Standby")},
	{"a revocation with a spare", "a domain comes up", func(w *world) { w.revoke("Signing") }, aWhile, phases("Revoked", "Signing", "Standby")},
	{"the end of a revoked key", "a revocation with a spare", nothing, grave + aWhile, phases("Signing", "Standby")},
	{"a revocation without a spare", "a domain comes up", func(w *world) { w.revoke("Signing", "Standby") }, aWhile, phases("Revoked", "Revoked", "Signing", "Standby")},
	{"a spare is lost", "a domain comes up", func(w *world) { w.lose(w.inPhase("Standby")[0].Name) }, aWhile, phases("Signing", "Standby")},
	{"an algorithm leaves", "a domain comes up", func(w *world) { w.edit(rsaAlone) }, aWhile, phases("Signing", "Standby")},
	{"the end of an algorithm", "an algorithm leaves", nothing, overlap + grave + 2*aWhile, phases("Signing", "Standby")},
	{"a deletion that deletes", "a rotation", func(w *world) { w.leave(v1alpha1.DeletionDelete) }, aWhile, phases()},
	{"a deletion that retains", "a rotation", func(w *world) { w.leave(v1alpha1.DeletionRetain) }, aWhile, phases("Retiring", "Retiring", "Standby")},
	{"another takes it up", "a deletion that retains", func(w *world) { w.domainComes("acme-again", bothAlgorithms) }, aWhile, phases("Retiring", "Signing", "Standby")},
	{"a ring comes up", "", func(w *world) { w.domainComes("acme", inARing) }, aWhile, phases("Signing", "Standby")},
	{"a ring turns", "a ring comes up", func(w *world) { w.word(v1alpha1.AnnotationRotate) }, aWhile, phases("Retiring", "Signing", "Standby")},
	{"a ring is in use", "a ring turns", func(w *world) { w.word(v1alpha1.AnnotationRotate) }, aWhile, phases("Retiring", "Retiring", "Signing")},
	{"a slot comes free", "a ring is in use", nothing, overlap + grave + 4*aWhile, phases("Signing", "Standby")},
	{"a change of bits", "a domain comes up", func(w *world) { w.edit(longerKeys) }, aWhile, all(phases("Retiring", "Signing", "Standby"), longer)},

	// A domain moves, and its parent follows when both places are equal.
	{"a change of provider", "a rotation", func(w *world) { w.moves(abroad) }, aWhile, all(phases("Retiring", "Signing", "Standby"), moving)},
	{"a rotation at both", "a change of provider", func(w *world) { w.word(v1alpha1.AnnotationRotate) }, aWhile, all(phases("Retiring", "Retiring", "Signing", "Standby"), moving)},
	{"a revocation at both", "a change of provider", func(w *world) { w.revoke("Signing") }, aWhile, all(phases("Retiring", "Revoked", "Signing", "Standby"), moving)},
	{"a rotation without the new provider", "a change of provider", func(w *world) { w.loses(abroad); w.word(v1alpha1.AnnotationRotate) }, aWhile, all(phases("Retiring", "Retiring", "Signing", "Standby"), places(abroad, home))},
	{"the new provider is back", "a rotation without the new provider", func(w *world) { w.holds(abroad) }, aWhile, all(phases("Retiring", "Retiring", "Signing", "Standby"), moving)},
	{"the parent follows", "a change of provider", func(w *world) { w.delegate(abroad) }, aWhile, all(places(abroad), equal(abroad, home))},
	{"the former place is cleaned", "the parent follows", func(w *world) { w.word(v1alpha1.AnnotationCleanFormerPlaces) }, aWhile, all(places(abroad), clean(home))},
	{"a move is taken back", "a change of provider", func(w *world) { w.moves(home) }, aWhile, all(places(home), equal(home, abroad))},
	{"what was taken back is cleaned", "a move is taken back", func(w *world) { w.word(v1alpha1.AnnotationCleanFormerPlaces) }, aWhile, all(places(home), clean(abroad))},
	{"a change of zone", "a rotation", func(w *world) { w.moves(above) }, aWhile, all(phases("Retiring", "Signing", "Standby"), places(above, home), equal(above, home))},
	{"the zone is no more", "a change of zone", func(w *world) { w.delegate(above) }, aWhile, all(places(above), equal(above, home))},
	{"a key comes alone", "", (*world).keyComes, aWhile, phases("Standby")},
	{"a key moves alone", "a key comes alone", func(w *world) { w.keyMoves(abroad) }, aWhile, all(phases("Standby"), equal(abroad, home))},
}

// pool is a few RSA keys of each size; no two of a run that stand at the same time are alike. They come from their files, so
// that whoever reads those need not find out once more whether their numbers belong together.
var pool = sync.OnceValue(func() map[int][]dkim.KeyPair {
	pairs := map[int][]dkim.KeyPair{2048: make([]dkim.KeyPair, 12), 3072: make([]dkim.KeyPair, 4)}
	var all sync.WaitGroup
	for bits, of := range pairs {
		for i := range of {
			all.Go(func() {
				ctx, cancel := background()
				defer cancel()
				made, _ := dkim.Generate(ctx, dkim.RSA, bits) // it fails only if ctx ends
				text, _ := made.PEM()
				of[i], _ = dkim.ParsePEM(text)
			})
		}
	}
	all.Wait()
	return pairs
})

// run is what one run of a transition came to.
type run struct {
	end    string
	then   *moment
	counts map[what]int
	last   string
	lives  int
}

// carryOut runs a transition in a bubble of its own.
func carryOut(t *testing.T, step transition, from *moment, cut cut) (r run) {
	t.Helper()
	keys := pool()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, from, cut, keys)
		w.pass(time.Minute)
		step.begin(w)
		w.pass(step.takes)
		if cut.n == 0 {
			if wrong := step.ends(w); wrong != "" {
				t.Errorf("%s:\n%s", wrong, w.end())
			}
		}
		w.operator.stop()
		w.story.judge(t)
		r = run{end: w.end(), then: w.moment(), counts: w.counts, last: w.last, lives: w.lives}
	})
	return r
}

// kinds are all that can be cut.
var kinds = []what{apiWrite, dnsWrite, lostReply, keyPair}

// cuts are the numbers to cut after: each one, or, where the race detector makes a run of them all too long, one of one kind
// that is another one for each transition.
func cuts(count, transition int, kind what) []int {
	if testing.Short() && count > 0 {
		if kinds[transition%len(kinds)] != kind {
			return nil
		}
		return []int{1 + 7*transition%count}
	}
	at := make([]int, count)
	for n := range at {
		at[n] = n + 1
	}
	return at
}

func TestACrashAfterAnyWriteOfAnyTransitionLeadsToTheSameEnd(t *testing.T) {
	moments := map[string]*moment{"": nil}
	total := map[what]int{}
	missed := 0
	var mu sync.Mutex
	t.Run("transitions", func(t *testing.T) {
		for i, step := range transitions {
			from := moments[step.after]
			want := carryOut(t, step, from, cut{})
			moments[step.name] = want.then
			if t.Failed() {
				return
			}
			t.Logf("%s: %v", step.name, want.counts)
			if *show {
				t.Log(want.end)
			}
			for _, k := range kinds {
				for _, n := range cuts(want.counts[k], i, k) {
					t.Run(fmt.Sprintf("%s/after %s %d", step.name, k, n), func(t *testing.T) {
						t.Parallel()
						got := carryOut(t, step, from, cut{k, n})
						if diff := cmp.Diff(want.end, got.end); diff != "" {
							t.Errorf("cut after %s, it led to another end (-uncut +cut):\n%s", got.last, diff)
						}
						// What a crash takes was never stored, and is made once more; there are two at once at most.
						if again := got.counts[keyPair] - want.counts[keyPair]; again > 2*(got.lives-1) {
							t.Errorf("%d key pairs were made again", again)
						}
						mu.Lock()
						defer mu.Unlock()
						if got.last == "" { // who is woken first differs now and then, and with it how much is written
							missed++
							return
						}
						total[k]++
					})
				}
			}
		}
	})
	t.Logf("%d transitions, cut %v times; %d runs ended before their cut", len(transitions), total, missed)
	if made := total[apiWrite] + total[dnsWrite] + total[lostReply] + total[keyPair]; missed > 2+made/10 {
		t.Errorf("%d runs of %d ended before their cut: what is cut is not what the uncut run did", missed, missed+made)
	}
}
