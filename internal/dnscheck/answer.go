// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Bounds on what one answer may bring: everything in it is hostile input.
const (
	maxRecords = 128 // records looked at in a section
	maxNames   = 16  // name servers of a zone
	maxServers = 48  // addresses of a zone
)

// said is the kind of an answer.
type said int

const (
	saidNothing said = iota // no answer, or none that can be used: detail says why
	saidNoRoute             // the address was not asked
	saidNone                // with authority: nothing stands there
	saidValues
	saidAlias
)

// answer is what one server said about one name.
type answer struct {
	server Server
	mx     bool // MX was asked for, not TXT
	said   said
	detail string // for saidNothing: the phrase after the server's name

	values []string // for saidValues: logical values, sorted, each once
	ttl    uint32   // of the values or the alias

	alias     dnsrecord.Name // for saidAlias: where it leads
	aliasType dnsrecord.Type // CNAME or DNAME

	explicit bool           // a signature proves that the name itself exists
	wildcard dnsrecord.Name // the wildcard that the answer comes from; "" if none
	zone     dnsrecord.Name // the apex, where the answer itself told it
	size     int            // in octets, as it was asked for
	plain    int            // without EDNS, and so without signatures
	facts    []fact
}

// errUnreadable is an answer that no name server would send.
var errUnreadable = errors.New("sends answers that cannot be read")

// readAnswer judges a reply to a question for a TXT or MX record set.
//
// zone is the apex that the server is asked for; a reply that speaks with
// authority for something above it is not taken.
func readAnswer(server Server, name, zone dnsrecord.Name, m *dns.Msg) answer {
	a := answer{server: server, mx: len(m.Question) == 1 && m.Question[0].Qtype == dns.TypeMX}
	a.size, a.plain = sizes(m)
	if detail := unusable(m); detail != "" {
		a.detail = detail
		return a
	}
	a.readFacts(zone, m)
	a.readData(name, zone, m)
	switch {
	case a.said != saidNothing:
	case referral(m, zone):
		a.detail = "is not authoritative: it refers to other servers"
	default:
		a.said = saidNone
	}
	return a
}

// sizes are those of the answer alone: what else a reply brings a server leaves out where there is no room (RFC 2181 §9).
func sizes(m *dns.Msg) (edns, plain int) {
	const opt = 11 // RFC 6891 §6.1.2
	alone := dns.Msg{MsgHdr: m.MsgHdr, Question: m.Question, Answer: m.Answer, Compress: true}
	edns = alone.Len() + opt
	alone.Answer = slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG })
	return edns, alone.Len()
}

// unusable is why a reply says nothing; "" if it does.
func unusable(m *dns.Msg) string {
	switch {
	case m.Rcode == dns.RcodeRefused || m.Rcode == dns.RcodeNotAuth:
		return "is not authoritative: it answers " + rcode(m)
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError && m.Rcode != dns.RcodeYXDomain:
		return "answers " + rcode(m)
	case m.Truncated:
		return "truncates its answers over TCP"
	case !m.Authoritative:
		return "is not authoritative"
	}
	return ""
}

func rcode(m *dns.Msg) string {
	if s, ok := dns.RcodeToString[m.Rcode]; ok {
		return s
	}
	return "an unknown error code"
}

// referral says that a reply has no SOA, but NS records below the zone.
func referral(m *dns.Msg, zone dnsrecord.Name) bool {
	_, ok := readReferral(m, zone, "")
	return ok && len(m.Answer) == 0
}

// readData finds the values or the alias at name. What a server adds behind an
// alias is not used: the alias is followed to its own zone's servers.
func (a *answer) readData(name, zone dnsrecord.Name, m *dns.Msg) {
	for _, rr := range bounded(m.Answer) {
		owner, err := canonicalName(rr.Header().Name)
		switch {
		case err != nil || rr.Header().Class != dns.ClassINET:
		case owner == name:
			a.readRecord(name, rr)
		case owner.In(zone):
			a.readDNAME(name, owner, rr)
		}
	}
	slices.Sort(a.values)
	a.values = slices.Compact(a.values)
}

// readRecord takes a record at the name itself. A CNAME that came with a DNAME
// only repeats it (RFC 6672 §3.1).
func (a *answer) readRecord(name dnsrecord.Name, rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.TXT:
		if !a.mx {
			a.addValue(txtValue(rr), rr.Hdr.Ttl)
		}
	case *dns.MX:
		if host, err := canonicalName(rr.Mx); err == nil && a.mx {
			a.addValue(fmt.Sprintf("%d %s", rr.Preference, host.FQDN()), rr.Hdr.Ttl)
		}
	case *dns.CNAME:
		if a.aliasType != dnsrecord.DNAME {
			a.setAlias(rr.Target, dnsrecord.CNAME, rr.Hdr.Ttl)
		}
	case *dns.RRSIG: // it counts the labels of the name that was signed (RFC 4034 §3.1.3)
		if int(rr.Labels) >= len(name.Labels()) {
			a.explicit = true
		}
	}
}

func (a *answer) addValue(value string, ttl uint32) {
	if a.said != saidAlias {
		a.said, a.ttl, a.values = saidValues, max(a.ttl, ttl), append(a.values, value)
	}
}

func (a *answer) readDNAME(name, owner dnsrecord.Name, rr dns.RR) {
	dname, ok := rr.(*dns.DNAME)
	if rel, below := name.RelativeTo(owner); ok && below {
		a.setAlias(rel+"."+strings.TrimPrefix(dname.Target, "."), dnsrecord.DNAME, dname.Hdr.Ttl)
	}
}

func (a *answer) setAlias(target string, t dnsrecord.Type, ttl uint32) {
	alias, err := canonicalName(target)
	if err != nil {
		a.said, a.detail = saidNothing, errUnreadable.Error()
		return
	}
	a.said, a.alias, a.aliasType, a.ttl, a.values = saidAlias, alias, t, ttl, nil
}

// readFacts collects what caches keep of the authority section.
func (a *answer) readFacts(zone dnsrecord.Name, m *dns.Msg) {
	for _, rr := range bounded(m.Ns) {
		owner, err := canonicalName(rr.Header().Name)
		if err != nil || !owner.In(zone) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.SOA:
			a.facts = append(a.facts, negativeFact(owner, rr.Hdr.Ttl, rr.Minttl))
		case *dns.NSEC:
			a.facts = append(a.facts, denialFact(zone, "NSEC", rr.Hdr.Ttl))
		case *dns.NSEC3:
			a.facts = append(a.facts, denialFact(zone, "NSEC3", rr.Hdr.Ttl))
		}
	}
}

func bounded(section []dns.RR) []dns.RR { return section[:min(len(section), maxRecords)] }

// canonicalName reads a name of the library's presentation form, in which
// everything unusual is an escape. Names that ParseName refuses are not ours
// and lead nowhere.
func canonicalName(s string) (dnsrecord.Name, error) {
	if s == "" {
		return "", errUnreadable
	}
	return dnsrecord.ParseName(s)
}

// txtValue is the logical value: character-strings with nothing between
// (RFC 6376 §3.6.2.2), without the library's escapes.
func txtValue(txt *dns.TXT) string {
	var value []byte
	for _, s := range txt.Txt {
		value = unescape(value, s)
	}
	return string(value)
}

// unescape appends s, in which the library writes \" \\ and \DDD.
func unescape(to []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			to = append(to, s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			to = append(to, (s[i+1]-'0')*100+(s[i+2]-'0')*10+(s[i+3]-'0'))
			i += 3
		default:
			i++
			to = append(to, s[i])
		}
	}
	return to
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// delegation is what a referral says.
type delegation struct {
	zone  dnsrecord.Name
	names []dnsrecord.Name
	ttl   uint32
	glue  map[dnsrecord.Name][]netip.Addr
}

// readReferral reads the NS records and glue of a reply from the servers of
// zone. towards, unless "", must be in the zone that is referred to.
//
// Glue counts only for the names of the NS records, and only within zone: what
// is outside is not the answering server's to say.
func readReferral(m *dns.Msg, zone, towards dnsrecord.Name) (delegation, bool) {
	d := delegation{ttl: maxTTL, glue: map[dnsrecord.Name][]netip.Addr{}}
	for _, rr := range bounded(m.Ns) {
		ns, ok := rr.(*dns.NS)
		if !ok {
			if rr.Header().Rrtype == dns.TypeSOA {
				return delegation{}, false
			}
			continue
		}
		owner, err := canonicalName(ns.Hdr.Name)
		if err != nil || !owner.In(zone) || owner == zone || towards != "" && !towards.In(owner) || d.zone != "" && owner != d.zone {
			continue
		}
		d.zone = owner
		d.ttl = min(d.ttl, ns.Hdr.Ttl)
		d.addName(ns.Ns)
	}
	d.readGlue(m, zone)
	slices.Sort(d.names)
	return d, d.zone != "" && len(d.names) > 0
}

func (d *delegation) addName(host string) {
	name, err := canonicalName(host)
	if err == nil && len(d.names) < maxNames && !slices.Contains(d.names, name) {
		d.names = append(d.names, name)
	}
}

func (d *delegation) readGlue(m *dns.Msg, zone dnsrecord.Name) {
	for _, rr := range bounded(m.Extra) {
		owner, err := canonicalName(rr.Header().Name)
		if err != nil || !owner.In(zone) || !slices.Contains(d.names, owner) || len(d.glue[owner]) >= maxNames {
			continue
		}
		if addr, ok := address(rr); ok && !slices.Contains(d.glue[owner], addr) {
			d.glue[owner] = append(d.glue[owner], addr)
		}
	}
}

// address is the address of an A or AAAA record, if a server can have it.
func address(rr dns.RR) (netip.Addr, bool) {
	var addr netip.Addr
	var ok bool
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, ok = netip.AddrFromSlice(rr.AAAA)
	}
	addr = addr.Unmap()
	if !ok || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, false
	}
	return addr, true
}
