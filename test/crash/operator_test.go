// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/controllerstest"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
)

// operator is one process: what a manager does, on the goroutine of the test, so that a run is the same each time.
type operator struct {
	*world
	process *controllerstest.Process
	queue   *dnsprovider.Queue
	names   *names
	clock   *servertime.Watch

	news    chan dnsprovider.Owner // of the queue and of the maker of key pairs
	pending []request
	waits   map[request]time.Time // when each is looked at again
	plans   []plan
	working bool

	stop func()
	end  sync.Once
	dead chan struct{}
}

type request struct {
	kind string
	name types.NamespacedName
}

type plan struct {
	at time.Time
	do func()
}

// providers are those whose accounts are open, whether an object names them or not.
var providers = []dnsprovider.ProviderKey{
	{Kind: v1alpha1.KindDNSProvider, Namespace: namespace, Name: "dns"},
	{Kind: v1alpha1.KindDNSProvider, Namespace: namespace, Name: "new"},
}

// begin starts a process, which knows nothing but what it reads.
func (w *world) begin() {
	w.lives++
	ctx, cancel := background()
	o := &operator{
		world: w, clock: servertime.New(now), news: make(chan dnsprovider.Owner), waits: map[request]time.Time{}, dead: make(chan struct{}),
	}
	o.names = newNames(o)
	accounts := dnsprovider.NewAccounts()
	for _, p := range providers {
		accounts.Set(p, &dnsprovider.Account{
			Driver: driver{site{provider: p.Name}, w.dns, o}, Fingerprint: p.Name, RequestsPerSecond: 1000, Burst: 1000,
		})
	}
	o.queue = dnsprovider.NewQueue(dnsprovider.Options{OwnerID: "crash", Accounts: accounts, Now: now, Jitter: func() float64 { return 0.5 }})
	keys, makeKeys := controllerstest.Maker(o.generate, o.tell)
	o.process = controllerstest.Start(controllerstest.World{
		OwnerID: "crash", Objects: w.store.Cached(controllerstest.CacheHolds()), Live: w.store, Leases: w.store.Leases("operator"),
		Clock: clock.RealClock{}, ServerTime: o.clock, Providers: providers, Queue: o.queue, Prober: o.names,
		Keys:     orders{keys, w},
		Settings: dkimkey.Settings{MinimumWait: minimumWait, RevocationGrace: grace},
	})
	var running sync.WaitGroup
	running.Go(func() { _ = o.queue.Start(ctx) })
	running.Go(func() { _ = makeKeys(ctx) })
	running.Go(func() { o.listen(ctx) })
	o.stop = func() { cancel(); running.Wait() }
	w.operator = o
	o.wakeEverything()
}

// listen passes on what the queue has to tell.
func (o *operator) listen(ctx context.Context) {
	for {
		select {
		case about := <-o.queue.Wake():
			o.tell(ctx, about)
		case <-ctx.Done():
			return
		}
	}
}

func (o *operator) tell(ctx context.Context, about dnsprovider.Owner) {
	select {
	case o.news <- about:
	case <-ctx.Done():
	}
}

// generate makes a key pair, which takes a while; a process may end in the middle of it.
func (o *operator) generate(ctx context.Context, a dkim.Algorithm, bits int) (dkim.KeyPair, error) {
	if o.strike(keyPair, string(a)+" key pair") {
		o.die()
	}
	takes := time.Second // another time for each algorithm, so that the order is the same each time
	if a == dkim.RSA {
		takes = 4 * time.Second
	}
	select {
	case <-time.After(takes):
	case <-o.dead: // the process is told to stop a little later
		<-ctx.Done()
		return dkim.KeyPair{}, errCrashed
	}
	if a != dkim.RSA {
		return dkim.Generate(ctx, a, bits)
	}
	return o.rsaKey(bits), nil
}

// orders are the orders of key pairs: once a pair is stored, there is never another one.
type orders struct {
	controllerstest.KeyMaker
	*world
}

func (o orders) Make(order controllerstest.KeyOrder) (dkim.KeyPair, bool, error) {
	var stored corev1.Secret
	if err := o.store.Get(o.Context(), named(order.For.Name), &stored); err == nil {
		o.Errorf("another key pair is ordered for %s, of which one is stored", order.For.Name)
	}
	return o.KeyMaker.Make(order)
}

func (o *operator) die() { o.end.Do(func() { close(o.dead) }) }

func (o *operator) isDead() bool {
	select {
	case <-o.dead:
		return true
	default:
		return false
	}
}

// in plans something for later.
func (o *operator) in(d time.Duration, do func()) { o.plans = append(o.plans, plan{now().Add(d), do}) }

// next is what happens first: what was planned or, without anything to do, the end.
func (o *operator) next(end time.Time) (at time.Time, do func()) {
	at = end
	for i, p := range o.plans {
		if p.at.Before(at) {
			at, do = p.at, func() { o.plans = slices.Delete(o.plans, i, i+1); p.do() }
		}
	}
	return at, do
}

func (o *operator) wake(r request) {
	if !slices.Contains(o.pending, r) {
		o.pending = append(o.pending, r)
	}
}

func (o *operator) wakeAll(kind string) {
	var list client.ObjectList = &v1alpha1.DKIMKeyList{}
	if kind == v1alpha1.KindMailDomain {
		list = &v1alpha1.MailDomainList{}
	}
	o.list(list)
	items, err := meta.ExtractList(list)
	if err != nil {
		o.Fatal(err)
	}
	for _, item := range items {
		o.wake(request{kind, client.ObjectKeyFromObject(item.(client.Object))})
	}
}

func (o *operator) wakeEverything() {
	o.wakeAll(v1alpha1.KindMailDomain)
	o.wakeAll(v1alpha1.KindDKIMKey)
}

// concerned wakes whom news is about. What is new at the provider the name servers answer a little later.
func (o *operator) concerned(about dnsprovider.Owner) {
	o.names.lookSoon()
	o.wake(request{about.Kind, types.NamespacedName{Namespace: about.Namespace, Name: about.Name}})
	o.wakeAll(v1alpha1.KindMailDomain)
}

// watcher reads the name under which an object watches its records.
func watcher(text string) dnsprovider.Owner {
	part := strings.SplitN(text, "/", 3)
	return dnsprovider.Owner{Kind: part[0], Namespace: part[1], Name: part[2]}
}

// work reconciles whatever is to be reconciled, and tells how often.
func (o *operator) work() (reconciles int) {
	for ; len(o.pending) > 0 && !o.isDead(); reconciles++ {
		r := o.pending[0]
		o.pending = o.pending[1:]
		o.reconcile(r)
	}
	return reconciles
}

func (o *operator) reconcile(r request) {
	o.serverTells()
	reconcile := o.process.Key
	if r.kind == v1alpha1.KindMailDomain {
		reconcile = o.process.Domain
	}
	o.working = true
	var result ctrl.Result
	result, err := reconcile(o.Context(), r.name)
	o.working = false
	again := result.RequeueAfter
	if err != nil {
		again = time.Second
	}
	if at := now().Add(again); again > 0 && (o.waits[r].IsZero() || at.Before(o.waits[r])) {
		o.waits[r] = at
		o.in(again, func() {
			if o.waits[r].Equal(at) {
				delete(o.waits, r)
				o.wake(r)
			}
		})
	}
}

// serverTells has the API server say what time it is, as with each of its answers.
func (o *operator) serverTells() {
	answer := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{Header: http.Header{"Date": {now().UTC().Format(http.TimeFormat)}}}, nil
	})
	_, _ = o.clock.Wrap(answer).RoundTrip(nil) //nolint:bodyclose // it has none
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
