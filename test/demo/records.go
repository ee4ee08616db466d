// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// dig shows every record of the domain as it is in the DNS.
func (d *demo) dig(ctx context.Context) error {
	d.screen.command(fmt.Sprintf("dig @127.0.0.3 -p %d +noall +answer NAME TXT", d.world.Port()), "long values are cut in this picture only")
	names, err := d.recordNames(ctx)
	if err != nil {
		return err
	}
	var records []dns.RR
	widest := 0
	for _, name := range names {
		reply, err := d.resolver.Lookup(ctx, name, dns.TypeTXT)
		if err != nil {
			return err
		}
		records = append(records, reply.Answer...)
		if len(reply.Answer) > 0 {
			widest = max(widest, len(reply.Answer[0].Header().Name))
		}
	}
	for _, rr := range records {
		d.screen.quote(styleOf(rr), columns(rr, widest, d.screen.width-len(indent)-2))
	}
	return nil
}

// recordNames are the names that the domain's status lists, the apex first.
func (d *demo) recordNames(ctx context.Context) ([]string, error) {
	var domain v1alpha1.MailDomain
	if err := d.client.Get(ctx, domainKey, &domain); err != nil {
		return nil, err
	}
	names := []string{zone, "_maildomain." + zone} // the marker says which records are the operator's
	for _, r := range domain.Status.Records {
		names = append(names, r.Name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(dns.CountLabel(a)-dns.CountLabel(b), cmp.Compare(a, b))
	})
	return slices.Compact(names), nil
}

// styleOf puts what stood there before into the background.
func styleOf(rr dns.RR) style {
	if slices.Contains(foreignRecords(), wire(rr)) {
		return dim
	}
	return plain
}

// columns is a record as dig prints it, cut in its middle to fit.
func columns(rr dns.RR, nameWidth, width int) string {
	h := rr.Header()
	head := fmt.Sprintf("%-*s %3d %s %s ", nameWidth, h.Name, h.Ttl, dns.ClassToString[h.Class], dns.TypeToString[h.Rrtype])
	data := []rune(strings.TrimPrefix(rr.String(), h.String()))
	const end = 12
	if room := width - len(head); len(data) > room {
		data = slices.Concat(data[:room-end-1], []rune("…"), data[len(data)-end:])
	}
	return head + string(data)
}

// wire is a record as octets: owner, type, class, TTL and data.
func wire(rr dns.RR) string {
	buffer := make([]byte, dns.Len(rr)+256)
	end, err := dns.PackRR(rr, buffer, 0, nil, false)
	if err != nil {
		return "unpackable: " + rr.String()
	}
	return string(buffer[:end])
}

// foreignRecords are the records of zone.txt, as octets.
func foreignRecords() []string {
	var records []string
	for _, rr := range parseZone() {
		records = append(records, wire(rr))
	}
	return records
}

func parseZone() []dns.RR {
	var records []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(zoneText), zone+".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	return records
}

// compare asks for every record that stood there at the beginning.
func (d *demo) compare(ctx context.Context) error {
	foreign := parseZone()
	for _, rr := range foreign {
		reply, err := d.resolver.Lookup(ctx, rr.Header().Name, rr.Header().Rrtype)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(reply.Answer, func(now dns.RR) bool { return wire(now) == wire(rr) }) {
			return fmt.Errorf("a record of someone else changed: %s was there before, and now there is %v", rr, reply.Answer)
		}
	}
	d.screen.ok("all %d records that stood there before are as they were, octets and TTL", len(foreign))
	return nil
}
