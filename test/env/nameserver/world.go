// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// World describes a private DNS: a root and all zones below it, each with
// servers, SOA, NS and glue made from the addresses.
type World struct {
	// Port is the common port; 0 picks a free one.
	Port uint16
	Keys []Key
	// Root is the root server's address; 127.0.0.1 when empty.
	Root string
	// TLD is the address of one server for every zone of a single label that a
	// site's name needs and that is no site of its own; 127.0.0.2 when empty.
	TLD string
	// Sites are the zones; example.org on 127.0.0.3 when empty.
	Sites []Site
}

// Site is one zone of a World.
type Site struct {
	// Zone is its name, for example "example.org" or "sub.example.org".
	Zone string
	// Addrs are its servers: ns1.<zone>, ns2.<zone>, … in this order. The first
	// is the primary. One address may serve several sites.
	Addrs []string
	// Records is zone-file text, relative to the zone; SOA, NS and the servers'
	// addresses are added unless Bare.
	Records string
	// TTL and Minimum are the SOA's in seconds; 300 and 60 when 0.
	TTL, Minimum uint32
	// Bare leaves Records as it is: it must bring SOA and NS of its own.
	Bare bool
	// Undelegated leaves the zone out of its parent.
	Undelegated bool
}

// Running is a World that runs.
type Running struct {
	*Network
	root netip.Addr
}

// Roots are the addresses to begin a resolution at, with the common port.
func (r *Running) Roots() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(r.root, r.Port())}
}

// StartWorld builds the zones and delegations of w, and starts its servers.
func StartWorld(ctx context.Context, w World) (*Running, error) {
	sites := w.sites()
	texts := map[string]*strings.Builder{}
	for _, s := range sites {
		if len(s.Addrs) == 0 {
			return nil, fmt.Errorf("zone %q: %w", s.Zone, errNoSite)
		}
		texts[s.Zone] = &strings.Builder{}
		texts[s.Zone].WriteString(s.own())
	}
	for _, s := range sites {
		if parent := closest(sites, s.Zone); parent != s.Zone && !s.Undelegated {
			texts[parent].WriteString(s.delegation())
		}
	}
	config := Config{Port: w.Port, Keys: w.Keys}
	for _, s := range sites {
		zone, err := ParseZone(s.Zone, texts[s.Zone].String())
		if err != nil {
			return nil, err
		}
		for i, addr := range s.Addrs {
			config.host(addr, zone, i == 0)
		}
	}
	network, err := Start(ctx, config)
	if err != nil {
		return nil, err
	}
	root, err := netip.ParseAddr(sites[0].Addrs[0])
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return &Running{Network: network, root: root}, nil
}

func (c *Config) host(addr string, zone *Zone, primary bool) {
	i := slices.IndexFunc(c.Servers, func(s ServerConfig) bool { return s.Addr == addr })
	if i < 0 {
		c.Servers = append(c.Servers, ServerConfig{Addr: addr})
		i = len(c.Servers) - 1
	}
	if primary {
		c.Servers[i].Primary = append(c.Servers[i].Primary, zone)
		return
	}
	c.Servers[i].Secondary = append(c.Servers[i].Secondary, zone)
}

// sites completes the list: the root first, every missing top-level zone, and
// the sites that were asked for.
func (w World) sites() []Site {
	asked := w.Sites
	if len(asked) == 0 {
		asked = []Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}}}
	}
	has := func(zone string) bool {
		return slices.ContainsFunc(asked, func(s Site) bool { return dns.CanonicalName(s.Zone) == zone })
	}
	var out []Site
	if !has(".") {
		out = append(out, Site{Zone: ".", Addrs: []string{or(w.Root, "127.0.0.1")}})
	}
	for _, s := range asked {
		labels := dns.SplitDomainName(s.Zone)
		if len(labels) == 0 {
			continue
		}
		tld := dns.CanonicalName(labels[len(labels)-1])
		if !has(tld) && !slices.ContainsFunc(out, func(s Site) bool { return s.Zone == tld }) {
			out = append(out, Site{Zone: tld, Addrs: []string{or(w.TLD, "127.0.0.2")}})
		}
	}
	for _, s := range asked {
		s.Zone = dns.CanonicalName(s.Zone)
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b Site) int { return dns.CountLabel(a.Zone) - dns.CountLabel(b.Zone) })
	return out
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// closest is the nearest site above zone, or zone itself when there is none.
func closest(sites []Site, zone string) string {
	best := zone
	for _, s := range sites {
		if s.Zone != zone && dns.IsSubDomain(s.Zone, zone) && (best == zone || dns.CountLabel(s.Zone) > dns.CountLabel(best)) {
			best = s.Zone
		}
	}
	return best
}

// own is the zone's text: SOA, NS and addresses, then the records.
func (s Site) own() string {
	if s.Bare {
		return s.Records
	}
	ttl, minimum := s.TTL, s.Minimum
	if ttl == 0 {
		ttl = 300
	}
	if minimum == 0 {
		minimum = 60
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s %d IN SOA ns1.%s hostmaster.%s 1 3600 600 86400 %d\n", s.Zone, ttl, bare(s.Zone), bare(s.Zone), minimum)
	b.WriteString(s.delegation())
	b.WriteString(s.Records)
	b.WriteString("\n")
	return b.String()
}

// delegation is the NS set and the addresses, the same at parent and child.
func (s Site) delegation() string {
	b := &strings.Builder{}
	for i, addr := range s.Addrs {
		host := fmt.Sprintf("ns%d.%s", i+1, bare(s.Zone))
		rrtype := "A"
		if strings.Contains(addr, ":") {
			rrtype = "AAAA"
		}
		fmt.Fprintf(b, "%s 300 IN NS %s\n%s 300 IN %s %s\n", s.Zone, host, host, rrtype, addr)
	}
	return b.String()
}
