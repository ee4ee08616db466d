// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// chaseLimit bounds the aliases that one answer follows.
const chaseLimit = 8

// lookup fills m with the answer of RFC 1034 §4.3.2 for the first question,
// from the data of one zone.
func (v *version) lookup(m *dns.Msg, dnssec bool) {
	m.Authoritative = true
	q := m.Question[0]
	name := dns.CanonicalName(q.Name)
	for range chaseLimit {
		target, done := v.step(m, name, q.Qtype, dnssec)
		if done {
			return
		}
		name = target
		if !dns.IsSubDomain(v.origin, name) {
			return // the rest of the chain is another zone's to answer
		}
	}
}

// step answers for one name; target is set when an alias leads on.
func (v *version) step(m *dns.Msg, name string, qtype uint16, dnssec bool) (target string, done bool) {
	if cut, ok := v.cut(name, qtype); ok {
		v.refer(m, cut)
		return "", true
	}
	if target, ok := v.dname(m, name); ok {
		return target, false
	}
	owner := name
	if v.below[name] == 0 {
		owner = "*." + v.closestEncloser(name)
		if v.below[owner] == 0 {
			if len(m.Answer) == 0 || qtype != dns.TypeCNAME {
				m.Rcode = dns.RcodeNameError
			}
			v.deny(m, name, dnssec)
			return "", true
		}
	}
	if set := v.sets[owner][dns.TypeCNAME]; len(set) > 0 && qtype != dns.TypeCNAME && qtype != dns.TypeANY {
		m.Answer = append(m.Answer, v.as(set, name)...)
		if cname, ok := set[0].(*dns.CNAME); ok {
			return dns.CanonicalName(cname.Target), false
		}
	}
	found := v.data(m, owner, name, qtype, dnssec)
	if !found {
		v.deny(m, name, dnssec)
	}
	return "", true
}

func (v *version) data(m *dns.Msg, owner, name string, qtype uint16, dnssec bool) bool {
	found := false
	for t, set := range v.sets[owner] {
		if t != qtype && qtype != dns.TypeANY {
			continue
		}
		found = true
		m.Answer = append(m.Answer, v.as(set, name)...)
	}
	if found && dnssec && qtype != dns.TypeRRSIG {
		for _, sig := range v.sets[owner][dns.TypeRRSIG] {
			if rrsig, ok := sig.(*dns.RRSIG); ok && rrsig.TypeCovered == qtype {
				m.Answer = append(m.Answer, v.as([]dns.RR{sig}, name)...)
			}
		}
	}
	return found
}

// as returns copies of set that are owned by name, as a wildcard expands.
func (v *version) as(set []dns.RR, name string) []dns.RR {
	out := make([]dns.RR, 0, len(set))
	for _, rr := range set {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		out = append(out, rr)
	}
	return out
}

// cut finds the highest delegation at or above name and below the apex.
func (v *version) cut(name string, qtype uint16) (string, bool) {
	found := ""
	for n := name; n != v.origin && n != "."; n = parentOf(n) {
		if len(v.sets[n][dns.TypeNS]) > 0 && (n != name || qtype != dns.TypeDS) {
			found = n
		}
	}
	return found, found != ""
}

// refer answers with the delegation at cut and the glue for it.
func (v *version) refer(m *dns.Msg, cut string) {
	if len(m.Answer) == 0 {
		m.Authoritative = false
	}
	for _, rr := range v.sets[cut][dns.TypeNS] {
		m.Ns = append(m.Ns, dns.Copy(rr))
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		host := dns.CanonicalName(ns.Ns)
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			m.Extra = append(m.Extra, v.as(v.sets[host][t], host)...)
		}
	}
}

// dname answers by a DNAME above name with the CNAME that RFC 6672 §3.1
// makes of it.
func (v *version) dname(m *dns.Msg, name string) (string, bool) {
	for n := name; n != v.origin && n != "."; {
		n = parentOf(n)
		set := v.sets[n][dns.TypeDNAME]
		if len(set) == 0 {
			continue
		}
		dname, ok := set[0].(*dns.DNAME)
		if !ok {
			continue
		}
		target := dns.CanonicalName(strings.TrimSuffix(name, n) + bare(dns.CanonicalName(dname.Target)))
		if len(target) > 254 {
			m.Rcode = dns.RcodeYXDomain
			return "", false
		}
		m.Answer = append(m.Answer, dns.Copy(dname), &dns.CNAME{
			Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dname.Hdr.Ttl},
			Target: target,
		})
		return target, true
	}
	return "", false
}

func (v *version) closestEncloser(name string) string {
	for n := name; n != v.origin && n != "."; {
		n = parentOf(n)
		if v.below[n] > 0 {
			return n
		}
	}
	return v.origin
}

// deny adds what a negative answer carries: the SOA with the TTL of RFC 2308
// §3, and, if the zone holds them and the asker wants DNSSEC, the records
// that prove it.
func (v *version) deny(m *dns.Msg, name string, dnssec bool) {
	for _, rr := range v.sets[v.origin][dns.TypeSOA] {
		soa, ok := dns.Copy(rr).(*dns.SOA)
		if !ok {
			continue
		}
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		m.Ns = append(m.Ns, soa)
	}
	if dnssec {
		m.Ns = append(m.Ns, v.proof(name)...)
	}
}

// proof finds the NSEC or NSEC3 records that match or cover name. The zone
// file holds them; nothing here is signed.
func (v *version) proof(name string) []dns.RR {
	var best []dns.RR
	var out []dns.RR
	for owner, types := range v.sets {
		for _, rr := range types[dns.TypeNSEC3] {
			if nsec3, ok := rr.(*dns.NSEC3); ok && (nsec3.Match(name) || nsec3.Cover(name)) {
				out = append(out, dns.Copy(rr))
			}
		}
		before := len(types[dns.TypeNSEC]) > 0 && canonicalOrder(owner, name) <= 0
		if before && (best == nil || canonicalOrder(best[0].Header().Name, owner) < 0) {
			best = types[dns.TypeNSEC]
		}
	}
	for _, rr := range best {
		out = append(out, dns.Copy(rr))
	}
	return out
}

// canonicalOrder compares names as RFC 4034 §6.1 does: from the last label on.
func canonicalOrder(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}
