// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !decisions

package simulation

import (
	"errors"
	"flag"
	"net/http"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/controllers/controllerstest"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
	"github.com/maildomain-operator/maildomain-operator/test/env/objectstore"
)

// The files with this build tag have the real controllers live in the world. The mutants of internal/rotation are compiled
// without them.

var days = flag.Int("days", 30, "how many days the real controllers are simulated")

func TestTheRealControllersLoseNoMessage(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	scheme, err := controllers.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Seed: *seed, Domains: *domains}
	if testing.Short() {
		c.Domains = 1
	}
	keys := &pool{rsa: map[int][]dkim.KeyPair{}}
	report := run(c, start.AddDate(0, 0, *days), func(w *world) { w.operator = newProcess(t, w, scheme, keys) })
	t.Logf("seed %d, %d days of the real controllers\n%s", *seed, *days, &report)
	judge(t, report)
}

// process is the real controllers on a store of objects.
type process struct {
	*testing.T
	*world

	store       *objectstore.Store
	clock       *clocktesting.FakePassiveClock
	serverTime  *servertime.Watch
	controllers *controllerstest.Process // nil while it is down
	pool        *pool
	pairs       map[string]keyID // by selector and SHA-256 of the public key
	texts       map[target]keyID // what a record says
	asked       map[dnsprovider.Owner]dnsprovider.Submission
	results     map[dnsprovider.Owner]dnsprovider.Result
}

// The objects of a world.
var (
	domainName = types.NamespacedName{Namespace: "mail", Name: "example"}
	dnsName    = types.NamespacedName{Namespace: "mail", Name: "dns"}
)

func newProcess(t *testing.T, w *world, scheme *runtime.Scheme, keys *pool) *process {
	t.Helper()
	p := &process{T: t, world: w, clock: clocktesting.NewFakePassiveClock(w.now), pool: keys, pairs: map[string]keyID{}}
	p.store = objectstore.New(scheme, func() time.Time { return w.now })
	if err := controllerstest.Register(t.Context(), p.store); err != nil {
		t.Error(err)
	}
	w.seed = ownerID + "/" + w.name
	return p
}

const ownerID = "simulation"

// begin writes what a person does, and has the controllers come up.
func (p *process) begin() {
	p.person(p.create)
	p.store.Lag = func() time.Duration { return cacheLag(p.rng) }
	p.store.Interfere = p.interfere
	p.store.Changed = p.changed
}

// person has somebody write whose writes succeed.
func (p *process) person(do func() error) {
	faults := p.store.Interfere
	p.store.Interfere = nil
	defer func() { p.store.Interfere = faults }()
	if err := do(); err != nil {
		p.Error(err)
	}
}

// interfere has a write fail, or its answer be lost, or the operator die right after it.
func (p *process) interfere(w objectstore.Write, do func() error) error {
	if p.down() {
		return errCrashed
	}
	var answer error
	if fault := p.write(func() { answer = do() }); fault != nil {
		if errors.Is(fault, errConflict) && p.rng.Float64() < 0.5 {
			return apierrors.NewConflict(schema.GroupResource{Resource: w.Kind}, w.Name.Name, errConflict)
		}
		return fault
	}
	return answer
}

// up is the process that runs, which knows nothing when it came up just now.
func (p *process) up() *controllerstest.Process {
	if p.controllers != nil {
		return p.controllers
	}
	p.asked, p.results = map[dnsprovider.Owner]dnsprovider.Submission{}, map[dnsprovider.Owner]dnsprovider.Result{}
	p.texts = map[target]keyID{}
	p.serverTime = servertime.New(p.clock.Now)
	p.provider.answer = p.answered
	p.controllers = controllerstest.Start(controllerstest.World{
		OwnerID: ownerID, Objects: unreliable{p.store.Cached(controllerstest.CacheHolds()), p.world}, Live: unreliable{p.store, p.world},
		Leases: p.store.Leases("operator"), Clock: p.serverTime, ServerTime: p.serverTime, Retry: 10 * time.Minute,
		Providers: []dnsprovider.ProviderKey{{Kind: v1alpha1.KindDNSProvider, Namespace: dnsName.Namespace, Name: dnsName.Name}},
		Queue:     queue{p}, Prober: sight{p}, Zones: sight{p}, Signers: pods{p},
		Keys:     &controllerstest.KeysAtOnce{Generate: p.pool.draw, Told: func(o dnsprovider.Owner) { p.in(2*time.Second, func() { p.wakeNamed(o.Name) }) }},
		Settings: dkimkey.Settings{MinimumWait: minimumWait, RevocationGrace: p.profile.lifetimes.RevocationGrace},
	})
	return p.controllers
}

func (p *process) crashed() { p.controllers = nil }

func (p *process) reconcileDomain() {
	if p.down() {
		return
	}
	up := p.tick()
	result, err := up.Domain(p.Context(), domainName)
	p.again(p.domainAlarm, result, err)
	p.followRotations()
}

func (p *process) reconcileKey(selector string) {
	if p.down() {
		return
	}
	up := p.tick()
	result, err := up.Key(p.Context(), types.NamespacedName{Namespace: domainName.Namespace, Name: nameOf(selector)})
	p.again(p.keyAlarm(selector), result, err)
}

// tick has the operator's clock tell its time, and the API server's, as with each of its answers.
func (p *process) tick() *controllerstest.Process {
	up := p.up()
	p.clock.SetTime(p.now.Add(p.world.clock.offset))
	if p.store.Stale() {
		p.report.StaleReads++
	}
	date := transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{Body: http.NoBody, Header: http.Header{"Date": {p.now.UTC().Format(http.TimeFormat)}}}, nil
	})
	response, err := p.serverTime.Wrap(date).RoundTrip(nil)
	if err == nil {
		_ = response.Body.Close()
	}
	return up
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// again does what a queue of requests does with a result: the wait is counted by no clock that steps.
func (p *process) again(a *alarm, result ctrl.Result, err error) {
	switch {
	case p.down(): // everything is looked at when it comes up again
	case err != nil:
		a.requeue(time.Second + time.Duration(p.rng.Int64N(int64(10*time.Second))))
	case result.RequeueAfter > 0:
		a.requeue(result.RequeueAfter)
	}
}
