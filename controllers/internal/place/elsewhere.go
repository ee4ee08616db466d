// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/changeover"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Other is a place beside an object's own that has to hold the same records while its domain moves.
type Other struct {
	Place
	Status v1alpha1.PlaceStatus
	// Trouble says why it cannot be written now; "" if it can.
	Trouble string
	// Unasked: the spec names it, it cannot be written, and the world does not know of it. Nothing has to wait for it.
	Unasked bool
}

// Others are the places beside its own that have to hold the records of an object, of those that its domain has. An object
// whose own place is none of these goes its own way.
func (f Finder) Others(ctx context.Context, namespace string, domain dnsrecord.Name, own v1alpha1.PlaceStatus, places []v1alpha1.PlaceStatus) ([]Other, error) {
	here := slices.IndexFunc(places, func(p v1alpha1.PlaceStatus) bool { return changeover.Same(p, own) })
	if here < 0 {
		return nil, nil
	}
	var others []Other
	for i, p := range places {
		if i == here || p.State == v1alpha1.PlaceLeft {
			continue
		}
		other, err := f.At(ctx, namespace, domain, p)
		if err != nil {
			return nil, err
		}
		other.Unasked = other.Trouble != "" && p.State == v1alpha1.PlaceInUse && slices.ContainsFunc(places, stillAsked)
		others = append(others, other)
	}
	return others, nil
}

// stillAsked: parent and zone name the servers of a former place. Whoever is about to sign asks every server that they name,
// so that none is missed that came to it meanwhile.
func stillAsked(p v1alpha1.PlaceStatus) bool {
	return p.State == v1alpha1.PlaceKept && p.DroppedTime == nil && len(p.NameServers) > 0
}

// StandIn is a place of the domain that can be written, where the one that its spec names cannot: everything goes on there
// until that can. ok is false if there is none.
func (f Finder) StandIn(ctx context.Context, namespace string, domain dnsrecord.Name, places []v1alpha1.PlaceStatus) (at Other, ok bool, err error) {
	for _, p := range places {
		if p.State == v1alpha1.PlaceLeft {
			continue
		}
		if at, err = f.At(ctx, namespace, domain, p); err != nil || at.Trouble == "" {
			return at, err == nil, err
		}
	}
	return Other{}, false, nil
}

// At opens a place that the status names.
func (f Finder) At(ctx context.Context, namespace string, domain dnsrecord.Name, p v1alpha1.PlaceStatus) (Other, error) {
	found, _, finding, err := f.open(ctx, Wanted{Ref: p.ProviderRef.WithDefaults(), Namespace: namespace, Domain: domain, Name: domain})
	other := Other{Place: found, Status: p}
	other.Spot = Spot{Name: domain, Zone: dnsrecord.Name(p.Zone)}
	switch {
	case err != nil:
		return other, err
	case finding != nil:
		other.Trouble = finding.Message
	case found.Manual:
		other.Trouble = "a person writes its records (manual)"
	}
	return other, nil
}

// ProviderKnown tells whether something can be asked of it, were it only to hear what is wrong.
func (o Other) ProviderKnown() bool { return o.Provider.Name != "" && !o.Manual }

// Owner names what an object submits for another place than its own.
func (o Other) Owner(of dnsprovider.Owner) dnsprovider.Owner {
	return OwnerAt(of, o.Status.ProviderRef, o.Status.Zone)
}

// OwnerAt is Owner by the names in a status.
func OwnerAt(of dnsprovider.Owner, ref v1alpha1.ProviderRef, zone string) dnsprovider.Owner {
	of.Part = changeover.Describe(v1alpha1.PlaceStatus{ProviderRef: ref, Zone: zone})
	return of
}
