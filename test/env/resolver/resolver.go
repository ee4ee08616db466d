// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resolver looks names up as a receiver's resolver does, from the root
// down through referrals, in a private DNS: for verifiers in tests and in the demo.
//
// It keeps no cache, validates nothing, and takes glue for granted. It shares no
// code with the operator's prober, so that the two can disagree.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Resolver starts at Roots; name servers that referrals lead to answer at Port.
type Resolver struct {
	Roots []netip.AddrPort
	Port  uint16
}

// Limits of one lookup: a loop of aliases or referrals ends here.
const (
	maxAliases   = 8
	maxReferrals = 16
)

// LookupTXT returns the TXT records at name, each joined to one string, as net.LookupTXT does. The error is a
// *net.DNSError with IsNotFound where the name or its TXT records do not exist, which verifiers ask for.
func (r Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	reply, err := r.Lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true, UnwrapErr: err}
	}
	var values []string
	for _, rr := range reply.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			values = append(values, strings.Join(txt.Txt, ""))
		}
	}
	if len(values) == 0 {
		return nil, &net.DNSError{Err: "no TXT record", Name: name, IsNotFound: true}
	}
	return values, nil
}

// Lookup returns the authoritative answer for a name; aliases are followed, and the last answer is returned.
func (r Resolver) Lookup(ctx context.Context, name string, rrtype uint16) (*dns.Msg, error) {
	name = dns.CanonicalName(name)
	for range maxAliases {
		reply, err := r.walk(ctx, name, rrtype)
		if err != nil {
			return nil, err
		}
		target := alias(reply, name, rrtype)
		if target == "" {
			return reply, nil
		}
		name = target
	}
	return nil, fmt.Errorf("%s: more than %d aliases", name, maxAliases)
}

// alias is where the answer's CNAMEs lead; empty when they end with an answer.
func alias(reply *dns.Msg, name string, rrtype uint16) string {
	target := ""
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype == rrtype {
			return ""
		}
		if cname, ok := rr.(*dns.CNAME); ok && cname.Hdr.Name == name {
			name = dns.CanonicalName(cname.Target)
			target = name
		}
	}
	return target
}

// walk goes from the root to the servers that have authority for a name.
func (r Resolver) walk(ctx context.Context, name string, rrtype uint16) (*dns.Msg, error) {
	servers := r.Roots
	for range maxReferrals {
		reply, err := askAny(ctx, servers, name, rrtype)
		if err != nil {
			return nil, err
		}
		if reply.Authoritative {
			return reply, nil
		}
		if servers = r.glue(reply); len(servers) == 0 {
			return nil, fmt.Errorf("%s: the way ends at a server that neither knows nor refers", name)
		}
	}
	return nil, fmt.Errorf("%s: more than %d referrals", name, maxReferrals)
}

// glue is the addresses in a referral.
func (r Resolver) glue(reply *dns.Msg) []netip.AddrPort {
	var servers []netip.AddrPort
	for _, rr := range reply.Extra {
		var ip net.IP
		switch record := rr.(type) {
		case *dns.A:
			ip = record.A
		case *dns.AAAA:
			ip = record.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			servers = append(servers, netip.AddrPortFrom(addr.Unmap(), r.Port))
		}
	}
	return servers
}

// askAny returns the first useful answer.
func askAny(ctx context.Context, servers []netip.AddrPort, name string, rrtype uint16) (*dns.Msg, error) {
	var errs []error
	for _, server := range servers {
		reply, err := ask(ctx, server, name, rrtype)
		switch {
		case err != nil:
			errs = append(errs, err)
		case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
			errs = append(errs, fmt.Errorf("%s answers %s for %s", server, dns.RcodeToString[reply.Rcode], name))
		default:
			return reply, nil
		}
	}
	return nil, errors.Join(errs...)
}

// ask asks one server over UDP, and over TCP what UDP does not hold.
func ask(ctx context.Context, server netip.AddrPort, name string, rrtype uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, rrtype)
	question.RecursionDesired = false
	question.SetEdns0(dns.DefaultMsgSize, false)
	for _, transport := range []string{"udp", "tcp"} {
		reply, _, err := (&dns.Client{Net: transport}).ExchangeContext(ctx, question, server.String())
		if err != nil {
			return nil, fmt.Errorf("ask %s for %s over %s: %w", server, name, transport, err)
		}
		if !reply.Truncated {
			return reply, nil
		}
	}
	return nil, fmt.Errorf("%s truncates %s over TCP", server, name)
}
