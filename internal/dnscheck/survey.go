// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	maxParallel = 8 // questions of one survey at one time
	maxAliases  = 8 // names that a survey follows aliases to
)

// effort is how closely a survey looks.
type effort int

const (
	sampling effort = iota // one server, and zones as they are remembered
	tracing                // one server, zones found anew, wildcards told apart
	sweeping               // the same of every server
)

// surveyor asks the servers. It has no memory but the resolver's cache.
type surveyor struct {
	resolver   *resolver
	resolvConf string
}

// sweep asks every address of every server for a target's name, and for every
// name that an alias leads to.
func (s *surveyor) sweep(ctx context.Context, t Target, p Policy) (survey, error) {
	return s.survey(ctx, t, p, sweeping)
}

// sample asks one server at random for each of the names.
func (s *surveyor) sample(ctx context.Context, t Target, p Policy) (survey, error) {
	return s.survey(ctx, t, p, sampling)
}

func (s *surveyor) survey(ctx context.Context, t Target, p Policy, how effort) (survey, error) {
	w := s.resolver.walk()
	w.budget.named = len(p.Nameservers) > 0 || p.mode() == Recursive
	var out survey
	if t.Type == dnsrecord.NS {
		n, err := s.delegation(ctx, w, t.Name, p)
		return survey{nodes: []node{n}}, err
	}
	if t.Type != dnsrecord.TXT && t.Type != dnsrecord.MX {
		out.nodes = []node{{name: t.Name, failure: fmt.Sprintf("%s records are not checked, only TXT and MX", t.Type)}}
		return out, nil
	}
	next := []dnsrecord.Name{t.Name}
	for len(next) > 0 && len(out.nodes) <= maxAliases {
		name := next[0]
		next = next[1:]
		n, err := s.node(ctx, w, question{name: name, rrtype: dns.StringToType[string(t.Type)]}, p, how)
		if err != nil {
			return survey{}, err
		}
		out.nodes = append(out.nodes, n)
		for _, a := range n.answers {
			known := slices.ContainsFunc(out.nodes, func(o node) bool { return o.name == a.alias })
			if a.said == saidAlias && a.wildcard == "" && !known && !slices.Contains(next, a.alias) {
				next = append(next, a.alias)
			}
		}
	}
	return out, nil
}

// node asks one question. An error is the end of the survey; what is wrong
// with a zone or a server is part of the node.
func (s *surveyor) node(ctx context.Context, w walk, q question, p Policy, how effort) (node, error) {
	name := q.name
	n := node{name: name, rrtype: q.rrtype}
	ask := s.askAuthority
	var servers []Server
	switch {
	case p.mode() == Recursive:
		ask = s.askRecursive
		servers = s.resolvers(p)
	case len(p.Nameservers) > 0:
		servers = given(p)
	default:
		z, err := s.zone(ctx, w, name, how)
		if err := fatal(ctx, err); err != nil && !errors.Is(err, errExhausts) {
			return n, err
		}
		if err != nil {
			n.failure = fmt.Sprintf("the name servers for %s cannot be found: %v", name, err)
			return n, nil
		}
		n.zone, n.facts, n.notes, servers = z.Apex, z.facts, z.Notes, z.Servers
		n.undelegated = len(z.Apex.Labels()) < 2
	}
	if len(servers) == 0 {
		n.failure = "there is no name server to ask for " + name.String()
		return n, nil
	}
	var err error
	full := how > sampling
	if how == sweeping && !n.undelegated {
		n.answers, err = all(ctx, servers, func(ctx context.Context, server Server) answer { return ask(ctx, w, server, &n, true) })
	} else {
		n.answers, err = one(ctx, servers, func(ctx context.Context, server Server) answer { return ask(ctx, w, server, &n, full) })
	}
	n.findZone()
	return n, err
}

// zone is the name's zone; a sample trusts what was learnt in the last hour.
func (s *surveyor) zone(ctx context.Context, w walk, name dnsrecord.Name, how effort) (*zone, error) {
	if z := s.resolver.remembered(name); z != nil && how == sampling {
		return z, nil
	}
	return w.zone(ctx, name)
}

// given are the servers that a policy names.
func given(p Policy) []Server {
	var out []Server
	for _, addr := range p.Nameservers[:min(len(p.Nameservers), maxServers)] {
		out = append(out, Server{Addr: addr})
	}
	return out
}

// all asks every server, several at one time.
func all(ctx context.Context, servers []Server, ask func(context.Context, Server) answer) ([]answer, error) {
	answers := make([]answer, len(servers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for i, server := range servers {
		group.Go(func() error {
			answers[i] = ask(ctx, server)
			return ctx.Err()
		})
	}
	return answers, group.Wait()
}

// one asks servers at random until one says something, which comes last.
func one(ctx context.Context, servers []Server, ask func(context.Context, Server) answer) ([]answer, error) {
	var out []answer
	for _, i := range rand.Perm(len(servers)) { //nolint:gosec // which server is asked is no secret
		a := ask(ctx, servers[i])
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		out = append(out, a)
		if a.said != saidNothing && a.said != saidNoRoute {
			break
		}
	}
	return out, nil
}

// findZone names a node's zone where no walk did: the owner of the SOA that an
// answer brought.
func (n *node) findZone() {
	for _, a := range n.answers {
		if n.zone == "" && a.zone != "" {
			n.zone = a.zone
		}
	}
}

// askAuthority asks a server of the zone for the name.
func (s *surveyor) askAuthority(ctx context.Context, w walk, server Server, n *node, full bool) answer {
	r, err := s.resolver.client.ask(ctx, w.budget, server.Addr, question{name: n.name, rrtype: n.rrtype})
	if err != nil {
		return failure(server, err)
	}
	a := readAnswer(server, n.name, n.zone, r)
	if full {
		s.detectWildcard(ctx, w, &a, n)
		if n.zone == "" {
			s.learnZone(ctx, w, &a, n.name)
		}
	}
	return a
}

func failure(server Server, err error) answer {
	if errors.Is(err, errNoRoute) {
		return answer{server: server, said: saidNoRoute}
	}
	return answer{server: server, detail: err.Error()}
}

// wildcardProbe is a label that nobody has. A wildcard that answers for a name
// answers below it, too; it does not if the name exists (RFC 4592 §3.3.1).
const wildcardProbe = "maildomain-wildcard-probe"

// detectWildcard finds out whether an answer comes from a wildcard.
func (s *surveyor) detectWildcard(ctx context.Context, w walk, a *answer, n *node) {
	if a.said != saidValues && (a.said != saidAlias || a.aliasType != dnsrecord.CNAME) || a.explicit || n.name == n.zone {
		return
	}
	labels := n.name.Labels()
	if len(labels) == 0 || labels[0] == "*" || !s.sameAt(ctx, w, a, n.name.Child(wildcardProbe), n) {
		return
	}
	// The highest one is it: asked for the wildcards between, it answers, too.
	for above := n.name.Parent(); above.In(n.zone) && !above.IsRoot(); above = above.Parent() {
		star := above.Child("*")
		if !s.sameAt(ctx, w, a, star, n) {
			return
		}
		a.wildcard = star
	}
}

// sameAt says whether the server gives the same answer at another name.
func (s *surveyor) sameAt(ctx context.Context, w walk, a *answer, name dnsrecord.Name, n *node) bool {
	if len(name) > dnsrecord.MaxName {
		return false
	}
	r, err := s.resolver.client.ask(ctx, w.budget, a.server.Addr, question{name: name, rrtype: n.rrtype})
	if err != nil {
		return false
	}
	b := readAnswer(a.server, name, n.zone, r)
	return b.said == a.said && b.ttl == a.ttl && b.alias == a.alias && slices.Equal(b.values, a.values)
}

// learnZone asks a server that was given, not found, which zone the name is in.
func (s *surveyor) learnZone(ctx context.Context, w walk, a *answer, name dnsrecord.Name) {
	if a.said == saidNothing {
		return
	}
	for ask := name; !ask.IsRoot(); ask = ask.Parent() {
		r, err := s.resolver.client.ask(ctx, w.budget, a.server.Addr, question{name: ask, rrtype: dns.TypeSOA})
		if err != nil || unusable(r) != "" {
			return
		}
		if apex, ok := readApex(r, ask, ""); ok {
			a.zone = apex
			for _, rr := range bounded(slices.Concat(r.Answer, r.Ns)) {
				if soa, ok := rr.(*dns.SOA); ok {
					a.facts = append(a.facts, negativeFact(apex, soa.Hdr.Ttl, soa.Minttl))
				}
			}
			return
		}
	}
}
