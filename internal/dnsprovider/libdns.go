// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// libdnsCallTimeout bounds one call of a module: several have no bound of their own.
const libdnsCallTimeout = 30 * time.Second

// generic is the driver of an account at a provider that is reached through its libdns module. The interface promises
// little and the modules keep less, so nothing is taken from them but what was read back (docs/adr/0007).
type generic struct {
	name    string
	module  module
	open    func() (libdnsClient, error)
	secrets []string

	mu    sync.Mutex
	zones map[dnsrecord.Name]*genericZone
}

func openLibdns(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	name := spec.Libdns.Name
	m, ok := modules[name]
	if !ok {
		return nil, newError(NotBuiltIn, nil, fmt.Sprintf("libdns module %s is not built into this version; there are %s", name, strings.Join(slices.Sorted(maps.Keys(modules)), ", ")))
	}
	if m.refused != "" {
		return nil, newError(NotBuiltIn, nil, fmt.Sprintf("libdns module %s is not built into this version: %s", name, m.refused))
	}
	settings, secrets, err := m.settings(ctx, spec.Libdns, opts)
	if err != nil {
		return nil, err
	}
	parts := []string{"libdns", name}
	for _, field := range slices.Sorted(maps.Keys(settings)) {
		parts = append(parts, field, settings[field])
	}
	d := &generic{
		name: name, module: m, secrets: secrets, zones: map[dnsrecord.Name]*genericZone{},
		open: func() (libdnsClient, error) { return m.make(settings, opts) },
	}
	if _, err := d.open(); err != nil {
		return nil, d.fail(Invalid, err, "its settings are refused: %v", err)
	}
	return &Account{Driver: d, Fingerprint: fingerprint(parts...), Experimental: experimental(name)}, nil
}

// experimental is what people are told of a module that has not passed the conformance suite.
func experimental(name string) string {
	return "libdns module " + name + " has not passed the conformance suite of this operator: " +
		"nothing is written through it at names that records of others may share, such as the SPF record's"
}

// Zones lists the zones, if the module can.
func (d *generic) Zones(ctx context.Context) ([]dnsrecord.Name, error) {
	client, err := d.open()
	if err != nil {
		return nil, d.fail(Invalid, err, "%v", err)
	}
	lister, ok := client.(libdns.ZoneLister)
	if !ok {
		return nil, ErrUnsupported
	}
	var zones []libdns.Zone
	if err := newCaller(d).do(ctx, func(ctx context.Context) (err error) {
		zones, err = lister.ListZones(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	var names []dnsrecord.Name
	for _, z := range zones {
		if name, err := dnsrecord.ParseName(z.Name); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Check reads each zone: whether the credentials may write too is seen when they do.
func (d *generic) Check(ctx context.Context, zones []dnsrecord.Name) error {
	if len(zones) == 0 {
		_, err := d.Zones(ctx)
		if errors.Is(err, ErrUnsupported) {
			return d.fail(Invalid, nil, "it cannot list zones: write them into spec.zones, so that the credentials can be tried")
		}
		return err
	}
	var errs []error
	for _, name := range zones {
		_, err := d.Zone(name).(*genericZone).list(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MinimumTTL is the module's.
func (d *generic) MinimumTTL() uint32 { return d.module.minimumTTL }

// Refuses says why a record is left to a person: beside records of others nothing is written through a module.
func (d *generic) Refuses(zone dnsrecord.Name, w dnsplan.Wish, c dnsplan.Change) string {
	beside := slices.ContainsFunc(c.Prerequisite.Values, func(v string) bool { return v != w.Value && !slices.Contains(c.Delete, v) })
	if w.Kind == dnsplan.Exclusive && w.Type == dnsrecord.TXT && w.Name != zone && !beside {
		return ""
	}
	what := "remove it by hand"
	if w.Value != "" {
		what = fmt.Sprintf("make it by hand: %s %s %s, and set adoptionPolicy to Identical", w.Name, w.Type, presentation(w.Type, w.Value))
	}
	return fmt.Sprintf("%s may hold records of others, and libdns module %s is experimental, so nothing is written there: %s", w.Name, d.name, what)
}

// Zone returns a zone of the account. Each has an instance of the module for itself: several are not made for two callers.
func (d *generic) Zone(name dnsrecord.Name) Zone {
	d.mu.Lock()
	defer d.mu.Unlock()
	z, ok := d.zones[name]
	if !ok {
		z = &genericZone{generic: d, name: name, calls: newCaller(d)}
		d.zones[name] = z
	}
	return z
}

func (d *generic) fail(reason Reason, cause error, format string, args ...any) error {
	return newError(reason, cause, "libdns module "+d.name+": "+fmt.Sprintf(format, args...), d.secrets...)
}
