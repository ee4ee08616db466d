// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/maildomain-operator/maildomain-operator/internal/brake"
)

// options are the flags as they are written.
type options struct {
	ownerID           string
	watchNamespaces   []string
	operatorNamespace string
	leaderElect       bool
	metricsAddress    string
	healthAddress     string
	endpoints         []string
	minimumWait       time.Duration
	revocationGrace   time.Duration
	probeInterval     time.Duration
	removals          brake.Limit
	dnsRoots          []string
	dnsPort           uint16
	logLevel          string
	logFormat         string
	kubeAPIQPS        float32
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "manager --owner-id ID",
		Short:         "Keeps mail domains trustworthy: DKIM keys, SPF and DMARC, published, proven and rotated.",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ownerID, "owner-id", "", "name of this installation in the DNS; two installations differ in it, a restored one keeps it (required)")
	f.StringSliceVar(&o.watchNamespaces, "watch-namespace", nil, "work in these namespaces alone (may be repeated); ClusterDNSProviders are then not available")
	f.StringVar(&o.operatorNamespace, "operator-namespace", os.Getenv("POD_NAMESPACE"), "namespace of claims, of the leader's Lease and of the credentials of ClusterDNSProviders")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "run beside other replicas, of which one leads")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "address of /metrics; 0 for none")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
	f.StringSliceVar(&o.endpoints, "provider-endpoint-allow", nil, "hosts that DNSProviders may point at, such as *.example.org (may be repeated); all when absent")
	f.DurationVar(&o.minimumWait, "minimum-wait", 15*time.Minute, "how long a record stands before its key may sign, whatever the DNS says; shorter only in tests")
	f.DurationVar(&o.revocationGrace, "revocation-grace", 3*time.Minute, "how long after a revoked key left the signing Secret its record is emptied")
	f.DurationVar(&o.probeInterval, "probe-interval", 10*time.Minute, "how often a verified record is looked at again")
	f.Float64Var(&o.removals.Share, "mass-removal-limit", brake.Default.Share, "share of all records of this installation that may go within --mass-removal-window before a person has to agree; 1 for no limit")
	f.IntVar(&o.removals.Floor, "mass-removal-floor", brake.Default.Floor, "so many records may always go within --mass-removal-window")
	f.DurationVar(&o.removals.Window, "mass-removal-window", brake.Default.Window, "within which time removals are counted")
	f.StringSliceVar(&o.dnsRoots, "dns-root", nil, "address of a root name server of a private DNS, with a port where it is not 53 (may be repeated)")
	f.Uint16Var(&o.dnsPort, "dns-port", 53, "port of all name servers of a private DNS")
	f.StringVar(&o.logLevel, "log-level", "info", "error, info or debug")
	f.StringVar(&o.logFormat, "log-format", "json", "json or console")
	f.Float32Var(&o.kubeAPIQPS, "kube-api-qps", 100, "calls to the API server in each second")
	return cmd
}

// check says of every flag at once what is wrong with it.
func (o options) check() error {
	var errs []error
	deny := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	deny(o.ownerID == "", "--owner-id is required: a name for this installation that never changes, such as production-eu")
	deny(len(o.ownerID) > 253, "--owner-id is longer than 253 octets")
	deny(o.operatorNamespace == "", "--operator-namespace is required outside of a pod")
	for _, n := range append([]string{o.operatorNamespace}, o.watchNamespaces...) {
		deny(n != "" && len(validation.IsDNS1123Label(n)) > 0, "%q is not the name of a namespace", n)
	}
	deny(o.minimumWait < 0 || o.revocationGrace < 0, "--minimum-wait and --revocation-grace cannot be negative")
	deny(o.removals.Share < 0 || o.removals.Share > 1, "--mass-removal-limit is a share from 0 to 1, not %g", o.removals.Share)
	deny(o.removals.Floor < 0 || o.removals.Window < time.Second, "--mass-removal-floor cannot be negative, and --mass-removal-window is at least 1s")
	deny(o.probeInterval < time.Second, "--probe-interval is at least 1s")
	deny(o.logFormat != "json" && o.logFormat != "console", "--log-format is json or console, not %q", o.logFormat)
	_, err := o.level()
	errs = append(errs, err)
	_, err = o.roots()
	return errors.Join(append(errs, err)...)
}

func (o options) level() (zapcore.Level, error) {
	var level zapcore.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return level, fmt.Errorf("--log-level is error, info or debug, not %q", o.logLevel)
	}
	return level, nil
}

// roots reads 192.0.2.1 and 192.0.2.1:5353.
func (o options) roots() ([]netip.AddrPort, error) {
	var roots []netip.AddrPort
	for _, text := range o.dnsRoots {
		if ip, err := netip.ParseAddr(text); err == nil {
			roots = append(roots, netip.AddrPortFrom(ip, o.dnsPort))
			continue
		}
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("--dns-root %q is neither an address nor an address with a port", text)
		}
		roots = append(roots, server)
	}
	return roots, nil
}
