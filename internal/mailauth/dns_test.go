// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// zone is a DNS in memory. A name with a record of the type "FAIL" has nobody who answers for it.
type zone struct {
	records []dns.RR
	failing map[string]bool
	asked   *atomic.Int32 // how often it was asked; may be nil
}

// parseZone reads lines as in a zone file, all names absolute, and "name FAIL".
func parseZone(tb testing.TB, text string) zone {
	tb.Helper()
	z := zone{failing: map[string]bool{}}
	var lines []string
	for line := range strings.Lines(text) {
		if name, failing := strings.CutSuffix(strings.TrimSpace(line), " FAIL"); failing {
			z.failing[dns.CanonicalName(name)] = true
			continue
		}
		lines = append(lines, line)
	}
	p := dns.NewZoneParser(strings.NewReader("$ORIGIN .\n$TTL 300\n"+strings.Join(lines, "")), ".", "")
	for rr, more := p.Next(); more; rr, more = p.Next() {
		z.records = append(z.records, rr)
	}
	if err := p.Err(); err != nil {
		tb.Fatal(err)
	}
	return z
}

// find returns the records of a name and a type, behind an alias if there is one.
func find[T dns.RR](z zone, name string) ([]T, error) {
	name = dns.CanonicalName(name)
	if z.asked != nil {
		z.asked.Add(1)
	}
	if z.failing[name] {
		return nil, &net.DNSError{Err: "the resolver answers SERVFAIL", Name: name, IsTemporary: true}
	}
	var found []T
	for _, rr := range z.records {
		if alias, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(rr.Header().Name) == name {
			name = dns.CanonicalName(alias.Target)
		}
	}
	for _, rr := range z.records {
		if record, ok := rr.(T); ok && dns.CanonicalName(rr.Header().Name) == name {
			found = append(found, record)
		}
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "there is no such name or record", Name: name, IsNotFound: true}
	}
	return found, nil
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	found, err := find[*dns.TXT](z, name)
	var values []string
	for _, txt := range found {
		values = append(values, strings.Join(txt.Txt, ""))
	}
	return values, err
}

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	found, err := find[*dns.MX](z, name)
	var hosts []*net.MX
	for _, mx := range found {
		hosts = append(hosts, &net.MX{Host: mx.Mx, Pref: mx.Preference})
	}
	return hosts, err
}

func (z zone) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	four, err := find[*dns.A](z, host)
	six, _ := find[*dns.AAAA](z, host)
	var addrs []net.IPAddr
	for _, a := range four {
		addrs = append(addrs, net.IPAddr{IP: a.A})
	}
	for _, a := range six {
		addrs = append(addrs, net.IPAddr{IP: a.AAAA})
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, err
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, err
	}
	found, err := find[*dns.PTR](z, name)
	var names []string
	for _, ptr := range found {
		names = append(names, ptr.Ptr)
	}
	return names, err
}

// Exists: a name is there with its own records, and above others'.
func (z zone) Exists(_ context.Context, name string) (bool, error) {
	name = dns.CanonicalName(name)
	if z.failing[name] {
		return false, &net.DNSError{Err: "the resolver answers SERVFAIL", Name: name, IsTemporary: true}
	}
	return slices.ContainsFunc(z.records, func(rr dns.RR) bool { return dns.IsSubDomain(name, dns.CanonicalName(rr.Header().Name)) }), nil
}

// anything answers every question for text with one text, and every other with something.
func anything(text string) *everything { return &everything{text: text} }

type everything struct {
	text  string
	asked atomic.Int32
}

func (e *everything) LookupTXT(context.Context, string) ([]string, error) {
	e.asked.Add(1)
	return []string{e.text}, nil
}

func (e *everything) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	e.asked.Add(1)
	return []*net.MX{{Host: "a." + name, Pref: 1}, {Host: "b." + name, Pref: 2}}, nil
}

func (e *everything) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	e.asked.Add(1)
	return []net.IPAddr{{IP: net.IPv4(203, 0, 113, 9)}}, nil
}

func (e *everything) LookupAddr(context.Context, string) ([]string, error) {
	e.asked.Add(1)
	return []string{"client.example."}, nil
}

func (e *everything) Exists(context.Context, string) (bool, error) {
	e.asked.Add(1)
	return true, nil
}
