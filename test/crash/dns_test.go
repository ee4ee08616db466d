// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

type records map[dnsplan.Key]dnsrecord.Set

// site is a zone at a provider.
type site struct {
	provider string
	apex     dnsrecord.Name
}

// home is where the domain's records are at first.
var home = site{"dns", zoneName}

func (s site) String() string { return s.provider + "/" + s.apex.String() }

// server is who answers for the zones of a provider.
func (s site) server() dnsrecord.Name { return dnsrecord.Name("ns1." + s.provider + ".test") }

// dns is what stands at each site, in memory, and which of them the public DNS leads to.
type dns struct {
	*world
	mu        sync.Mutex
	sites     map[site]records
	delegated site
}

func (d *dns) clone(of *world) *dns {
	after := &dns{world: of, sites: map[site]records{}, delegated: d.delegated}
	for at, sets := range d.sites {
		after.sites[at] = maps.Clone(sets)
	}
	return after
}

// values are those that the world is answered.
func (d *dns) values(name dnsrecord.Name) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sites[d.delegated][dnsplan.Key{Name: name, Type: dnsrecord.TXT}].Values
}

// delegate has the parent, and the zone itself, name the servers of another site.
func (w *world) delegate(to site) {
	w.dns.mu.Lock()
	w.dns.delegated = to
	w.dns.mu.Unlock()
	w.noteDelegation(to)
	w.operator.names.lookSoon()
}

// driver is how one process reaches a site.
type driver struct {
	site
	dns      *dns
	operator *operator
}

func (d driver) Zones(context.Context) ([]dnsrecord.Name, error) {
	return nil, dnsprovider.ErrUnsupported
}
func (d driver) Check(context.Context, []dnsrecord.Name) error { return nil }
func (d driver) MinimumTTL() uint32                            { return 60 }

func (d driver) Zone(apex dnsrecord.Name) dnsprovider.Zone {
	d.apex = apex
	return d
}

// call takes its time, in which a process may end.
func (d driver) call(ctx context.Context) error {
	pass(137 * time.Millisecond)
	if d.operator.isDead() {
		return errCrashed
	}
	return ctx.Err()
}

func (d driver) Read(ctx context.Context, questions []dnsprovider.Question) (map[dnsprovider.Question]dnsrecord.Set, error) {
	if err := d.call(ctx); err != nil {
		return nil, err
	}
	d.dns.mu.Lock()
	defer d.dns.mu.Unlock()
	seen := map[dnsprovider.Question]dnsrecord.Set{}
	for _, q := range questions {
		set := d.dns.sites[d.site][q]
		set.Name, set.Type = q.Name, q.Type
		seen[q] = set
	}
	return seen, nil
}

func (d driver) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		if errs[i] = d.call(ctx); errs[i] == nil {
			errs[i] = d.change(c)
		}
	}
	return errs
}

var errLost = errors.New("the reply is lost")

func (d driver) change(c dnsplan.Change) error {
	d.dns.mu.Lock()
	defer d.dns.mu.Unlock()
	if d.dns.sites[d.site] == nil {
		d.dns.sites[d.site] = records{}
	}
	sets := d.dns.sites[d.site]
	before := sets[c.Key()]
	if !before.SameValues(c.Prerequisite) {
		return dnsprovider.ErrChanged
	}
	after := c.Apply(before)
	sets[c.Key()] = after
	d.dns.noteRecord(record{d.site, c.Name}, before.Values, after.Values)
	what := c.Name.String() + " at " + d.String()
	switch {
	case d.dns.strike(dnsWrite, what):
		d.operator.die()
		return errCrashed
	case d.dns.strike(lostReply, what):
		return errLost
	}
	return nil
}

// names are the name servers of the zone and the prober that asks them: what is new they answer after a moment.
type names struct {
	*operator
	watched  map[string][]dnscheck.Target
	verdicts map[dnscheck.Target]dnscheck.Verdict
	looking  bool // soon
}

func newNames(o *operator) *names {
	return &names{operator: o, watched: map[string][]dnscheck.Target{}, verdicts: map[dnscheck.Target]dnscheck.Verdict{}}
}

func (n *names) Watch(owner string, _ dnscheck.Policy, targets []dnscheck.Target) {
	if slices.Equal(n.watched[owner], targets) {
		return
	}
	n.watched[owner] = targets
	n.lookSoon()
}

func (n *names) Forget(owner string) { delete(n.watched, owner) }

func (n *names) Verdict(t dnscheck.Target) (dnscheck.Verdict, bool) {
	v, ok := n.verdicts[t]
	return v, ok
}

// Sweep tells whoever watches when it has ended.
func (n *names) Sweep(t dnscheck.Target) {
	n.in(time.Second, func() {
		n.look()
		for _, owner := range slices.Sorted(maps.Keys(n.watched)) {
			if slices.Contains(n.watched[owner], t) {
				n.concerned(watcher(owner))
			}
		}
	})
}

func (n *names) lookSoon() {
	if !n.looking {
		n.looking = true
		n.in(3*time.Second, func() { n.looking = false; n.look() })
	}
}

// look asks for every target, and again later while one is not as it should be.
func (n *names) look() {
	missing := false
	for _, owner := range slices.Sorted(maps.Keys(n.watched)) {
		for _, t := range n.watched[owner] {
			before := n.verdicts[t]
			v := n.judge(t, before)
			n.verdicts[t] = v
			missing = missing || v.State != dnscheck.Verified
			if before.State != v.State || before.Zone != v.Zone || !slices.Equal(before.Found, v.Found) || !slices.Equal(before.NameServers, v.NameServers) {
				about := watcher(owner)
				n.in(time.Millisecond, func() { n.concerned(about) })
			}
		}
	}
	if missing && !n.looking {
		n.looking = true
		n.in(time.Minute, func() { n.looking = false; n.look() })
	}
}

func (n *names) judge(t dnscheck.Target, before dnscheck.Verdict) dnscheck.Verdict {
	if t.Type == dnsrecord.NS {
		return n.delegation()
	}
	v := dnscheck.Verdict{
		State: dnscheck.Lacking, Zone: n.dns.delegated.apex, SweptAt: now(), LastLacking: now(),
		Wait: minimumWait, WaitReason: "SOA minimum", Found: n.standing(t),
	}
	wanted := []string{t.Value}
	if t.Value == "" {
		wanted = nil
	}
	switch {
	case slices.Equal(v.Found, wanted):
		v.State, v.VerifiedSince, v.LastLacking = dnscheck.Verified, now(), before.LastLacking
		if before.State == dnscheck.Verified {
			v.VerifiedSince = before.VerifiedSince
		} else if !before.LastLacking.IsZero() {
			v.LastLacking = now()
		}
	case len(v.Found) > 0:
		v.State = dnscheck.Differs
	}
	return v
}

// delegation is who answers for the domain, as parent and zone say.
func (n *names) delegation() dnscheck.Verdict {
	asked := n.dns.delegated
	return dnscheck.Verdict{
		State: dnscheck.Verified, Zone: asked.apex, SweptAt: now(), NameServers: []dnsrecord.Name{asked.server()}, NameServerTTL: uint32(nsTTL / time.Second),
	}
}

// standing are the values at a name that count for a target.
func (n *names) standing(t dnscheck.Target) []string {
	var found []string
	for _, value := range n.dns.values(t.Name) {
		if t.Kind != dnsplan.SPF || strings.HasPrefix(value, "v=spf1") {
			found = append(found, value)
		}
	}
	return found
}
