// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Serves asks any server, also one that is not of this package, whether it has a zone.
func Serves(ctx context.Context, addr netip.AddrPort, zone string) error {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	reply, _, err := (&dns.Client{Net: "tcp", Timeout: time.Second}).ExchangeContext(ctx, m, addr.String())
	if err != nil {
		return err
	}
	if reply.Rcode != dns.RcodeSuccess || len(reply.Answer) == 0 {
		return fmt.Errorf("%s answers %s for %s", addr, dns.RcodeToString[reply.Rcode], zone)
	}
	return nil
}

// Transfer is all that a server has of a zone (AXFR), without the SOA.
func Transfer(addr netip.AddrPort, zone string) ([]dns.RR, error) {
	m := new(dns.Msg)
	m.SetAxfr(dns.Fqdn(zone))
	messages, err := new(dns.Transfer).In(m, addr.String())
	if err != nil {
		return nil, fmt.Errorf("transfer %s from %s: %w", zone, addr, err)
	}
	var records []dns.RR
	for e := range messages {
		if e.Error != nil {
			return nil, fmt.Errorf("transfer %s from %s: %w", zone, addr, e.Error)
		}
		for _, rr := range e.RR {
			if rr.Header().Rrtype != dns.TypeSOA {
				records = append(records, rr)
			}
		}
	}
	return records, nil
}
