// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// SecretReader reads one entry of a Secret, live, in the namespace that the
// provider object may read from. Its error must not hold the entry.
type SecretReader func(ctx context.Context, ref v1alpha1.SecretKeyRef) ([]byte, error)

// OpenOptions are what a driver may use.
type OpenOptions struct {
	Secrets SecretReader
	// EndpointAllowed judges the host and port that the specification names; nil allows all.
	EndpointAllowed func(hostport string) bool
	// AmbientIdentity lets a driver use what the operator's own pod is to a cloud; false for providers of tenants.
	AmbientIdentity bool
	// Transport carries HTTP requests; http.DefaultTransport if nil.
	Transport http.RoundTripper
	Now       func() time.Time
}

// driver is one entry of the catalogue.
type driver struct {
	about about
	// chosen reports whether the specification asks for it.
	chosen func(v1alpha1.DNSProviderSpec) bool
	// open is nil for a driver that is not built in.
	open func(context.Context, v1alpha1.DNSProviderSpec, OpenOptions) (*Account, error)
}

// drivers is the one catalogue of providers.
var drivers = map[string]driver{
	"cloudflare": {
		about:  aboutCloudflare,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.Cloudflare != nil },
		open:   openCloudflare,
	},
	"route53": {
		about:  aboutRoute53,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.Route53 != nil },
		open:   openRoute53,
	},
	"powerdns": {
		about:  aboutPowerDNS,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.PowerDNS != nil },
		open:   openPowerDNS,
	},
	"libdns": {
		about:  aboutLibdns,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.Libdns != nil },
		open:   openLibdns,
	},
	"manual": {
		about:  aboutManual,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.Manual != nil },
		open:   openManual,
	},
	"rfc2136": {
		about:  aboutRFC2136,
		chosen: func(s v1alpha1.DNSProviderSpec) bool { return s.RFC2136 != nil },
		open:   openRFC2136,
	},
}

// Open makes the account that the specification describes. Nothing is asked of
// the provider yet: Driver.Check does that.
//
// Errors are *Error: Invalid, NotBuiltIn, or what reading a Secret gave.
func Open(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	name, d, err := chosenDriver(spec)
	if err != nil {
		return nil, err
	}
	if d.open == nil {
		return nil, newError(NotBuiltIn, nil, fmt.Sprintf("driver %s is not built into this version", name))
	}
	account, err := d.open(ctx, spec, opts)
	if err != nil {
		return nil, err
	}
	if limit := spec.RateLimit; limit != nil {
		account.limit(limit)
	}
	return account, nil
}

func chosenDriver(spec v1alpha1.DNSProviderSpec) (string, driver, error) {
	var names []string
	for name, d := range drivers {
		if d.chosen(spec) {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		all := make([]string, 0, len(drivers))
		for name := range drivers {
			all = append(all, name)
		}
		slices.Sort(all)
		return "", driver{}, newError(Invalid, nil, fmt.Sprintf("the specification must hold exactly one of %v", all))
	}
	return names[0], drivers[names[0]], nil
}

// fingerprint tells accounts apart without telling what they are made of.
func fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
