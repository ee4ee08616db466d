// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dkimkey keeps one DKIM key pair, its record and, in the end, its tombstone. It carries out what its
// MailDomain intends; who signs is not decided here.
package dkimkey

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/keymaker"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
	"github.com/maildomain-operator/maildomain-operator/internal/signers"
)

// +kubebuilder:rbac:groups=maildomain.dev,resources=dkimkeys,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=maildomain.dev,resources=dkimkeys/status,verbs=patch
// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains,verbs=get;list;watch
// +kubebuilder:rbac:groups=maildomain.dev,resources=dnsproviders;clusterdnsproviders,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles DKIMKeys.
type Reconciler struct {
	Client   client.Client
	Live     client.Reader // reads past the cache
	Clock    clock.PassiveClock
	Events   events.EventRecorder
	Places   place.Finder
	Claims   *claim.Book
	Queue    evidence.Queue
	Prober   evidence.Prober
	Keys     KeyMaker
	Signers  Signers
	Settings Settings
	// ServerTime tells of the API server's clock.
	ServerTime *servertime.Watch
	// Retry is how often is looked again at what no watch tells of.
	Retry time.Duration
}

// KeyMaker makes key pairs beside the reconciles; see keymaker.Maker.
type KeyMaker interface {
	Make(order keymaker.Order) (pair dkim.KeyPair, made bool, err error)
	Forget(uid types.UID)
}

// Signers tells which pods hold a key; see signers.Asker.
type Signers interface {
	Holding(ctx context.Context, all []signers.Signer, domain dnsrecord.Name, selector string) []string
}

// Settings are the operator's flags that concern keys.
type Settings struct {
	// MinimumWait is how long a record stands before its key may sign, whatever the DNS says (rotation invariant 1).
	MinimumWait time.Duration
	// RevocationGrace is how long after a revoked key left the signing Secret its record is emptied: signers that mount
	// the Secret lag behind.
	RevocationGrace time.Duration
}

// Reconcile brings one key a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key := &v1alpha1.DKIMKey{}
	if err := r.Client.Get(ctx, req.NamespacedName, key); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if key.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(key, v1alpha1.Finalizer) {
		return ctrl.Result{}, object.PatchFinalizer(ctx, r.Client, key, controllerutil.AddFinalizer)
	}
	now := r.Clock.Now()
	seen, err := r.observe(ctx, key, now)
	if errors.Is(err, place.ErrNotOpen) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err // unknown is not absent: nothing is written
	}
	if !key.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, seen)
	}
	next := r.decide(seen, now)
	err = r.act(ctx, seen, &next)
	return r.report(ctx, seen, next, now, err)
}

// report is the only writer of status; the Result looks again when time alone changes something.
func (r *Reconciler) report(ctx context.Context, seen observation, next decision, now time.Time, err error) (ctrl.Result, error) {
	look, patched := r.patchStatus(ctx, seen, next, now)
	return object.Result(now, look, err, patched)
}

// owner names the key to the queue.
func owner(key *v1alpha1.DKIMKey) dnsprovider.Owner {
	return dnsprovider.Owner{Kind: v1alpha1.KindDKIMKey, Namespace: key.Namespace, Name: key.Name}
}

// watcher names the key to the prober.
func watcher(key *v1alpha1.DKIMKey) string {
	return v1alpha1.KindDKIMKey + "/" + key.Namespace + "/" + key.Name
}
