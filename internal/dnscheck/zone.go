// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// ZoneInfo is what the authoritative servers say about a zone itself.
type ZoneInfo struct {
	// Apex is the zone's name.
	Apex dnsrecord.Name
	// ParentNS and ChildNS are the name servers as the parent and the zone's own
	// servers name them, sorted. ParentNS is empty where the parent is on the same
	// servers and so never refers to the zone.
	ParentNS, ChildNS []dnsrecord.Name
	// NSTTL is the highest TTL of these sets, in seconds.
	NSTTL uint32
	// Servers are all addresses of all of them, sorted by address.
	Servers []Server
	// SOATTL and SOAMinimum are in seconds.
	SOATTL, SOAMinimum uint32
	// Signed says that the SOA came with a signature.
	Signed bool
	// Notes say what is odd, in stable words, sorted.
	Notes []string
}

// zone is a ZoneInfo with what sweeps need of it.
type zone struct {
	ZoneInfo
	facts   []fact
	learnt  time.Time
	expires time.Time
}

// remembered is the zone of a name that was looked up within the last hour:
// good enough to ask one of its servers whether all is still well.
func (r *resolver) remembered(name dnsrecord.Name) *zone {
	r.mu.Lock()
	defer r.mu.Unlock()
	apex, ok := r.apex[name]
	if !ok {
		return nil
	}
	if z := r.zones[apex]; z != nil && r.now().Sub(z.learnt) < maxTopAge {
		return z
	}
	return nil
}

// zone walks to the zone that name is in and asks it about itself.
func (w walk) zone(ctx context.Context, name dnsrecord.Name) (*zone, error) {
	c, err := w.find(ctx, name)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	z := w.zones[c.apex]
	w.mu.Unlock()
	if z == nil || !w.now().Before(z.expires) {
		if z, err = w.describe(ctx, c); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	makeRoom(w.zones, maxZones)
	makeRoom(w.apex, 8*maxZones)
	w.zones[z.Apex], w.apex[name] = z, z.Apex
	return z, nil
}

func (w walk) describe(ctx context.Context, c *cut) (*zone, error) {
	z := &zone{learnt: w.now(), expires: c.expires}
	z.Apex = c.apex
	z.Servers = slices.Clone(c.servers)
	z.NSTTL = c.ttl
	if c.referred {
		z.ParentNS = c.names
	}
	if err := w.askSOA(ctx, c, z); err != nil {
		return nil, fmt.Errorf("the servers of %s: %w", c.apex, err)
	}
	if len(c.apex.Labels()) < 2 {
		// Nobody's mail domain: one may be here only because it is not delegated.
		// Its servers are many and not ours to bother.
		z.ChildNS = c.names
		return z, nil
	}
	if err := w.askChildNS(ctx, c, z); err != nil {
		return nil, err
	}
	z.compareNS()
	slices.SortFunc(z.Servers, func(a, b Server) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Name, b.Name)) })
	return z, w.addParentFacts(ctx, c, z)
}

// askSOA learns how long negative answers of the zone are kept.
func (w walk) askSOA(ctx context.Context, c *cut, z *zone) error {
	r, _, err := w.askAny(ctx, c, question{name: c.apex, rrtype: dns.TypeSOA})
	if err != nil {
		return err
	}
	found := false
	for _, rr := range bounded(r.Answer) {
		switch rr := rr.(type) {
		case *dns.SOA:
			if owner, err := canonicalName(rr.Hdr.Name); err == nil && owner == c.apex {
				z.SOATTL, z.SOAMinimum, found = rr.Hdr.Ttl, rr.Minttl, true
			}
		case *dns.RRSIG:
			z.Signed = true
		}
	}
	if !found {
		return errNoSOA
	}
	z.facts = append(z.facts, negativeFact(c.apex, z.SOATTL, z.SOAMinimum))
	if z.Signed {
		z.facts = append(z.facts, w.askDenial(ctx, c, z)...)
	}
	return nil
}

// askDenial learns how long a signed zone's denials are kept: it asks the apex
// for a type that hardly a zone has. Without an answer the SOA's minimum
// stands in, which the TTL of NSEC used to be (RFC 4034 §4; now the lower of
// both, RFC 9077 §3).
func (w walk) askDenial(ctx context.Context, c *cut, z *zone) []fact {
	r, s, err := w.askAny(ctx, c, question{name: c.apex, rrtype: dns.TypeNAPTR})
	if err == nil {
		var a answer
		a.server = s
		a.readFacts(c.apex, r)
		denials := slices.DeleteFunc(a.facts, func(f fact) bool { return !strings.HasPrefix(f.reason, "NSEC") })
		if len(denials) > 0 {
			return denials
		}
	}
	return []fact{denialFact(c.apex, "NSEC", z.SOAMinimum)}
}

// askChildNS asks every server for the zone's NS set, since they may differ,
// and finds the addresses of all that are named.
func (w walk) askChildNS(ctx context.Context, c *cut, z *zone) error {
	sets, ttls := make([][]dnsrecord.Name, len(c.servers)), make([]uint32, len(c.servers))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for i, s := range c.servers {
		group.Go(func() error {
			r, err := w.client.ask(groupCtx, w.budget, s.Addr, question{name: c.apex, rrtype: dns.TypeNS})
			if err == nil && unusable(r) == "" {
				if sets[i], ttls[i] = readNames(r, c.apex); len(sets[i]) == 0 {
					ttls[i] = 0
				}
			}
			return fatal(groupCtx, err)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	z.ChildNS = union(sets...)
	z.NSTTL = min(max(z.NSTTL, slices.Max(append(ttls, 0))), maxTTL)
	return w.addAddresses(ctx, c, z)
}

// addAddresses asks for the addresses of every server's name: glue may be
// older than what the zone says.
func (w walk) addAddresses(ctx context.Context, c *cut, z *zone) error {
	for _, name := range union(z.ParentNS, z.ChildNS) {
		addrs, err := w.addressesAt(ctx, c, name)
		if err := fatal(ctx, err); err != nil {
			return err
		}
		if err != nil && !slices.ContainsFunc(z.Servers, func(s Server) bool { return s.Name == name }) {
			z.Notes = append(z.Notes, fmt.Sprintf("no address of %s, a name server of %s, can be found", name, c.apex))
		}
		z.Servers = addServers(z.Servers, name, addrs, w.port)
	}
	return nil
}

// fatal is err if it ends a survey; what is wrong with one server does not.
func fatal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errExhausts) {
		return err
	}
	return nil
}

func union(sets ...[]dnsrecord.Name) []dnsrecord.Name {
	all := slices.Concat(sets...)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxNames)]
}

// compareNS notes name servers that only one side knows.
func (z *zone) compareNS() {
	if len(z.ParentNS) == 0 || len(z.ChildNS) == 0 {
		return
	}
	note := func(who string, mine, theirs []dnsrecord.Name) {
		var only []string
		for _, name := range mine {
			if !slices.Contains(theirs, name) {
				only = append(only, name.String())
			}
		}
		if len(only) > 0 {
			z.Notes = append(z.Notes, fmt.Sprintf("only %s of %s names %s as name server", who, z.Apex, strings.Join(only, ", ")))
		}
	}
	note("the parent", z.ParentNS, z.ChildNS)
	note("the zone itself, not the parent,", z.ChildNS, z.ParentNS)
}

// addParentFacts counts the zones above a zone that is delegated for mail
// records alone: what the parent answered before the delegation is kept too.
func (w walk) addParentFacts(ctx context.Context, c *cut, z *zone) error {
	for ; isUnderscored(c.apex) && c.parent != nil; c = c.parent {
		above := &zone{}
		if err := w.askSOA(ctx, c.parent, above); err != nil {
			return fmt.Errorf("the servers of %s: %w", c.parent.apex, err)
		}
		z.facts = append(z.facts, above.facts...)
	}
	return nil
}
