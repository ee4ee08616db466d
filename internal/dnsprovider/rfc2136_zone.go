// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// rfc2136Zone reads one zone at its primary.
type rfc2136Zone struct {
	*rfc2136
	name dnsrecord.Name
}

// standing is an RRset as the server holds it: what it says, and the records
// themselves, since prerequisites and deletions compare them octet by octet (the
// same TXT value can be cut into strings in many ways).
type standing struct {
	set       dnsrecord.Set
	rrs       []dns.RR
	obstacles []dnsrecord.Set
}

func (z *rfc2136Zone) check(ctx context.Context) error {
	reply, err := z.ask(ctx, z.name, dns.TypeSOA)
	if err != nil {
		return err
	}
	if !reply.Authoritative || len(records(reply.Answer, z.name, dns.TypeSOA)) == 0 {
		return z.notHere()
	}
	return z.send(ctx, z.message())
}

func (z *rfc2136Zone) notHere() error {
	return z.fail(ZoneNotFound, nil, "server %s does not hold the zone %s", z.server, z.name)
}

// ask is lookup with the RCODE judged.
func (z *rfc2136Zone) ask(ctx context.Context, name dnsrecord.Name, qtype uint16) (*dns.Msg, error) {
	reply, err := z.lookup(ctx, name, qtype)
	if err != nil {
		return nil, err
	}
	return reply, z.rcodeError(reply.Rcode, questionsAbout)
}

// Read asks for each name. After the first failure that concerns the server as a whole it gives up.
func (z *rfc2136Zone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	if err := turn(ctx); err != nil {
		return nil, err
	}
	seen := map[Question]dnsrecord.Set{}
	var first error
	for _, q := range questions {
		s, err := z.read(ctx, q)
		if err != nil {
			first = firstError(first, err)
			var e *Error
			if errors.As(err, &e) && (e.Reason == Unreachable || e.Reason == Unauthorized) {
				break
			}
			continue
		}
		seen[q] = s.set
		for _, o := range s.obstacles {
			seen[Question{Name: o.Name, Type: o.Type}] = o
		}
	}
	return seen, first
}

// read returns one RRset, without what a wildcard made up.
func (z *rfc2136Zone) read(ctx context.Context, q Question) (standing, error) {
	s := standing{set: dnsrecord.Set{Name: q.Name, Type: q.Type}}
	qtype, ok := dns.StringToType[string(q.Type)]
	if !ok {
		return s, z.fail(Invalid, nil, "%s is no record type", q.Type)
	}
	reply, err := z.ask(ctx, q.Name, qtype)
	if err != nil {
		return s, err
	}
	if !reply.Authoritative {
		cut, ok := z.delegation(reply, q.Name)
		if !ok {
			return s, z.notHere()
		}
		s.obstacles = append(s.obstacles, cut)
		return s, nil
	}
	if dname, ok := dnameAbove(reply.Answer, q.Name); ok {
		s.obstacles = append(s.obstacles, dname)
		return s, nil
	}
	if cname := records(reply.Answer, q.Name, dns.TypeCNAME); len(cname) > 0 && qtype != dns.TypeCNAME {
		return z.alias(ctx, s, cname)
	}
	return z.real(ctx, s, qtype, records(reply.Answer, q.Name, qtype))
}

// alias reports a CNAME as an obstacle if it is real. A wildcard CNAME gives way
// to any record at the name, but it is worth telling.
func (z *rfc2136Zone) alias(ctx context.Context, s standing, cname []dns.RR) (standing, error) {
	wild, err := z.wildcard(ctx, s.set.Name, dns.TypeCNAME, cname)
	if err != nil {
		return s, err
	}
	at := s.set.Name
	if wild != "" {
		at = wild
	}
	s.obstacles = append(s.obstacles, toSet(at, dnsrecord.CNAME, cname))
	return s, nil
}

// real returns the records as read, or none if a wildcard made them up.
func (z *rfc2136Zone) real(ctx context.Context, s standing, qtype uint16, rrs []dns.RR) (standing, error) {
	wild, err := z.wildcard(ctx, s.set.Name, qtype, rrs)
	if err != nil || wild != "" {
		return s, err
	}
	s.rrs = rrs
	s.set = toSet(s.set.Name, s.set.Type, rrs)
	return s, nil
}

// wildcard names the wildcard that the records at this name come from; "" if
// they stand there. An answer does not tell (RFC 4592 §4.1), so if a wildcard
// above says the same, the zone is asked by a prerequisite, which looks at exact
// names only (RFC 2136 §3.2).
func (z *rfc2136Zone) wildcard(ctx context.Context, name dnsrecord.Name, qtype uint16, rrs []dns.RR) (dnsrecord.Name, error) {
	if len(rrs) == 0 {
		return "", nil
	}
	for at := name; at != z.name && at != ""; {
		at = at.Parent()
		wild := at.Child("*")
		if wild == name {
			continue
		}
		reply, err := z.ask(ctx, wild, qtype)
		if err != nil {
			return "", err
		}
		if !sameData(records(reply.Answer, wild, qtype), rrs) {
			continue
		}
		absent := z.message()
		absent.RRsetNotUsed(rrs[:1])
		switch err := z.send(ctx, absent); {
		case err == nil:
			return wild, nil
		case errors.Is(err, ErrChanged):
			return "", nil
		default:
			return "", err
		}
	}
	return "", nil
}

// delegation finds the zone cut that a referral points to.
func (z *rfc2136Zone) delegation(reply *dns.Msg, name dnsrecord.Name) (dnsrecord.Set, bool) {
	for _, rr := range reply.Ns {
		at := owner(rr)
		if rr.Header().Rrtype == dns.TypeNS && at != z.name && at.In(z.name) && name.In(at) {
			return toSet(at, dnsrecord.NS, records(reply.Ns, at, dns.TypeNS)), true
		}
	}
	return dnsrecord.Set{}, false
}

func dnameAbove(answer []dns.RR, name dnsrecord.Name) (dnsrecord.Set, bool) {
	for _, rr := range answer {
		if at := owner(rr); rr.Header().Rrtype == dns.TypeDNAME && at != name && name.In(at) {
			return toSet(at, dnsrecord.DNAME, []dns.RR{rr}), true
		}
	}
	return dnsrecord.Set{}, false
}

func owner(rr dns.RR) dnsrecord.Name {
	return dnsrecord.Name(strings.TrimSuffix(dns.CanonicalName(rr.Header().Name), "."))
}

// records are those of one name and type.
func records(section []dns.RR, name dnsrecord.Name, rrtype uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range section {
		if rr.Header().Rrtype == rrtype && owner(rr) == name {
			out = append(out, rr)
		}
	}
	return out
}

func sameData(a, b []dns.RR) bool {
	return toSet("", "", a).SameValues(toSet("", "", b))
}

func toSet(name dnsrecord.Name, t dnsrecord.Type, rrs []dns.RR) dnsrecord.Set {
	s := dnsrecord.Set{Name: name, Type: t}
	for _, rr := range rrs {
		s.TTL = rr.Header().Ttl
		s.Values = append(s.Values, valueOf(rr))
	}
	return s
}

// valueOf returns what a record says, as dnsrecord.Set wants it. In miekg/dns a
// TXT string is in its presentation form, without the quotation marks.
func valueOf(rr dns.RR) string {
	txt, ok := rr.(*dns.TXT)
	if !ok {
		return strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	parts := make([]string, len(txt.Txt))
	for i, s := range txt.Txt {
		part, err := dnsrecord.ParseTXT(`"` + s + `"`)
		if err != nil {
			part = s // cannot be: the library wrote it
		}
		parts[i] = part
	}
	return dnsrecord.JoinTXT(parts)
}

// recordOf makes a record that says the value.
func recordOf(name dnsrecord.Name, t dnsrecord.Type, ttl uint32, value string) (dns.RR, error) {
	hdr := dns.RR_Header{Name: name.FQDN(), Rrtype: dns.StringToType[string(t)], Class: dns.ClassINET, Ttl: ttl}
	if t == dnsrecord.TXT {
		txt := &dns.TXT{Hdr: hdr}
		for _, part := range dnsrecord.SplitTXT(value) {
			quoted := dnsrecord.FormatTXT(part)
			txt.Txt = append(txt.Txt, quoted[1:len(quoted)-1])
		}
		return txt, nil
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name.FQDN(), ttl, t, value))
	if err != nil || rr == nil {
		return nil, newError(Invalid, err, fmt.Sprintf("%s is no %s record", dnsrecord.Quote(value), t))
	}
	return rr, nil
}
