// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"cmp"
	"context"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Where the record of a key stands: at its own name, or where a CNAME or DNAME leads from there. Verifiers ask for the
// first, the provider writes the second.

// standsAt is where the status says that the record stands.
func standsAt(s v1alpha1.DKIMKeyStatus, record dnsrecord.Name) dnsrecord.Name {
	return dnsrecord.Name(cmp.Or(s.TargetName, string(record)))
}

// known is the spot that the status names, unless the authoritative servers have led elsewhere since. A key on its way
// out goes from where it stands.
func (r *Reconciler) known(seen *observation) place.Spot {
	zone, _ := dnsrecord.ParseName(seen.key.Status.Zone)
	known := place.Spot{Name: standsAt(seen.key.Status, seen.record), Zone: zone}
	if leaving(seen.key) || !seen.key.DeletionTimestamp.IsZero() {
		return known
	}
	last := dnscheck.Target{Name: seen.record, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: seen.key.Status.RecordValue}
	verdict, _ := r.Prober.Verdict(last)
	path := verdict.Path
	if path.Name != "" && (path.Name != known.Name || path.Zone != zone && path.Zone.In(zone)) {
		return place.Spot{}
	}
	return known
}

// moved tells whether the record shall stand elsewhere than it did: what stood there is nothing to go by.
func (o observation) moved() bool {
	return o.hasPlace && o.place.Name != standsAt(o.key.Status, o.record)
}

// before is what the status says of the record where it shall stand; nil if it says nothing.
func (o observation) before() *v1alpha1.RecordStatus {
	if o.moved() {
		return nil
	}
	return recordStatus(o.key.Status)
}

// claimTarget makes sure that of the keys whose aliases lead to one name, one has it, and that none leads into a mail
// domain of another namespace. It claims what the status says already, so that whoever asks after us finds us there.
func (r *Reconciler) claimTarget(ctx context.Context, seen *observation, at dnsrecord.Name) (*readiness.Finding, error) {
	if at == seen.record || string(at) != seen.key.Status.TargetName {
		return nil, nil //nolint:nilnil // no finding is a good answer
	}
	standing := place.Standing(seen.key.Spec.ProviderRef)
	for domain := at.Parent(); len(domain.Labels()) > 1; domain = domain.Parent() {
		if by, bars, err := r.Claims.Bars(ctx, domain, seen.key.Namespace, standing); err != nil || bars {
			return elsewhere(domain, by), err
		}
	}
	asks := holderOf(seen.key)
	if by, err := r.Claims.Take(ctx, at, asks, standing); err != nil || by != asks {
		return elsewhere(at, by), err
	}
	return nil, nil //nolint:nilnil // as above
}

// release gives up what the key has claimed.
func (r *Reconciler) release(ctx context.Context, seen observation) error {
	if err := r.Claims.Release(ctx, seen.record, holderOf(seen.key)); err != nil {
		return err
	}
	return r.Claims.Release(ctx, standsAt(seen.key.Status, seen.record), holderOf(seen.key))
}
