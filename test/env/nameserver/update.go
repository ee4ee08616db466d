// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"maps"
	"slices"

	"github.com/miekg/dns"
)

// update carries out one RFC 2136 UPDATE message and returns its RCODE:
// zone, prerequisites, policy, prescan, changes, in the order of §3.
func (z *Zone) update(m *dns.Msg, key Key) int {
	rcode, err := z.change(func(v *version, sets map[string]map[uint16][]dns.RR) (int, error) {
		if rcode := v.prerequisites(m.Answer); rcode != dns.RcodeSuccess {
			return rcode, nil
		}
		if rcode := v.prescan(m.Ns, key); rcode != dns.RcodeSuccess {
			return rcode, nil
		}
		for _, rr := range m.Ns {
			if err := apply(sets, v.origin, rr); err != nil {
				return dns.RcodeServerFailure, err
			}
		}
		return dns.RcodeSuccess, nil
	})
	if err != nil {
		return dns.RcodeServerFailure
	}
	return rcode
}

type setKey struct {
	name   string
	rrtype uint16
}

// prerequisites checks the five kinds of RFC 2136 §2.4 as §3.2.5 says.
func (v *version) prerequisites(section []dns.RR) int {
	exact := map[setKey][]dns.RR{}
	for _, rr := range section {
		h := rr.Header()
		if h.Ttl != 0 {
			return dns.RcodeFormatError
		}
		if !dns.IsSubDomain(v.origin, dns.CanonicalName(h.Name)) {
			return dns.RcodeNotZone
		}
		if h.Class == dns.ClassINET {
			k := setKey{dns.CanonicalName(h.Name), h.Rrtype}
			exact[k] = append(exact[k], rr)
			continue
		}
		if rcode := v.existence(h); rcode != dns.RcodeSuccess {
			return rcode
		}
	}
	for k, want := range exact {
		if !sameSet(v.sets[k.name][k.rrtype], want) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

// existence checks a prerequisite without rdata.
func (v *version) existence(h *dns.RR_Header) int {
	name := dns.CanonicalName(h.Name)
	nameInUse := len(v.sets[name]) > 0
	setExists := len(v.sets[name][h.Rrtype]) > 0
	switch {
	case h.Rdlength != 0 || h.Class != dns.ClassANY && h.Class != dns.ClassNONE:
		return dns.RcodeFormatError
	case h.Class == dns.ClassANY && h.Rrtype == dns.TypeANY && !nameInUse:
		return dns.RcodeNameError
	case h.Class == dns.ClassANY && h.Rrtype != dns.TypeANY && !setExists:
		return dns.RcodeNXRrset
	case h.Class == dns.ClassNONE && h.Rrtype == dns.TypeANY && nameInUse:
		return dns.RcodeYXDomain
	case h.Class == dns.ClassNONE && h.Rrtype != dns.TypeANY && setExists:
		return dns.RcodeYXRrset
	}
	return dns.RcodeSuccess
}

func sameSet(have, want []dns.RR) bool {
	key := func(set []dns.RR) []string {
		var out []string
		for _, rr := range set {
			rr, err := canonical(rr)
			if err != nil {
				return []string{"?"}
			}
			h := rr.Header()
			h.Class, h.Ttl = dns.ClassINET, 0
			out = append(out, rr.String())
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(key(have), key(want))
}

// prescan refuses a message that is malformed (RFC 2136 §3.4.1) or that the
// key may not send, before anything changes.
func (v *version) prescan(section []dns.RR, key Key) int {
	for _, rr := range section {
		h := rr.Header()
		if !dns.IsSubDomain(v.origin, dns.CanonicalName(h.Name)) {
			return dns.RcodeNotZone
		}
		if !wellFormed(h) {
			return dns.RcodeFormatError
		}
	}
	for _, rr := range section {
		h := rr.Header()
		if key.Allow != nil && !key.Allow(dns.CanonicalName(h.Name), h.Rrtype) {
			return dns.RcodeRefused
		}
	}
	return dns.RcodeSuccess
}

// wellFormed says whether a change is one of the four of RFC 2136 §2.5.
func wellFormed(h *dns.RR_Header) bool {
	if h.Rrtype == dns.TypeAXFR || h.Rrtype == dns.TypeMAILA || h.Rrtype == dns.TypeMAILB {
		return false
	}
	switch h.Class {
	case dns.ClassINET:
		return h.Rrtype != dns.TypeANY
	case dns.ClassANY:
		return h.Ttl == 0 && h.Rdlength == 0
	case dns.ClassNONE:
		return h.Ttl == 0 && h.Rrtype != dns.TypeANY
	}
	return false
}

// apply makes one change, as RFC 2136 §3.4.2 says.
func apply(sets map[string]map[uint16][]dns.RR, origin string, rr dns.RR) error {
	h := rr.Header()
	name := dns.CanonicalName(h.Name)
	switch h.Class {
	case dns.ClassINET:
		return add(sets, origin, rr)
	case dns.ClassANY:
		maps.DeleteFunc(sets[name], func(t uint16, _ []dns.RR) bool {
			return (h.Rrtype == dns.TypeANY || t == h.Rrtype) && !kept(name, origin, t)
		})
		return nil
	default:
		return remove(sets, origin, rr)
	}
}

// kept says that an update never deletes this RRset as a whole: the apex's SOA and NS.
func kept(name, origin string, rrtype uint16) bool {
	return name == origin && (rrtype == dns.TypeSOA || rrtype == dns.TypeNS)
}

// add ignores what may not stand together: a CNAME beside other data, an
// older SOA (RFC 2136 §3.4.2.2).
func add(sets map[string]map[uint16][]dns.RR, origin string, rr dns.RR) error {
	name, rrtype := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
	for t := range sets[name] {
		if (rrtype == dns.TypeCNAME) != (t == dns.TypeCNAME) && !beside(t) && !beside(rrtype) {
			return nil
		}
	}
	if soa, ok := rr.(*dns.SOA); ok {
		if name != origin || int32(soa.Serial-serialOf(sets, origin)) <= 0 { // RFC 1982 §3.2
			return nil
		}
	}
	return insert(sets, origin, rr)
}

// beside says that a type may stand next to a CNAME (RFC 4034 §2.5).
func beside(rrtype uint16) bool { return rrtype == dns.TypeNSEC || rrtype == dns.TypeRRSIG }

// remove deletes one record; the apex keeps its SOA and its last NS.
func remove(sets map[string]map[uint16][]dns.RR, origin string, rr dns.RR) error {
	target, err := canonical(withClass(rr))
	if err != nil {
		return err
	}
	name, rrtype := target.Header().Name, target.Header().Rrtype
	set := sets[name][rrtype]
	left := slices.DeleteFunc(slices.Clone(set), func(old dns.RR) bool { return dns.IsDuplicate(old, target) })
	if rrtype == dns.TypeSOA || len(left) == 0 && kept(name, origin, rrtype) || len(left) == len(set) {
		return nil
	}
	sets[name][rrtype] = left
	return nil
}

func withClass(rr dns.RR) dns.RR {
	rr = dns.Copy(rr)
	rr.Header().Class = dns.ClassINET
	return rr
}
