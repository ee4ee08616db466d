// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// traceTimeout bounds the search in the public DNS. It happens when an object is new, or its name leads elsewhere now.
const traceTimeout = 15 * time.Second

// spot finds where the record has to stand so that the world sees it, and makes sure that this provider may write there:
//
//	spec.zones names the zone ──┐
//	the public DNS leads to it ─┼─► one zone, that of both; an alias only as far as the provider is granted
//	the provider lists it ──────┘
func (f Finder) spot(ctx context.Context, p provider, w Wanted, policy dnscheck.Policy) (Spot, *readiness.Finding, error) {
	at := w.Known
	if at.Zone == "" || !at.Name.In(at.Zone) {
		var finding *readiness.Finding
		if at, finding = f.search(ctx, p, w, policy); finding != nil {
			return Spot{}, finding, nil
		}
	}
	if at.Name != w.Name && w.Ref.Kind == v1alpha1.ProviderKindClusterDNSProvider {
		if finding, err := f.checkGrant(ctx, p.grants, w, at.Name); finding != nil || err != nil {
			return Spot{}, leadsAway(w, at.Name, finding), err
		}
	}
	if len(p.spec.Zones) == 0 {
		return at, nil, nil
	}
	zone, ok := longest(p.spec.Zones, at.Name)
	if !ok {
		return Spot{}, leadsAway(w, at.Name, noneOfZones(w, at.Name)), nil
	}
	return Spot{Name: at.Name, Zone: zone}, nil, nil
}

// search looks where the world does, as far as it can be asked.
func (f Finder) search(ctx context.Context, p provider, w Wanted, policy dnscheck.Policy) (Spot, *readiness.Finding) {
	if !asks(w, policy) && len(p.spec.Zones) > 0 {
		return p.unseen(w, nil)
	}
	trace, err := f.trace(ctx, w, policy)
	if err == nil && len(trace.Aliases) == 0 && len(trace.Zone.Labels()) < 2 { // nobody may write there
		err = fmt.Errorf("it is not delegated: the servers of %q answer for it", trace.Zone.FQDN())
	}
	if err != nil {
		return p.unseen(w, err)
	}
	return Spot{Name: trace.Name, Zone: trace.Zone}, p.holds(w, trace)
}

// asks tells whether the authoritative servers of the public DNS are there to be asked: a policy that looks elsewhere says
// that they may be out of reach, or know another DNS.
func asks(w Wanted, policy dnscheck.Policy) bool {
	authoritative := policy.Mode == "" || policy.Mode == dnscheck.Authoritative
	return authoritative && (w.Follow || len(policy.Nameservers) == 0)
}

// trace asks where the name leads.
func (f Finder) trace(ctx context.Context, w Wanted, policy dnscheck.Policy) (dnscheck.Trace, error) {
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	if w.Follow && asks(w, policy) {
		return f.Zones.Trace(ctx, w.Name, policy)
	}
	found, err := f.Zones.Zone(ctx, w.Name)
	return dnscheck.Trace{Name: w.Name, Zone: found.Apex}, err
}

// unseen is the spot of a name that nobody can be asked about: the provider's own zones tell.
func (p *provider) unseen(w Wanted, err error) (Spot, *readiness.Finding) {
	zones := p.spec.Zones
	if len(zones) == 0 {
		zones = p.status.Zones
	}
	zone, ok := longest(zones, w.Name)
	switch {
	case ok:
		return Spot{Name: w.Name, Zone: zone}, nil
	case len(p.spec.Zones) > 0:
		return Spot{}, noneOfZones(w, w.Name)
	}
	return Spot{}, notFound(w, err)
}

// holds tells what keeps the provider from writing where the public DNS looks; nil if nothing is known to.
func (p *provider) holds(w Wanted, t dnscheck.Trace) *readiness.Finding {
	zones := p.spec.Zones
	if len(zones) == 0 && int(p.status.ZoneCount) == len(p.status.Zones) { // it lists all that the provider has
		zones = p.status.Zones
	}
	zone, listed := longest(zones, t.Name)
	var finding *readiness.Finding
	switch {
	case listed && t.Zone != zone && t.Zone.In(zone):
		finding = deny(v1alpha1.ReasonZoneNotFound, true, "%s is in the zone %s of its own, which is delegated away from %s: "+
			"name a provider that holds it, add it to spec.zones of %s if that one does, or have the delegation removed", t.Name, t.Zone, zone, describe(w.Ref))
		finding.Unwatched = true
	case listed:
	case len(p.spec.Zones) > 0:
		finding = noneOfZones(w, t.Name)
	case len(t.Zone.Labels()) < 2:
		finding = deny(v1alpha1.ReasonZoneNotFound, true, "%s is in no zone that is delegated", t.Name)
	case len(zones) > 0 && len(t.Aliases) > 0:
		finding = deny(v1alpha1.ReasonZoneNotFound, true, "%s does not hold the zone %s", describe(w.Ref), t.Zone)
	}
	return leadsAway(w, t.Name, finding)
}

// leadsAway puts a finding about another name than the one that was sought in words: somebody's alias is in the way.
func leadsAway(w Wanted, to dnsrecord.Name, finding *readiness.Finding) *readiness.Finding {
	if finding == nil || to == w.Name {
		return finding
	}
	return &readiness.Finding{
		Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonAliasNotAllowed, Person: true, Unwatched: true,
		Message: fmt.Sprintf("%s is an alias of %s, where %s may not write for %s: %s; "+
			"or remove the alias, and the record is made at the name itself", w.Name, to, describe(w.Ref), w.Domain, finding.Message),
	}
}

func noneOfZones(w Wanted, name dnsrecord.Name) *readiness.Finding {
	return deny(v1alpha1.ReasonZoneNotFound, true, "%s: none of spec.zones holds %s; add its zone there", describe(w.Ref), name)
}

func notFound(w Wanted, err error) *readiness.Finding {
	finding := deny(v1alpha1.ReasonZoneNotFound, false, "the zone of %s cannot be found: %s; name it in spec.zones of %s", w.Name, err, describe(w.Ref))
	finding.Unwatched = true
	return finding
}

// Known is the zone for the status to keep, which saves the next search; none if the provider does not hold it: then
// the domain's zone may be another one by now.
func Known(found Place, failure *readiness.Finding) string {
	if failure != nil && failure.Reason == v1alpha1.ReasonZoneNotFound {
		return ""
	}
	return string(found.Zone)
}

// longest is the zone with the most labels that holds the name.
func longest(zones []string, name dnsrecord.Name) (dnsrecord.Name, bool) {
	var best dnsrecord.Name
	found := false
	for _, z := range zones {
		zone, err := dnsrecord.ParseName(z)
		if err == nil && name.In(zone) && (!found || len(zone.Labels()) > len(best.Labels())) {
			best, found = zone, true
		}
	}
	return best, found
}
