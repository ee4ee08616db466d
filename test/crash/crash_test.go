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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
}

func nothing(*world) {}

func bothAlgorithms(d *v1alpha1.DKIM) {
	d.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
}

func rsaAlone(d *v1alpha1.MailDomain) { d.Spec.DKIM.Keys = d.Spec.DKIM.Keys[:1] }

func inARing(d *v1alpha1.DKIM) {
	d.Selectors = &v1alpha1.Selectors{Ring: []v1alpha1.SelectorName{"one", "two", "three"}}
}

// domainComes has a person write a MailDomain, and the provider if there is none.
func (w *world) domainComes(name string, change func(*v1alpha1.DKIM)) {
	w.Helper()
	p := &v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "dns"},
		Spec: v1alpha1.DNSProviderSpec{
			Zones:        []string{zoneName},
			Verification: &v1alpha1.Verification{Mode: v1alpha1.VerificationNone}, // nobody looks for the zone; our names look for records all the same
		},
	}
	if w.store.Get(w.Context(), client.ObjectKeyFromObject(p), p) != nil {
		w.create(p)
		p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", ObservedGeneration: p.Generation}}
		if err := w.store.Status().Update(w.Context(), p); err != nil {
			w.Fatal(err)
		}
	}
	d := &v1alpha1.MailDomain{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MailDomainSpec{
			Domain: zoneName, ProviderRef: v1alpha1.ProviderRef{Name: "dns"},
			DKIM: &v1alpha1.DKIM{SigningSecretName: "signing", Rotation: &v1alpha1.Rotation{
				Overlap: &metav1.Duration{Duration: overlap}, Tombstone: &metav1.Duration{Duration: grave},
			}},
			SPF:   &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"mx"}},
			DMARC: &v1alpha1.DMARC{Policy: v1alpha1.DMARCNone},
		},
	}
	change(d.Spec.DKIM)
	w.create(d)
}

// revoke has a person name the RSA keys of these phases as known to others.
func (w *world) revoke(phases ...v1alpha1.KeyPhase) {
	w.edit(func(d *v1alpha1.MailDomain) {
		for _, phase := range phases {
			for _, k := range w.inPhase(phase) {
				d.Spec.DKIM.RevokedSelectors = append(d.Spec.DKIM.RevokedSelectors, k.Spec.Selector)
			}
		}
	})
}

// lose has a person destroy a private key, whatever protects it.
func (w *world) lose(name string) {
	var s corev1.Secret
	if err := w.store.Get(w.Context(), named(name), &s); err != nil {
		w.Fatal(err)
	}
	s.Finalizers = nil
	if err := w.store.Update(w.Context(), &s); err != nil {
		w.Fatal(err)
	}
	w.story.forgets(name)
	w.delete(&s)
}

func (w *world) leave(policy v1alpha1.DeletionPolicy) {
	w.edit(func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = policy })
	w.delete(w.domain())
}

// phases expects the RSA keys to stand in these.
func phases(want ...string) func(*world) string {
	return func(w *world) string {
		var got []string
		for _, phase := range []v1alpha1.KeyPhase{"Pending", "Publishing", "Retiring", "Revoked", "Signing", "Standby"} {
			for range w.inPhase(phase) {
				got = append(got, string(phase))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("the RSA keys are %v, not %v", got, want)
		}
		return ""
	}
}

// pool is a few RSA keys; no two of a run that stand at the same time are alike.
var pool = sync.OnceValue(func() []dkim.KeyPair {
	pairs := make([]dkim.KeyPair, 12)
	var all sync.WaitGroup
	for i := range pairs {
		all.Go(func() {
			ctx, cancel := background()
			defer cancel()
			pairs[i], _ = dkim.Generate(ctx, dkim.RSA, 2048) // it fails only if ctx ends
		})
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

// cuts are the numbers to cut after: each one, or, where the race detector makes a run of them all too long, a sample that
// is another one for each transition.
func cuts(count, transition int) []int {
	first, every := 1, 1
	if testing.Short() {
		every = 24
		first = min(1+7*transition%every, count)
	}
	var at []int
	for n := first; n > 0 && n <= count; n += every {
		at = append(at, n)
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
			for _, k := range []what{apiWrite, dnsWrite, lostReply, keyPair} {
				for _, n := range cuts(want.counts[k], i) {
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
	if made := total[apiWrite] + total[dnsWrite] + total[lostReply] + total[keyPair]; missed > made/10 {
		t.Errorf("%d runs of %d ended before their cut: what is cut is not what the uncut run did", missed, missed+made)
	}
}
