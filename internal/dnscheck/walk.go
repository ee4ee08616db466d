// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Bounds of a walk from the root.
const (
	maxReferrals = 16               // referrals and SOA steps to one name
	maxDepth     = 4                // name servers whose names need a walk of their own, nested
	maxTries     = 6                // servers that one question goes to before it has failed
	maxZones     = 32768            // zones in the cache, and an eighth of the names that were looked up
	minZoneAge   = 5 * time.Second  // how long a zone's servers are kept at least
	maxZoneAge   = 10 * time.Minute // and at most,
	maxTopAge    = time.Hour        // but for the root and top-level zones
)

// cut is a zone as the walk came upon it: who serves it.
type cut struct {
	apex    dnsrecord.Name
	parent  *cut // nil for the root
	names   []dnsrecord.Name
	servers []Server
	// referred says that names come from a referral; false when parent and child
	// are on the same servers, which answer for the child at once.
	referred bool
	ttl      uint32 // of the NS set
	expires  time.Time
}

// resolver walks from the root to the servers of a zone, and asks nobody who
// would ask on (RFC 1034 §5.3.3 without the recursive half).
type resolver struct {
	client *client
	roots  []netip.AddrPort
	port   uint16
	now    func() time.Time

	mu    sync.Mutex
	cuts  map[dnsrecord.Name]*cut
	zones map[dnsrecord.Name]*zone          // by apex
	apex  map[dnsrecord.Name]dnsrecord.Name // of names that were looked up
}

// walk is one use of the resolver: its budget and how deep it is nested.
type walk struct {
	*resolver
	budget *budget
	depth  int
}

func newResolver(c *client, o Options) *resolver {
	return &resolver{
		client: c, roots: o.Roots, port: o.Port, now: o.Now,
		cuts: map[dnsrecord.Name]*cut{}, zones: map[dnsrecord.Name]*zone{}, apex: map[dnsrecord.Name]dnsrecord.Name{},
	}
}

func (r *resolver) walk() walk { return walk{r, newBudget(), 0} }

// forget drops what is known about the zones above name, so that the next walk
// asks their parents again. The root and the top-level zones stay.
func (r *resolver) forget(name dnsrecord.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := name; ; n = n.Parent() {
		if len(n.Labels()) < 2 {
			return
		}
		delete(r.cuts, n)
		delete(r.zones, n)
	}
}

// cached returns the deepest cut at or above name that is still good.
func (r *resolver) cached(name dnsrecord.Name) *cut {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := name; ; n = n.Parent() {
		if c := r.cuts[n]; c != nil && r.now().Before(c.expires) {
			return c
		}
		if n.IsRoot() {
			return nil
		}
	}
}

func (r *resolver) keep(c *cut) {
	r.mu.Lock()
	defer r.mu.Unlock()
	makeRoom(r.cuts, maxZones)
	r.cuts[c.apex] = c
}

// makeRoom drops any entry of a full map: with what it knows, the next walk is one question shorter, no more.
func makeRoom[K comparable, V any](m map[K]V, limit int) {
	for key := range m {
		if len(m) < limit {
			return
		}
		delete(m, key)
	}
}

// age is how long a zone's servers are kept: as their TTL says, between bounds
// that let a change of servers be seen soon.
func age(apex dnsrecord.Name, ttl uint32) time.Duration {
	highest := maxZoneAge
	if len(apex.Labels()) < 2 {
		highest = maxTopAge
	}
	return min(max(time.Duration(min(ttl, maxTTL))*time.Second, minZoneAge), highest)
}

// root is the root zone, its servers brought up to date by asking one of the
// hints (priming, RFC 9609).
func (w walk) root(ctx context.Context) (*cut, error) {
	hints := &cut{}
	for _, addr := range w.roots {
		hints.servers = append(hints.servers, Server{Addr: addr})
	}
	r, _, err := w.askAny(ctx, hints, question{name: "", rrtype: dns.TypeNS})
	if err != nil {
		return nil, fmt.Errorf("no root server can be asked: %w", err)
	}
	d := delegation{ttl: maxTTL, glue: map[dnsrecord.Name][]netip.Addr{}}
	for _, rr := range bounded(r.Answer) {
		if ns, ok := rr.(*dns.NS); ok && ns.Hdr.Name == "." {
			d.addName(ns.Ns)
			d.ttl = min(d.ttl, ns.Hdr.Ttl)
		}
	}
	d.readGlue(r, "")
	root := &cut{names: d.names, expires: w.now().Add(age("", d.ttl))}
	root.servers = w.servers(d)
	if len(root.servers) == 0 {
		root.servers = hints.servers
	}
	w.keep(root)
	return root, nil
}

// servers are the addresses that a delegation's glue gives.
func (w walk) servers(d delegation) []Server {
	var out []Server
	for _, name := range d.names {
		out = addServers(out, name, d.glue[name], w.port)
	}
	return out
}

// addServers adds a name server's addresses that are not there yet.
func addServers(to []Server, name dnsrecord.Name, addrs []netip.Addr, port uint16) []Server {
	for _, addr := range addrs {
		s := Server{Name: name, Addr: netip.AddrPortFrom(addr, port)}
		if len(to) < maxServers && !slices.ContainsFunc(to, func(o Server) bool { return o.Addr == s.Addr }) {
			to = append(to, s)
		}
	}
	return to
}

// failures are what several servers had to say instead of an answer.
type failures struct{ lines []string }

func (f *failures) add(s Server, detail string) { f.lines = append(f.lines, s.String()+" "+detail) }

func (f *failures) Error() string { return list(f.lines) }

var errNobody = errors.New("no address of a server is known that could be asked")

// askAny asks the servers of a zone in random order until one gives an answer
// that can be used: with authority, or a referral to a zone below.
func (w walk) askAny(ctx context.Context, c *cut, q question) (*dns.Msg, Server, error) {
	failed := &failures{}
	tries := 0
	for _, i := range rand.Perm(len(c.servers)) { //nolint:gosec // which server is asked is no secret
		s := c.servers[i]
		r, err := w.client.ask(ctx, w.budget, s.Addr, q)
		switch {
		case ctx.Err() != nil:
			return nil, s, ctx.Err()
		case errors.Is(err, errExhausts):
			return nil, s, err
		case errors.Is(err, errNoRoute):
			continue
		case err != nil:
			failed.add(s, err.Error())
		default:
			detail := unusable(r)
			if _, refers := readReferral(r, c.apex, q.name); detail == "" || refers && r.Rcode == dns.RcodeSuccess && !r.Truncated {
				return r, s, nil
			}
			failed.add(s, detail)
		}
		if tries++; tries >= maxTries {
			break
		}
	}
	if len(failed.lines) == 0 {
		return nil, Server{}, errNobody
	}
	return nil, Server{}, failed
}

// find walks to the zone that name is in.
func (w walk) find(ctx context.Context, name dnsrecord.Name) (*cut, error) {
	c := w.cached(name)
	if c == nil {
		var err error
		if c, err = w.root(ctx); err != nil {
			return nil, err
		}
	}
	ask := name
	for range maxReferrals {
		r, from, err := w.askAny(ctx, c, question{name: ask, rrtype: dns.TypeSOA})
		if err != nil {
			return nil, fmt.Errorf("the servers of %s: %w", c.apex, err)
		}
		if d, ok := readReferral(r, c.apex, ask); ok && len(r.Answer) == 0 {
			if c, err = w.enter(ctx, c, d); err != nil {
				return nil, err
			}
			ask = name
			continue
		}
		apex, ok := readApex(r, ask, c.apex)
		switch {
		case ok && apex == c.apex:
			return c, nil
		case ok:
			c = &cut{apex: apex, parent: c, servers: []Server{from}, expires: w.now().Add(minZoneAge)}
			return w.shared(ctx, c)
		case ask == c.apex:
			return nil, fmt.Errorf("%s: %w", from, errNoSOA)
		default: // an alias stands at the name: the zone is found from the name above
			ask = ask.Parent()
		}
	}
	return nil, fmt.Errorf("the way to %s has more than %d referrals", name, maxReferrals)
}

var errNoSOA = errors.New("answers with authority, but knows no SOA record")

// readApex reads whose SOA an authoritative reply holds: in the answer, or, if
// there is none, in the authority section (RFC 2308 §2).
func readApex(r *dns.Msg, asked, within dnsrecord.Name) (dnsrecord.Name, bool) {
	section := r.Ns
	if len(r.Answer) > 0 {
		section = r.Answer
	}
	for _, rr := range bounded(section) {
		soa, ok := rr.(*dns.SOA)
		if !ok {
			continue
		}
		owner, err := canonicalName(soa.Hdr.Name)
		if err == nil && asked.In(owner) && owner.In(within) {
			return owner, true
		}
	}
	return "", false
}

// enter follows a referral. Servers without glue are looked up.
func (w walk) enter(ctx context.Context, parent *cut, d delegation) (*cut, error) {
	c := &cut{
		apex: d.zone, parent: parent, names: d.names, referred: true, ttl: d.ttl,
		servers: w.servers(d), expires: w.now().Add(age(d.zone, d.ttl)),
	}
	failed := []string{}
	for _, name := range d.names {
		if len(d.glue[name]) > 0 {
			continue
		}
		addrs, err := w.addresses(ctx, name)
		if ctx.Err() != nil || errors.Is(err, errExhausts) {
			return nil, err
		}
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
		c.servers = addServers(c.servers, name, addrs, w.port)
	}
	if len(c.servers) == 0 {
		return nil, fmt.Errorf("no name server of %s has an address: %s", d.zone, list(failed))
	}
	w.keep(c)
	return c, nil
}

// shared completes a zone that answers on its parent's servers.
func (w walk) shared(ctx context.Context, c *cut) (*cut, error) {
	r, _, err := w.askAny(ctx, c, question{name: c.apex, rrtype: dns.TypeNS})
	if err != nil {
		return nil, err
	}
	names, ttl := readNames(r, c.apex)
	c.names, c.ttl = names, ttl
	for _, name := range names {
		addrs, err := w.addressesAt(ctx, c, name)
		if err != nil && (ctx.Err() != nil || errors.Is(err, errExhausts)) {
			return nil, err
		}
		c.servers = addServers(c.servers, name, addrs, w.port)
	}
	c.expires = w.now().Add(age(c.apex, ttl))
	w.keep(c)
	return c, nil
}

// readNames reads the NS set at an apex.
func readNames(r *dns.Msg, apex dnsrecord.Name) ([]dnsrecord.Name, uint32) {
	d := delegation{ttl: maxTTL}
	for _, rr := range bounded(r.Answer) {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		if owner, err := canonicalName(ns.Hdr.Name); err == nil && owner == apex {
			d.addName(ns.Ns)
			d.ttl = min(d.ttl, ns.Hdr.Ttl)
		}
	}
	slices.Sort(d.names)
	return d.names, d.ttl
}

var errTooDeep = errors.New("name servers whose own names lead to ever more name servers")

// addresses looks a name server's addresses up, by a walk of its own.
func (w walk) addresses(ctx context.Context, host dnsrecord.Name) ([]netip.Addr, error) {
	if w.depth++; w.depth > maxDepth {
		return nil, errTooDeep
	}
	c, err := w.find(ctx, host)
	if err != nil {
		return nil, err
	}
	return w.askAddresses(ctx, c, host)
}

// addressesAt is addresses for a server of zone c: if its name is in the zone,
// the zone's servers know.
func (w walk) addressesAt(ctx context.Context, c *cut, host dnsrecord.Name) ([]netip.Addr, error) {
	if host.In(c.apex) {
		addrs, err := w.askAddresses(ctx, c, host)
		if err == nil {
			return addrs, nil
		}
	}
	return w.addresses(ctx, host)
}

func (w walk) askAddresses(ctx context.Context, c *cut, host dnsrecord.Name) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, rrtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r, _, err := w.askAny(ctx, c, question{name: host, rrtype: rrtype})
		if err != nil {
			return out, err
		}
		for _, rr := range bounded(r.Answer) {
			owner, err := canonicalName(rr.Header().Name)
			if addr, ok := address(rr); ok && err == nil && owner == host && len(out) < maxNames {
				out = append(out, addr)
			}
		}
	}
	if len(out) == 0 {
		return nil, errNoAddress
	}
	return out, nil
}

var errNoAddress = errors.New("has no address")

// isUnderscored says that a zone is delegated at or below an underscored name,
// as _domainkey.example.org is: such a delegation is as new as the records in
// it, while that of example.org is as old as the domain.
func isUnderscored(apex dnsrecord.Name) bool {
	return slices.ContainsFunc(apex.Labels(), func(l string) bool { return strings.HasPrefix(l, "_") })
}
