// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllerstest runs the reconcilers of domains and of keys one call at a time, without a manager: whoever tests
// them hands in the objects, the clock, the provider and the name servers, and decides what is reconciled when.
//
//	store := objectstore.New(scheme, clock.Now)        // or any other client.Client
//	p := controllerstest.Start(controllerstest.World{Objects: store.Cached(controllerstest.CacheHolds()), Live: store, …})
//	result, err := p.Domain(ctx, name)
//
// A crash is to drop the Process and start another one: what it did not write is forgotten.
package controllerstest

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/keymaker"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/controllers/maildomain"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// Queue takes what is to be published.
type Queue = evidence.Queue

// Prober tells what the authoritative servers say.
type Prober = evidence.Prober

// Zones tells where the public DNS looks for a name.
type Zones = place.Zones

// KeyMaker makes key pairs.
type KeyMaker = dkimkey.KeyMaker

// KeyOrder is a key pair that a DKIMKey wants.
type KeyOrder = keymaker.Order

// Signers tells which pods hold a key.
type Signers = dkimkey.Signers

// World is everything around one process of the operator.
type World struct {
	OwnerID string
	Objects client.Client // as its caches show them; it writes through this, too
	Live    client.Reader
	Leases  coordinationclient.LeaseInterface // of the operator's namespace
	Clock   clock.PassiveClock
	// ServerTime has to have seen an answer of the API server, or no key is ever retired.
	ServerTime *servertime.Watch
	// Providers are open from the beginning.
	Providers []dnsprovider.ProviderKey
	// Zones finds the zone of a name; nil where spec.zones says it, and spec.verification names the servers.
	Zones    Zones
	Queue    Queue
	Prober   Prober
	Keys     KeyMaker
	Signers  Signers // of pods that spec.dkim.signers selects
	Settings dkimkey.Settings
	// Retry is how often is looked again at what no watch tells of; 30 seconds if 0.
	Retry time.Duration
	// Say hears of every event, if set.
	Say func(about runtime.Object, kind, reason, note string)
}

// Process is one life of the operator, from its start to a crash.
type Process struct {
	domains maildomain.Reconciler
	keys    dkimkey.Reconciler
}

// Start starts a process, which knows nothing but what it reads.
func Start(w World) *Process {
	accounts := dnsprovider.NewAccounts()
	for _, p := range w.Providers {
		accounts.Set(p, &dnsprovider.Account{Fingerprint: fmt.Sprint(p)}) // no two are the same account
	}
	var (
		places = place.Finder{Client: w.Objects, Accounts: accounts, Zones: w.Zones, ClusterScope: true}
		claims = claim.NewBook(w.Leases, place.Holds(w.Live))
		events = recorder{w.Say}
		retry  = cmp.Or(w.Retry, 30*time.Second)
	)
	return &Process{
		domains: maildomain.Reconciler{
			Client: w.Objects, Live: w.Live, Clock: w.Clock, Events: events, Places: places, Claims: claims, Queue: w.Queue,
			Prober: w.Prober, ThirdParty: nobodyElse{}, ServerTime: w.ServerTime, Retry: retry,
			Settings: maildomain.Settings{OwnerID: w.OwnerID, RevocationGrace: w.Settings.RevocationGrace},
		},
		keys: dkimkey.Reconciler{
			Client: w.Objects, Live: w.Live, Clock: w.Clock, Events: events, Places: places, Claims: claims, Queue: w.Queue,
			Prober: w.Prober, ServerTime: w.ServerTime, Retry: retry, Settings: w.Settings, Keys: w.Keys, Signers: w.Signers,
		},
	}
}

// Domain reconciles a MailDomain once.
func (p *Process) Domain(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	return p.domains.Reconcile(ctx, ctrl.Request{NamespacedName: name})
}

// Key reconciles a DKIMKey once.
func (p *Process) Key(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	return p.keys.Reconcile(ctx, ctrl.Request{NamespacedName: name})
}

// Register adds the indexes that the reconcilers look objects up by.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	return index.Register(ctx, indexer)
}

// CacheHolds says which Secrets the operator's cache holds; see controllers.Cache.
func CacheHolds() map[string]func(client.Object) bool {
	return map[string]func(client.Object) bool{
		"Secret": func(o client.Object) bool { _, ours := o.(*corev1.Secret).Labels[v1alpha1.LabelSecret]; return ours },
	}
}

// recorder passes events on, if somebody listens.
type recorder struct {
	say func(about runtime.Object, kind, reason, note string)
}

func (r recorder) Eventf(about, _ runtime.Object, kind, reason, _, note string, args ...any) {
	if r.say != nil {
		r.say(about, kind, reason, fmt.Sprintf(note, args...))
	}
}

// KeysAtOnce makes key pairs by Generate when they are ordered, and hands them out, as the real maker does, to whoever asks
// again. Told hears whom to wake.
type KeysAtOnce struct {
	Generate func(a dkim.Algorithm, bits int) dkim.KeyPair
	Told     func(dnsprovider.Owner)

	made map[types.UID]dkim.KeyPair
}

// Make returns the pair that was ordered before.
func (k *KeysAtOnce) Make(o KeyOrder) (dkim.KeyPair, bool, error) {
	if pair, ok := k.made[o.UID]; ok {
		return pair, true, nil
	}
	if k.made == nil {
		k.made = map[types.UID]dkim.KeyPair{}
	}
	k.made[o.UID] = k.Generate(o.Algorithm, o.Bits)
	if k.Told != nil {
		k.Told(o.For)
	}
	return dkim.KeyPair{}, false, nil
}

// Forget ends an order.
func (k *KeysAtOnce) Forget(uid types.UID) { delete(k.made, uid) }

// nobodyElse is a world in which no record of ours depends on others.
type nobodyElse struct{}

func (nobodyElse) Watch(string, thirdparty.Subject, bool) {}
func (nobodyElse) Forget(string)                          {}

func (nobodyElse) Findings(string, thirdparty.Subject) (thirdparty.Findings, bool) {
	return thirdparty.Findings{}, false
}
