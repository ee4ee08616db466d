// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"strings"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// probeLabel is where a module is tried, once in each zone before the first record is written there.
const probeLabel = "_maildomain-probe"

// probeValue is like the longest record that is published, the key record of RSA 4096: several strings, blanks, semicolons.
var probeValue = "v=maildomain-probe; k=rsa; p=" + strings.Repeat("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8+", 22) + "/w=="

// textForm is how a value is handed to a module; eraseForm, how a record is that shall go.
type (
	textForm  func(libdnsRecord) string
	eraseForm func(libdnsRecord) libdns.Record
)

// forms are those with which a record was written, read back exactly, and deleted again.
type forms struct {
	write textForm
	erase eraseForm
}

// Modules want text bare, as libdns asks, or as zone files have it, when they do not cut long values themselves.
var writeForms = []textForm{
	func(s libdnsRecord) string { return s.value },
	func(s libdnsRecord) string { return dnsrecord.FormatTXT(s.value) },
}

// A record goes as it was read, with whatever the module hides in it; else by its value; else with the marks taken off
// that it was read with.
var eraseForms = []eraseForm{
	func(s libdnsRecord) libdns.Record { return s.as },
	func(s libdnsRecord) libdns.Record { return s.bare(s.value) },
	func(s libdnsRecord) libdns.Record { return s.bare(strings.Trim(s.text, `"`)) },
}

func (s libdnsRecord) bare(text string) libdns.Record {
	rr := s.as.RR()
	return libdns.TXT{Name: rr.Name, TTL: rr.TTL, Text: text}
}

// ready returns what stands in the zone once the module has shown that it keeps, finds and deletes a long text there.
func (z *genericZone) ready(ctx context.Context) ([]libdnsRecord, error) {
	if z.halted != "" {
		return nil, z.fail(Refused, nil, "%s", z.halted)
	}
	stands, err := z.list(ctx)
	if err != nil || z.forms != nil {
		return stands, err
	}
	probe := dnsplan.Change{Name: z.name.Child(probeLabel), Type: dnsrecord.TXT, TTL: max(defaultTTL, z.MinimumTTL()), Add: []string{probeValue}}
	if stands, err = z.sweep(ctx, stands, probe, nil); err != nil {
		return nil, err
	}
	return z.try(ctx, stands, probe)
}

// try writes the probe in one form after the other until it is kept as it was written.
func (z *genericZone) try(ctx context.Context, stands []libdnsRecord, probe dnsplan.Change) ([]libdnsRecord, error) {
	var wrong error
	altered := false
	for _, write := range writeForms {
		var after []libdnsRecord
		if after, wrong = z.add(ctx, stands, probe, write); after == nil || concernsAll(wrong) {
			return nil, wrong
		}
		altered = altered || wrong != nil && len(listed(after)[probe.Key()].Values) > 0
		found := forms{write: write}
		var err error
		if stands, err = z.sweep(ctx, after, probe, &found); err != nil {
			return nil, err
		}
		if wrong == nil {
			z.forms = &found
			return stands, nil
		}
	}
	if !altered {
		return nil, wrong // it may be the provider's bad day
	}
	return nil, z.fail(Refused, wrong, "it does not keep a text of several strings as it was written, so no key fits; tried at %s", probe.Name)
}

// sweep removes whatever stands at the probe's name: this run's, or one's that was cut off. found, if any, learns how.
func (z *genericZone) sweep(ctx context.Context, stands []libdnsRecord, probe dnsplan.Change, found *forms) ([]libdnsRecord, error) {
	left := listed(stands)[probe.Key()]
	if len(left.Values) == 0 {
		return stands, nil
	}
	c := probe
	c.Add, c.Delete, c.Prerequisite = nil, left.Values, left
	stands, err := z.remove(ctx, stands, c, found)
	if err != nil && stands != nil {
		return nil, z.fail(Refused, err, "what was tried at %s cannot be deleted again: remove it by hand", probe.Name)
	}
	return stands, err
}
