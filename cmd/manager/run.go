// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/controllers/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
)

// leaderElectionID names the Lease of the leader.
const leaderElectionID = "maildomain-operator.maildomain.dev"

// shutdownTimeout bounds how long the writes under way at a provider are waited for before the lead is given up.
const shutdownTimeout = 30 * time.Second

func run(ctx context.Context, o options) error {
	var level zapcore.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level is error, info or debug, not %q", o.logLevel)
	}
	logTo(zap.New(zap.Level(level), zap.UseDevMode(o.logFormat == "console")))

	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	roots, err := o.roots()
	if err != nil {
		return err
	}
	wall := clock.RealClock{}
	minimumWait := o.minimumWait
	if minimumWait == 0 {
		minimumWait = -1 // dnscheck takes 0 for its default
	}
	err = controllers.Setup(ctx, mgr, controllers.Settings{
		OwnerID:          o.ownerID,
		ClusterProviders: len(o.watchNamespaces) == 0,
		Keys:             dkimkey.Settings{MinimumWait: o.minimumWait, RevocationGrace: o.revocationGrace},
		Providers:        dnsprovider.Settings{OperatorNamespace: o.operatorNamespace, AllowedEndpoints: o.endpoints},
		Probing:          dnscheck.Options{Now: wall.Now, Roots: roots, Port: o.dnsPort, MinimumWait: minimumWait, Interval: o.probeInterval},
		Clock:            wall,
	})
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(o options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config.QPS, config.Burst = o.kubeAPIQPS, 2*int(o.kubeAPIQPS)
	caching, err := cacheOptions(o)
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
		GracefulShutdownTimeout:       ptr.To(shutdownTimeout),
		Client:                        client.Options{FieldOwner: "maildomain-operator"},
	})
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	for name, add := range map[string]func(string, healthz.Checker) error{"healthz": mgr.AddHealthzCheck, "readyz": mgr.AddReadyzCheck} {
		if err := add(name, healthz.Ping); err != nil {
			return nil, err
		}
	}
	return mgr, nil
}

// cacheOptions keep in memory what the operator works on: of Secrets those alone that carry our label. A credential or
// somebody else's Secret never enters the cache.
func cacheOptions(o options) (cache.Options, error) {
	ours, err := labels.NewRequirement(v1alpha1.LabelSecret, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, err
	}
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&corev1.Secret{}: {Label: labels.NewSelector().Add(*ours)}},
	}
	if len(o.watchNamespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range o.watchNamespaces {
			options.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return options, nil
}
