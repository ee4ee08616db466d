// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/controllers/controllerstest"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/test/env/objectstore"
)

const (
	namespace = "mail"
	zoneName  = "acme.example"

	minimumWait = 15 * time.Minute // before a new key signs
	grace       = 3 * time.Minute  // signers lag behind
	nsTTL       = time.Hour        // of a delegation
	day         = 24 * time.Hour
	overlap     = 5 * day
	grave       = 2 * day // the tombstone
)

// world is one domain with its API server and its DNS, inside a bubble of time (testing/synctest). The real reconcilers
// and the real queue run in it, one process of them after the other.
type world struct {
	testing.TB
	store    *objectstore.Store
	dns      *dns
	operator *operator
	lives    int

	cut    cut
	mu     sync.Mutex // of what follows: the queue writes to the zone beside the reconciles
	counts map[what]int
	last   string // what was cut after
	story  history

	keys  map[int][]dkim.KeyPair // RSA, made before, by their size
	drawn int                    // of them
}

// what can be cut.
type what string

const (
	apiWrite  what = "write to the API server"  // done, and the process is dead before it hears of it
	dnsWrite  what = "write to a zone"          // the same
	lostReply what = "write to a zone, unheard" // the process lives, and does not know what became of its write
	keyPair   what = "beginning of a key pair"  // the process dies while it is made
)

// cut is where a run is cut: after the n-th of a kind; nowhere if n is 0.
type cut struct {
	what what
	n    int
}

var errCrashed = errors.New("the process has crashed")

// moment is a world between two transitions.
type moment struct {
	at    time.Time
	store *objectstore.Store
	dns   *dns
	drawn int
	story history
}

// newWorld goes on from a moment, or begins; call it in a bubble.
func newWorld(tb testing.TB, from *moment, cut cut, keys map[int][]dkim.KeyPair) *world {
	tb.Helper()
	w := &world{TB: tb, cut: cut, counts: map[what]int{}, keys: keys}
	if from == nil {
		scheme, err := controllers.Scheme()
		if err != nil {
			tb.Fatal(err)
		}
		pass(10 * time.Hour) // no cut shall have a name carry another date
		w.dns = &dns{world: w, sites: map[site]records{}, delegated: home}
		w.noteDelegation(home)
		w.store = objectstore.New(scheme, now)
		if err := controllerstest.Register(tb.Context(), w.store); err != nil {
			tb.Fatal(err)
		}
	} else {
		pass(from.at.Sub(now()))
		w.dns = from.dns.clone(w)
		w.store = from.store.Clone(now)
		w.drawn, w.story = from.drawn, from.story.clone()
	}
	w.store.Interfere = w.interfere
	w.store.Changed = w.changed
	w.begin()
	tb.Cleanup(func() { w.operator.stop() }) // of a run that fails, too
	return w
}

func (w *world) moment() *moment {
	return &moment{at: now(), store: w.store.Clone(now), dns: w.dns.clone(nil), drawn: w.drawn, story: w.story.clone()}
}

// interfere lets a process die after its n-th write. Nothing that a dead one does gets through.
func (w *world) interfere(call objectstore.Write, do func() error) error {
	o := w.operator
	if !o.working { // a person
		return do()
	}
	if o.isDead() {
		return errCrashed
	}
	err := do()
	if w.strike(apiWrite, call.String()) {
		o.die()
		return errCrashed
	}
	return err
}

// strike counts and tells whether this is the one to cut after.
func (w *world) strike(k what, of string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[k]++
	if w.cut != (cut{k, w.counts[k]}) {
		return false
	}
	w.last = of
	return true
}

// changed wakes who watches, as the controllers' own watches do.
func (w *world) changed(before, after client.Object, _ time.Time) {
	w.note(before, after)
	switch o := either(before, after).(type) {
	case *v1alpha1.DKIMKey:
		w.operator.wake(request{v1alpha1.KindDKIMKey, client.ObjectKeyFromObject(o)})
		w.operator.wakeAll(v1alpha1.KindMailDomain)
	default: // of a Secret it matters to any of them
		w.operator.wakeEverything()
	}
}

// pass lets time go by while the operator does whatever there is to do.
func (w *world) pass(d time.Duration) {
	w.Helper()
	end := now().Add(d)
	for reconciles := 0; ; {
		reconciles += w.operator.work()
		if reconciles > 5000 {
			w.Fatalf("no end of reconciles")
		}
		at, do := w.operator.next(end)
		timer := time.NewTimer(at.Sub(now()))
		select {
		case <-w.operator.dead:
			w.operator.stop()
			pass(30 * time.Second)
			w.begin()
		case owner := <-w.operator.news:
			w.operator.concerned(owner)
		case <-timer.C:
			if do == nil {
				return
			}
			do()
		}
		timer.Stop()
	}
}

// rsaKey draws one from the pool: an RSA key takes too long to be made here.
func (w *world) rsaKey(bits int) dkim.KeyPair {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drawn++
	return w.keys[bits][w.drawn%len(w.keys[bits])]
}

func (w *world) list(into client.ObjectList) {
	w.Helper()
	if err := w.store.List(w.Context(), into); err != nil {
		w.Fatal(err)
	}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// now and pass are the time of the bubble.
func now() time.Time { return time.Now() } //nolint:forbidigo // the time of the bubble

func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // the time of the bubble

func background() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
