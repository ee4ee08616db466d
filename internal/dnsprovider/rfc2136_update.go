// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"slices"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// maxUpdate bounds one UPDATE message in octets, well below the 65535 of TCP.
	maxUpdate = 48 << 10
	// tsigRoom is left for the TSIG record.
	tsigRoom = 512
)

// part is one change in the words of RFC 2136.
type part struct {
	at           int // its place among the changes
	absent       []dns.RR
	exists       []dns.RR
	out, in      []dns.RR
	sizeEstimate int
}

// Apply sends the changes in as few UPDATE messages as they fit. Each message is
// all or nothing, so if one is refused, its changes are tried one by one.
func (z *rfc2136Zone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	if err := turn(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	var group []part
	size := 0
	flush := func() {
		z.sendGroup(ctx, group, errs)
		group, size = nil, 0
	}
	for i, c := range changes {
		p, err := z.part(ctx, c)
		if err != nil {
			errs[i] = err
			continue
		}
		p.at = i
		if size+p.sizeEstimate > maxUpdate {
			flush()
		}
		group = append(group, p)
		size += p.sizeEstimate
	}
	flush()
	return errs
}

// part reads the name once more, for the records as they are cut there, and
// refuses if they do not say what the plan was made from.
func (z *rfc2136Zone) part(ctx context.Context, c dnsplan.Change) (part, error) {
	now, err := z.read(ctx, c.Key())
	if err != nil {
		return part{}, err
	}
	// A wildcard is no obstacle: it gives way.
	if !now.set.SameValues(c.Prerequisite) || dnsplan.Obstacle(byKey(now), c.Key()) != "" {
		return part{}, ErrChanged
	}
	var p part
	ttl := c.TTL
	for _, rr := range now.rrs {
		p.exists = append(p.exists, dns.Copy(rr))
		if slices.Contains(c.Delete, valueOf(rr)) {
			p.out = append(p.out, dns.Copy(rr))
		} else {
			ttl = rr.Header().Ttl // RFC 2181 §5.2: theirs stays
		}
	}
	for _, value := range c.Add {
		rr, err := recordOf(c.Name, c.Type, ttl, value)
		if err != nil {
			return part{}, err
		}
		p.in = append(p.in, rr)
	}
	if len(now.rrs) == 0 {
		p.absent = []dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: c.Name.FQDN(), Rrtype: dns.StringToType[string(c.Type)]}}}
	}
	for _, rr := range slices.Concat(p.absent, p.exists, p.out, p.in) {
		p.sizeEstimate += dns.Len(rr)
	}
	return p, nil
}

func byKey(s standing) map[Question]dnsrecord.Set {
	seen := map[Question]dnsrecord.Set{}
	for _, o := range s.obstacles {
		seen[Question{Name: o.Name, Type: o.Type}] = o
	}
	return seen
}

// sendGroup sends the parts in one message, or singly if together they fail.
func (z *rfc2136Zone) sendGroup(ctx context.Context, group []part, errs []error) {
	if len(group) == 0 {
		return
	}
	err := z.send(ctx, z.message(group...))
	var e *Error
	whole := err == nil || errors.As(err, &e) && (e.Reason == Unreachable || e.Reason == Unauthorized || e.Reason == ZoneNotFound)
	for _, p := range group {
		if whole || len(group) == 1 {
			errs[p.at] = err
			continue
		}
		errs[p.at] = z.send(ctx, z.message(p))
	}
}

// message is an UPDATE of the zone with these parts.
func (z *rfc2136Zone) message(parts ...part) *dns.Msg {
	m := new(dns.Msg)
	m.SetUpdate(z.name.FQDN())
	for _, p := range parts {
		m.RRsetNotUsed(p.absent)
		m.Used(copies(p.exists))
		m.Remove(copies(p.out))
		m.Insert(copies(p.in))
	}
	return m
}

// copies keeps a message from changing the records of another: the library writes class and TTL into them.
func copies(rrs []dns.RR) []dns.RR {
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
	}
	return out
}

// send sends one UPDATE and puts the reply into words.
func (z *rfc2136Zone) send(ctx context.Context, m *dns.Msg) error {
	network, timeout := z.update, z.udpTimeout
	if network == "tcp" || m.Len() > ednsSize-tsigRoom {
		network, timeout = "tcp", z.tcpTimeout
	}
	if m.Len() > dns.MaxMsgSize-tsigRoom {
		return z.fail(Refused, nil, "the change is too large for one message")
	}
	reply, err := z.exchange(ctx, network, m, timeout)
	if err != nil {
		return err
	}
	if reply.Rcode == dns.RcodeNameError {
		return ErrChanged
	}
	return z.rcodeError(reply.Rcode, updatesOf)
}
