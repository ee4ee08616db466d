// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/maildomain-operator/maildomain-operator/internal/dnslookup"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
)

// verifyOptions are the flags of verifying listeners.
type verifyOptions struct {
	listen     []string
	authservID string
	resolvers  []string
	dnsTimeout time.Duration
	onResult   map[string]string
	compare    time.Duration // how often our own keys are compared with the DNS; 0: never
}

const verifyHelp = `
A --verify listener is for port 25: it checks DKIM, SPF and DMARC of mail that comes in, writes what it found into an
Authentication-Results field, and removes such fields that came in under our own name. --on-result says what else is done,
as result=action with tag, quarantine (the MTA's hold queue), reject, or tempfail where the DNS did not answer; nothing is
done but tagging unless it says so, nor to mail that passes DMARC:
`

// resultsHelp lists what --on-result takes.
func resultsHelp() string {
	var b strings.Builder
	names, about := milter.Findings()
	for _, name := range names {
		fmt.Fprintf(&b, "  %-17s %s\n", name, about[name])
	}
	return b.String()
}

func (o *verifyOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.listen, "verify", nil, "verifying listener, unix:/path or tcp:host:port; may be given several times")
	f.StringVar(&o.authservID, "authserv-id", "", "who judges, in Authentication-Results: the name that your filters trust; empty: the MTA's own name, its macro {j}")
	f.StringArrayVar(&o.resolvers, "resolver", nil, "recursive resolver, address or address:port; may be given several times; none: those of /etc/resolv.conf")
	f.DurationVar(&o.dnsTimeout, "dns-timeout", 20*time.Second, "how long the DNS may take for one message")
	f.DurationVar(&o.compare, "compare-keys", 0, "how often the keys that sign are compared with public DNS: one that it contradicts is not used while it shows an RSA key of the domain; 0: never")
	f.StringToStringVar(&o.onResult, "on-result", nil, "what is done about results: result=tag|quarantine|reject|tempfail, see above")
}

// Bounds on the questions to resolvers.
const (
	minCompare      = time.Minute
	questionTimeout = 3 * time.Second
	maxInFlight     = 2048 // a message has up to 15 questions on their way at once, and an MTA takes in some hundred
	cacheEntries    = 20_000
	cacheOctets     = 8 << 20
)

// asks tells whether anything is asked of the DNS.
func (o *verifyOptions) asks() bool { return len(o.listen) > 0 || o.compare > 0 }

// settle checks the flags. Without a listener there is no verification, and where nobody asks no resolver.
func (o *verifyOptions) settle(from origins) (*milter.Verification, *dnslookup.Resolver, error) {
	var errs []error
	if o.compare != 0 && o.compare < minCompare {
		errs = append(errs, fmt.Errorf("%s %s: want 0 or at least %s", from.name("compare-keys"), o.compare, minCompare))
	}
	if o.dnsTimeout <= 0 {
		errs = append(errs, fmt.Errorf("%s %s: want more than 0", from.name("dns-timeout"), o.dnsTimeout))
	}
	if o.authservID != "" {
		if err := mailauth.CheckAuthservID(o.authservID); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", from.name("authserv-id"), err))
		}
	}
	actions, err := o.actions(from)
	servers, serversErr := o.servers(from)
	if err := errors.Join(append(errs, err, serversErr)...); err != nil || !o.asks() {
		return nil, nil, err
	}
	resolver := dnslookup.New(dnslookup.Config{
		Servers: servers, Timeout: questionTimeout, MaxEntries: cacheEntries, MaxOctets: cacheOctets, MaxInFlight: maxInFlight, Now: time.Now,
	})
	if len(o.listen) == 0 {
		return nil, resolver, nil
	}
	return &milter.Verification{AuthservID: o.authservID, Timeout: o.dnsTimeout, Actions: actions, Resolver: resolver}, resolver, nil
}

func (o *verifyOptions) actions(from origins) (map[milter.Finding]milter.Action, error) {
	known, _ := milter.Findings()
	actions := map[milter.Finding]milter.Action{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o.onResult)) {
		finding, action := milter.Finding(name), milter.Action(o.onResult[name])
		switch {
		case !slices.Contains(known, finding):
			errs = append(errs, fmt.Errorf("%s %s: no such result; want one of %s", from.name("on-result"), name, join(known)))
		case !slices.Contains(finding.MayDo(), action):
			errs = append(errs, fmt.Errorf("%s %s=%s: want one of %s", from.name("on-result"), name, action, join(finding.MayDo())))
		default:
			actions[finding] = action
		}
	}
	return actions, errors.Join(errs...)
}

func join[S ~string](words []S) string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

// servers are the resolvers that were given, or the system's.
func (o *verifyOptions) servers(from origins) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	var errs []error
	for _, text := range o.resolvers {
		server, err := netip.ParseAddrPort(text)
		if addr, isAddr := netip.ParseAddr(text); isAddr == nil {
			server, err = netip.AddrPortFrom(addr, 53), nil
		}
		if err != nil || server.Port() == 0 {
			errs = append(errs, fmt.Errorf("%s %s: want an address, such as 192.0.2.53 or [2001:db8::53]:53", from.name("resolver"), text))
			continue
		}
		servers = append(servers, server)
	}
	if len(o.resolvers) > 0 || !o.asks() {
		return servers, errors.Join(errs...)
	}
	servers, err := dnslookup.SystemServers("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("--resolver is missing, and the system has none: %w", err)
	}
	return servers, nil
}

// registerDNS registers the numbers of the resolver.
func registerDNS(registry prometheus.Registerer, r *dnslookup.Resolver) {
	if r == nil {
		return
	}
	const prefix = "maildomain_milter_dns_"
	counter := func(name, help string, read func(dnslookup.Stats) uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: prefix + name, Help: help}, func() float64 { return float64(read(r.Stats())) }))
	}
	gauge := func(name, help string, read func(dnslookup.Stats) int) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, func() float64 { return float64(read(r.Stats())) }))
	}
	counter("cache_hits_total", "Questions answered from memory.", func(s dnslookup.Stats) uint64 { return s.Hits })
	counter("questions_total", "Questions that resolvers were asked.", func(s dnslookup.Stats) uint64 { return s.Misses })
	counter("failures_total", "Questions to which no resolver had an answer.", func(s dnslookup.Stats) uint64 { return s.Failures })
	gauge("cache_entries", "Answers that are remembered.", func(s dnslookup.Stats) int { return s.Entries })
	gauge("cache_bytes", "About how much memory they take.", func(s dnslookup.Stats) int { return s.Octets })
}
