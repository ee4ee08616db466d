// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Inquiry looks names up as a receiver does who judges a message, wherever they lead. All of its lookups together may ask as
// many questions as one survey, at the prober's pace; nothing is remembered but who serves which zone.
type Inquiry struct {
	walk    walk
	servers []Server // of the policy: asked first, or alone if they are resolvers
	named   *budget
	mode    Mode
}

// Inquiry begins one. Servers that a policy names to be asked with authority may know no more than the zones inside: what
// they do not answer for is looked up from the root on.
func (p *Prober) Inquiry(policy Policy) *Inquiry {
	i := &Inquiry{walk: p.surveyor.resolver.walk(), named: newBudget(), mode: policy.mode()}
	i.named.named = true
	switch {
	case i.mode == Recursive:
		i.servers = p.surveyor.resolvers(policy)
	case len(policy.Nameservers) > 0:
		i.servers = given(policy)
	}
	return i
}

var (
	errAliases    = errors.New("aliases lead in a circle or too far")
	errNoResolver = errors.New("no resolver answers")
)

// Lookup returns what stands at a name, aliases followed, as Set.Values has it, but of MX the hosts alone. Where there is no
// such name or record, there is no value. The error is that nobody knows.
func (i *Inquiry) Lookup(ctx context.Context, name dnsrecord.Name, t dnsrecord.Type) ([]string, error) {
	rrtype, ok := dns.StringToType[string(t)]
	if !ok {
		return nil, fmt.Errorf("%s records cannot be looked up", t)
	}
	for range maxAliases + 1 {
		r, zone, err := i.ask(ctx, question{name: name, rrtype: rrtype, recursion: i.mode == Recursive})
		if err != nil {
			return nil, err
		}
		var a answer
		a.readData(name, zone, r) // aliases, and the values of TXT
		switch {
		case a.detail != "":
			return nil, errUnreadable
		case a.said != saidAlias && rrtype == dns.TypeTXT:
			return a.values, nil
		case a.said != saidAlias:
			return dataOf(name, r), nil
		}
		name = a.alias
	}
	return nil, errAliases
}

// ask brings a usable reply, and the zone that it speaks for.
func (i *Inquiry) ask(ctx context.Context, q question) (*dns.Msg, dnsrecord.Name, error) {
	for _, s := range i.servers {
		r, err := i.walk.client.ask(ctx, i.named, s.Addr, q)
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if err != nil {
			continue
		}
		if i.mode == Recursive {
			r.Authoritative = r.RecursionAvailable // a resolver's answers have no authority
		}
		if unusable(r) == "" && !referral(r, "") {
			return r, "", nil
		}
	}
	if i.mode == Recursive {
		return nil, "", errNoResolver
	}
	return i.walk.look(ctx, q)
}

// look walks to the servers of the zone that a name is in, with the very question that they are to answer.
func (w walk) look(ctx context.Context, q question) (*dns.Msg, dnsrecord.Name, error) {
	c := w.cached(q.name)
	if c == nil {
		var err error
		if c, err = w.root(ctx); err != nil {
			return nil, "", err
		}
	}
	for range maxReferrals {
		r, _, err := w.askAny(ctx, c, q)
		if err != nil {
			return nil, "", fmt.Errorf("the servers of %s: %w", c.apex, err)
		}
		d, refers := readReferral(r, c.apex, q.name)
		if !refers || len(r.Answer) > 0 {
			return r, c.apex, nil
		}
		if c, err = w.enter(ctx, c, d); err != nil {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("the way to %s has more than %d referrals", q.name, maxReferrals)
}

// dataOf reads addresses and mail hosts at a name.
func dataOf(name dnsrecord.Name, m *dns.Msg) []string {
	var out []string
	for _, rr := range bounded(m.Answer) {
		if owner, err := canonicalName(rr.Header().Name); err != nil || owner != name || rr.Header().Class != dns.ClassINET {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.MX:
			if host, err := canonicalName(rr.Mx); err == nil {
				out = append(out, string(host))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
