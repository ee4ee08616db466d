// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
)

const (
	negotiateTimeout = 30 * time.Second
	packetTimeout    = time.Minute
)

// run serves until ctx ends, and then finishes what is on its way.
func (o *options) run(ctx context.Context, s settings, log *slog.Logger) error {
	live := &milter.Live{RequireSenders: o.requireSenders}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := milter.NewMetrics(registry, s.policy, live, time.Now)
	server := milter.NewServer(milter.Config{
		Live: live, Policy: s.policy, Expiry: o.expiry, Deadline: o.deadline, MaxConnections: o.maxConnections, Memory: o.memory << 20,
		NegotiateTimeout: negotiateTimeout, IdleTimeout: o.idleTimeout, PacketTimeout: packetTimeout,
		Verification: s.verification,
		Metrics:      metrics, Log: log, Now: time.Now,
	})
	registerDNS(registry, s.resolver)
	warn(s, log)
	tellEngine(log)

	// The first reading comes before the listeners: no message has to wait for it.
	apply := func(sources []keydir.Source) { reload(live, metrics, log, sources) }
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	watcher := keydir.Watcher{
		Dirs: o.keys, Every: o.rescan, Reload: pulses(ctx, hangups, log),
		Errors: func(err error) { log.Error("key tree", "error", err.Error()) },
	}
	if o.watches() {
		apply(watcher.LoadAll())
	}

	listeners, err := listenAll(ctx, s)
	if err != nil {
		return err
	}
	giveBackStart()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if o.watches() {
			watcher.Run(ctx, apply)
		}
		return nil
	})
	if o.verify.compare > 0 {
		publication := milter.Publication{Live: live, Resolver: s.resolver, Every: o.verify.compare, Log: log}
		group.Go(func() error {
			publication.Run(ctx)
			return nil
		})
	}
	for i, l := range listeners {
		role := s.listeners[i].role
		log.Info(string(role)+"ing listener", "address", l.Addr().Network()+":"+l.Addr().String())
		// Not ctx: messages on their way outlive the signal to end.
		group.Go(func() error { return server.Serve(context.WithoutCancel(ctx), l, role) })
	}
	group.Go(func() error { return serveHTTP(ctx, o.http, server.Handler(registry, len(listeners)), log) })
	group.Go(func() error { return shutdown(ctx, server, o.shutdownTimeout, log) })
	return group.Wait()
}

// watches tells whether there is a key tree: a milter that only verifies needs none.
func (o *options) watches() bool { return len(o.keys) > 0 }

// warn shouts what is dangerous.
func warn(s settings, log *slog.Logger) {
	if s.policy.AcceptFailures {
		log.Warn("FAIL OPEN: --on-failure=accept lets mail leave UNSIGNED whenever signing fails")
	}
	for _, l := range s.listeners {
		if l.role == milter.RoleSign && l.open() {
			log.Warn("whoever reaches this listener can have mail signed", "listener", l.String())
		}
	}
}

// tellEngine says who computes RSA signatures, and shouts if it is not who this build was made for.
func tellEngine(log *slog.Logger) {
	engine := rsasign.Current()
	if engine.Missing != nil {
		log.Warn("RSA signatures take several times as long as they could", "engine", engine.Name, "why", engine.Missing.Error())
		return
	}
	log.Info("RSA signatures", "engine", engine.Name)
}

// pulses makes signals into wishes to reload.
func pulses(ctx context.Context, signals <-chan os.Signal, log *slog.Logger) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				log.Info("SIGHUP: reading the key tree")
			}
			select {
			case <-ctx.Done():
				return
			case out <- struct{}{}:
			}
		}
	}()
	return out
}

func listenAll(ctx context.Context, s settings) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range s.listeners {
		l, err := address.listen(ctx, s.socketMode)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, fmt.Errorf("--%s %s: %w", address.role, address, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// reload takes a reading of the key tree and says what it changed.
func reload(live *milter.Live, metrics *milter.Metrics, log *slog.Logger, sources []keydir.Source) {
	before := live.Table()
	changes := live.Apply(sources, time.Now())
	table := live.Table()
	metrics.Reloaded(table)
	for _, f := range newFaults(before, table) {
		log.Error("fault in the key tree", "subject", f.Subject, "fault", f.Message)
	}
	for _, c := range changes {
		switch {
		case c.Entry == nil:
			log.Warn("domain left the key tree", "domain", c.Domain.String())
		case c.Entry.Unread:
			log.Error("domain could not be read and its mail waits", "domain", c.Domain.String(), "fault", c.Entry.Fault)
		case c.Entry.Fault != "":
			log.Error("domain could not be read and keeps what it had", "domain", c.Domain.String(), "fault", c.Entry.Fault, "keys", keyNames(c.Entry))
		default:
			log.Info("domain", "domain", c.Domain.String(), "required", c.Entry.Required, "keys", keyNames(c.Entry))
		}
	}
	if open := openBesideListed(table); len(open) > 0 && len(openBesideListed(before)) == 0 && !live.RequireSenders {
		log.Warn("some domains say who may send and others admit everybody: if they are of several tenants, start with --require-senders", "admit_everybody", open)
	}
	switch {
	case table.Blind != "" && table.Blind != before.Blind:
		log.Error("key tree is not complete: mail waits", "why", table.Blind)
	case table.Blind == "" && before.Blind != "":
		log.Info("key tree is complete", "domains", len(table.Entries()))
	}
}

// openBesideListed are the domains that admit everybody, where others do not.
func openBesideListed(t *milter.Table) []string {
	var open []string
	entries := t.Entries()
	for _, e := range entries {
		if e.Senders == nil && !e.Unread {
			open = append(open, e.Domain.Domain.String())
		}
	}
	if !slices.ContainsFunc(entries, func(e *milter.Entry) bool { return e.Senders != nil }) {
		return nil
	}
	return open
}

// newFaults are the faults of directories and files that were not told before; those of domains are among the changes.
func newFaults(before, now *milter.Table) []milter.Fault {
	told := map[string]bool{}
	for _, e := range now.Entries() {
		told[e.Domain.Domain.String()] = true
	}
	return slices.DeleteFunc(slices.Clone(now.Faults), func(f milter.Fault) bool {
		return told[f.Subject] || slices.Contains(before.Faults, f)
	})
}

// keyNames names keys by selector and public hash.
func keyNames(e *milter.Entry) []string {
	names := make([]string, len(e.Keys))
	for i, k := range e.Keys {
		names[i] = k.Selector + " " + k.Pair.Algorithm().SignatureName() + " " + k.Pair.PublicKeySHA256()
	}
	return names
}

func serveHTTP(ctx context.Context, address string, handler http.Handler, log *slog.Logger) error {
	if address == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--http %s: %w", address, err)
	}
	log.Info("http listener", "address", l.Addr().String())
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("--http %s: %w", address, err)
	}
	return nil
}

// shutdown waits for the end of ctx and lets the server end.
func shutdown(ctx context.Context, server *milter.Server, timeout time.Duration, log *slog.Logger) error {
	<-ctx.Done()
	log.Info("shutting down")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	log.Info("ended")
	return nil
}
