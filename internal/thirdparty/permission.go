// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"context"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Permits tells whether receivers may send reports about a domain to an address of the destination: it says so, or it is of
// the same organisation (RFC 9990 §4).
func Permits(ctx context.Context, dns DNS, domain, destination dnsrecord.Name) (bool, error) {
	if domain == destination {
		return true, nil
	}
	name, err := dnsrecord.ParseName(string(destination.Child(string(domain) + "._report._dmarc")))
	if err != nil {
		return false, nil //nolint:nilerr // a name that is too long holds no record
	}
	values, err := dns.Lookup(ctx, name, dnsrecord.TXT)
	if err != nil || slices.ContainsFunc(values, dmarc.Is) {
		return err == nil, err
	}
	mine, err := organization(ctx, dns, domain)
	if err != nil {
		return false, err
	}
	theirs, err := organization(ctx, dns, destination)
	return err == nil && mine == theirs, err
}

// mostSteps bounds a tree walk: a name of more labels is cut to as many (RFC 9989 §4.10).
const mostSteps = 8

// organization finds the organizational domain of a name by a tree walk (RFC 9989 §4.10.2): where psd=n is said, one label
// below psd=y, else where the record with the fewest labels is.
func organization(ctx context.Context, dns DNS, start dnsrecord.Name) (dnsrecord.Name, error) {
	found, below := start, start
	for name := start; !name.IsRoot(); {
		record, ok, err := policyAt(ctx, dns, name)
		switch {
		case err != nil:
			return "", err
		case ok && record.PSD == dmarc.PSDNo:
			return name, nil
		case ok && record.PSD == dmarc.PSDYes && name != start:
			return below, nil
		case ok:
			found = name
		}
		below, name = name, name.Parent()
		for len(name.Labels()) >= mostSteps { // the labels between are not asked for
			below, name = name, name.Parent()
		}
	}
	return found, nil
}

// policyAt reads the DMARC record of a name; more than one is none.
func policyAt(ctx context.Context, dns DNS, name dnsrecord.Name) (dmarc.Record, bool, error) {
	at, err := dnsrecord.ParseName(string(name.Child("_dmarc")))
	if err != nil {
		return dmarc.Record{}, false, nil //nolint:nilerr // a name that is too long holds no record
	}
	values, err := dns.Lookup(ctx, at, dnsrecord.TXT)
	if err != nil {
		return dmarc.Record{}, false, err
	}
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !dmarc.Is(v) })
	if len(values) != 1 {
		return dmarc.Record{}, false, nil
	}
	record, err := dmarc.Parse(values[0])
	return record, err == nil, nil
}
