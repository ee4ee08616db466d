// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers lists the controllers of the operator and what runs beside them.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	providercontroller "github.com/maildomain-operator/maildomain-operator/controllers/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/announce"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/keymaker"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/controllers/maildomain"
	"github.com/maildomain-operator/maildomain-operator/controllers/metrics"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
	"github.com/maildomain-operator/maildomain-operator/internal/signers"
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=system,resources=leases,verbs=get;create;update;delete

// Settings are the operator's flags.
type Settings struct {
	// OwnerID tells this installation's records from those of others; a restored one keeps it.
	OwnerID string
	// ClusterProviders is off in namespaced mode, where cluster-wide objects may not be read.
	ClusterProviders bool
	Keys             dkimkey.Settings
	Providers        providercontroller.Settings
	Probing          dnscheck.Options
	// Removals limits how many records may go without a person's word; brake.Default if zero.
	Removals brake.Limit
	// Hearing is how long after a start the objects may take to tell which records are theirs, before a marker that lists
	// others tells of a second copy of this installation; 2 minutes if 0.
	Hearing time.Duration
	Clock   clock.PassiveClock
	// ServerTime has seen every answer of the API server: wrap the manager's configuration with it. Without it no key is ever
	// retired, for nobody knows whether our clock is right.
	ServerTime *servertime.Watch
	// Metrics takes what Prometheus is told of domains and keys; nobody is told if it is nil.
	Metrics prometheus.Registerer
	// ThirdPartyInterval is how often the records of others that ours depend on are looked at; 2 hours if 0.
	ThirdPartyInterval time.Duration
	// Retry is how often is looked again at what no watch tells of, such as credentials and Secrets that are not ours;
	// 30 seconds if 0.
	Retry time.Duration
}

const defaultRetry = 30 * time.Second

// keyWorkers is how many key pairs are made at once, each by one processor.
const keyWorkers = 2

// Setup registers everything that runs in the manager. All of it runs on the leader alone.
func Setup(ctx context.Context, mgr ctrl.Manager, s Settings) error {
	if err := index.Register(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	leases, err := coordinationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("client for Leases: %w", err)
	}
	retry := cmp.Or(s.Retry, defaultRetry)
	var (
		live     = mgr.GetAPIReader()
		accounts = dnsprovider.NewAccounts()
		queue    = newQueue(s, accounts, mgr.GetClient())
		prober   = dnscheck.New(s.Probing)
		claims   = claim.NewBook(leases.Leases(s.Providers.OperatorNamespace), place.Holds(live))
		places   = place.Finder{Client: mgr.GetClient(), Accounts: accounts, Zones: prober, ClusterScope: s.ClusterProviders}
		news     = &index.News{}
		others   = newThirdParty(s, prober, news)
		keys     = keymaker.New(keymaker.Options{Workers: keyWorkers, Tell: news.Tell})
	)
	all := []interface {
		SetupWithManager(mgr ctrl.Manager, news *index.News) error
	}{
		&maildomain.Reconciler{
			Client: mgr.GetClient(), Live: live, Clock: s.Clock, Events: announce.Recorder(mgr.GetEventRecorder("maildomain")),
			Places: places, Claims: claims, Queue: queue, Prober: prober, ThirdParty: others, Retry: retry, ServerTime: s.ServerTime,
			Settings: maildomain.Settings{OwnerID: s.OwnerID, RevocationGrace: s.Keys.RevocationGrace},
		},
		&dkimkey.Reconciler{
			Client: mgr.GetClient(), Live: live, Clock: s.Clock, Events: announce.Recorder(mgr.GetEventRecorder("dkimkey")),
			Places: places, Claims: claims, Queue: queue, Prober: prober, Settings: s.Keys, Retry: retry,
			ServerTime: s.ServerTime, Keys: keys, Signers: signers.Asker{},
		},
	}
	kinds := []string{v1alpha1.KindDNSProvider}
	if s.ClusterProviders {
		kinds = append(kinds, v1alpha1.KindClusterDNSProvider)
	}
	for _, kind := range kinds {
		all = append(all, &providercontroller.Reconciler{
			Client: mgr.GetClient(), Live: live, Clock: s.Clock, Events: announce.Recorder(mgr.GetEventRecorder("dnsprovider")),
			Accounts: accounts, Settings: s.Providers, Kind: kind, Retry: retry,
		})
	}
	for _, c := range all {
		if err := c.SetupWithManager(mgr, news); err != nil {
			return fmt.Errorf("set up %T: %w", c, err)
		}
	}
	if s.Metrics != nil {
		if err := s.Metrics.Register(&metrics.Collector{Objects: mgr.GetClient(), Clock: s.Clock}); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	spread := func(ctx context.Context) error { return news.Spread(ctx, queue.Wake(), prober.Wake(), accounts.Wake()) }
	for _, run := range []manager.RunnableFunc{queue.Start, prober.Start, others.Start, keys.Start, spread} {
		if err := mgr.Add(run); err != nil {
			return err
		}
	}
	return nil
}

func newThirdParty(s Settings, prober *dnscheck.Prober, news *index.News) *thirdparty.Watch {
	return thirdparty.New(thirdparty.Options{
		Now: s.Clock.Now, Interval: s.ThirdPartyInterval, Tell: news.TellWatcher,
		Inquire: func(p dnscheck.Policy) thirdparty.DNS { return prober.Inquiry(p) },
	})
}

func newQueue(s Settings, accounts *dnsprovider.Accounts, objects client.Reader) *dnsprovider.Queue {
	return dnsprovider.NewQueue(dnsprovider.Options{
		OwnerID: s.OwnerID, Accounts: accounts, Now: s.Clock.Now, Hearing: s.Hearing,
		Removals: cmp.Or(s.Removals, brake.Default), Census: census(objects, s.Clock),
	})
}

// census counts what the objects of the installation publish, as the cache has them.
func census(objects client.Reader, now clock.PassiveClock) func(context.Context) (brake.Census, error) {
	return func(ctx context.Context) (brake.Census, error) {
		var domains v1alpha1.MailDomainList
		var keys v1alpha1.DKIMKeyList
		for _, list := range []client.ObjectList{&domains, &keys} {
			// Nothing is changed here: thousands of objects need not be copied for each look.
			if err := objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
				return brake.Census{}, fmt.Errorf("count records: %w", err)
			}
		}
		return brake.Count(domains.Items, keys.Items, now.Now()), nil
	}
}
