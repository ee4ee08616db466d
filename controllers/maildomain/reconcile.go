// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package maildomain keeps a mail domain as its MailDomain asks: it decides which keys exist and which of them sign,
// writes the signing Secret, and publishes SPF and DMARC.
package maildomain

import (
	"context"
	"errors"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/object"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
)

// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains/status,verbs=patch
// +kubebuilder:rbac:groups=maildomain.dev,resources=dkimkeys,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=maildomain.dev,resources=dnsproviders;clusterdnsproviders,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles MailDomains.
type Reconciler struct {
	Client client.Client
	Live   client.Reader // reads past the cache
	Clock  clock.PassiveClock
	Events events.EventRecorder
	Places place.Finder
	Claims *claim.Book
	Queue  evidence.Queue
	Prober evidence.Prober
	// ThirdParty tells what the records of others mean to ours.
	ThirdParty evidence.ThirdParty
	// ServerTime tells of the API server's clock.
	ServerTime *servertime.Watch
	Settings   Settings
	// Retry is how often is looked again at what no watch tells of.
	Retry time.Duration
}

// Settings are the operator's flags that concern domains.
type Settings struct {
	// OwnerID is the name of the installation, which spreads its rotations.
	OwnerID string
	// RevocationGrace is how long signers may lag behind the signing Secret.
	RevocationGrace time.Duration
}

// Reconcile brings one domain a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	domain := &v1alpha1.MailDomain{}
	if err := r.Client.Get(ctx, req.NamespacedName, domain); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if domain.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(domain, v1alpha1.Finalizer) {
		return ctrl.Result{}, object.PatchFinalizer(ctx, r.Client, domain, controllerutil.AddFinalizer)
	}
	now := r.Clock.Now()
	seen, err := r.observe(ctx, domain, now)
	if errors.Is(err, place.ErrNotOpen) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err // unknown is not absent: nothing is written
	}
	if !domain.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, seen)
	}
	next := decide(seen, now)
	if readiness.Unwatched(next.findings) {
		next.look(now.Add(r.Retry))
	}
	err = r.act(ctx, seen, &next)
	return r.report(ctx, seen, next, now, err)
}

// report is the only writer of status; the Result looks again when time alone changes something.
func (r *Reconciler) report(ctx context.Context, seen observation, next decision, now time.Time, err error) (ctrl.Result, error) {
	look, patched := r.patchStatus(ctx, seen, next, now)
	return object.Result(now, look, err, patched)
}

// owner names the domain to the queue.
func owner(d *v1alpha1.MailDomain) dnsprovider.Owner {
	return dnsprovider.Owner{Kind: v1alpha1.KindMailDomain, Namespace: d.Namespace, Name: d.Name}
}

// watcher names the domain to the prober.
func watcher(d *v1alpha1.MailDomain) string {
	return v1alpha1.KindMailDomain + "/" + d.Namespace + "/" + d.Name
}

func holderOf(d *v1alpha1.MailDomain) claim.Holder {
	return claim.Holder{Kind: v1alpha1.KindMailDomain, Namespace: d.Namespace, Name: d.Name, UID: string(d.UID)}
}
