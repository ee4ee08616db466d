// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"net/netip"
	"strconv"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// resolvers are those of the policy, or the system's.
func (s *surveyor) resolvers(p Policy) []Server {
	if len(p.Nameservers) > 0 {
		return given(p)
	}
	config, err := dns.ClientConfigFromFile(s.resolvConf)
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(config.Port, 10, 16)
	if err != nil {
		return nil
	}
	var out []Server
	for _, text := range config.Servers {
		if addr, err := netip.ParseAddr(text); err == nil && len(out) < maxServers {
			out = append(out, Server{Addr: netip.AddrPortFrom(addr, uint16(port))})
		}
	}
	return out
}

// askRecursive asks a resolver, which follows aliases itself.
//
// Nothing but the name itself is asked for while it is missing: every question
// for what is not there yet plants a negative answer.
func (s *surveyor) askRecursive(ctx context.Context, w walk, server Server, n *node, full bool) answer {
	r, err := s.resolver.client.ask(ctx, w.budget, server.Addr, question{name: n.name, rrtype: n.rrtype, recursion: true})
	if err != nil {
		return failure(server, err)
	}
	a := readRecursive(server, n.name, r)
	if full && a.said == saidValues {
		s.learnNegative(ctx, w, &a, n.name)
	}
	return a
}

// readRecursive judges a resolver's reply, in which the end of an alias chain counts.
func readRecursive(server Server, name dnsrecord.Name, m *dns.Msg) answer {
	reply := m.Copy()
	reply.Authoritative = true // a resolver's answers have none
	if !m.RecursionAvailable {
		return answer{server: server, detail: "is not a resolver: it offers no recursion"}
	}
	var facts []fact
	for range maxAliases {
		a := readAnswer(server, name, "", reply)
		a.facts = append(recursiveFacts(reply), facts...)
		if a.said != saidAlias {
			if len(a.facts) > 0 && a.zone == "" {
				a.zone = soaOwner(reply)
			}
			return a
		}
		facts = append(facts, answerFact(name, string(a.aliasType), a.ttl))
		name = a.alias
	}
	return answer{server: server, detail: "answers with aliases that lead in a circle or too far"}
}

// recursiveFacts takes the SOA's minimum alone: the TTL has been counting down
// in the resolver's cache.
func recursiveFacts(m *dns.Msg) []fact {
	var out []fact
	for _, rr := range bounded(m.Ns) {
		soa, ok := rr.(*dns.SOA)
		if !ok {
			continue
		}
		if owner, err := canonicalName(soa.Hdr.Name); err == nil {
			out = append(out, negativeFact(owner, soa.Minttl, soa.Minttl))
		}
	}
	return out
}

func soaOwner(m *dns.Msg) dnsrecord.Name {
	for _, rr := range bounded(m.Ns) {
		if soa, ok := rr.(*dns.SOA); ok {
			if owner, err := canonicalName(soa.Hdr.Name); err == nil {
				return owner
			}
		}
	}
	return ""
}

// learnNegative asks a resolver for the SOA of the zone of a name that exists.
func (s *surveyor) learnNegative(ctx context.Context, w walk, a *answer, name dnsrecord.Name) {
	r, err := s.resolver.client.ask(ctx, w.budget, a.server.Addr, question{name: name, rrtype: dns.TypeSOA, recursion: true})
	if err != nil {
		return
	}
	a.facts = append(a.facts, recursiveFacts(r)...)
	if a.zone == "" {
		a.zone = soaOwner(r)
	}
}
