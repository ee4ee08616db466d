// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/controllers/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
)

// leaderElectionID names the Lease of the leader.
const leaderElectionID = "maildomain-operator.maildomain.dev"

// shutdownTimeout bounds how long the writes under way at a provider are waited for before the lead is given up.
const shutdownTimeout = 25 * time.Second // the pod has 30

func run(ctx context.Context, o options) error {
	level, err := o.level()
	if err != nil {
		return err
	}
	logTo(zap.New(zap.Level(level), zap.UseDevMode(o.logFormat == "console")))

	serverTime := servertime.New(clock.RealClock{}.Now)
	mgr, err := newManager(o, serverTime)
	if err != nil {
		return err
	}
	roots, err := o.roots()
	if err != nil {
		return err
	}
	minimumWait := o.minimumWait
	if minimumWait == 0 {
		minimumWait = -1 // dnscheck takes 0 for its default
	}
	err = controllers.Setup(ctx, mgr, controllers.Settings{
		OwnerID:          o.ownerID,
		ClusterProviders: len(o.watchNamespaces) == 0,
		Keys:             dkimkey.Settings{MinimumWait: o.minimumWait, RevocationGrace: o.revocationGrace},
		Providers:        dnsprovider.Settings{OperatorNamespace: o.operatorNamespace, AllowedEndpoints: o.endpoints},
		Probing:          dnscheck.Options{Now: serverTime.Now, Roots: roots, Port: o.dnsPort, MinimumWait: minimumWait, Interval: o.probeInterval},
		Removals:         o.removals,
		Clock:            serverTime,
		ServerTime:       serverTime,
		Metrics:          metrics.Registry,
	})
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(o options, serverTime *servertime.Watch) (ctrl.Manager, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config.Wrap(serverTime.Wrap)
	config.QPS, config.Burst = o.kubeAPIQPS, 2*int(o.kubeAPIQPS)
	scheme, err := controllers.Scheme()
	if err != nil {
		return nil, err
	}
	caching, err := controllers.Cache(o.watchNamespaces)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         caching,
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       o.operatorNamespace,
		LeaderElectionReleaseOnCancel: true, // the queue is drained by then: Start has returned
		GracefulShutdownTimeout:       new(shutdownTimeout),
		Client:                        client.Options{FieldOwner: "maildomain-operator"},
	})
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", synced(mgr.GetCache()))); err != nil {
		return nil, err
	}
	return mgr, nil
}

// synced says whether what the controllers read is there: a new pod that is not ready leaves the old one in its place.
func synced(caches cache.Cache) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
		defer cancel()
		if !caches.WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
}
