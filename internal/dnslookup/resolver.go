// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnslookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config is what a Resolver needs. All of it must be set.
type Config struct {
	// Servers are recursive resolvers, asked in their order.
	Servers []netip.AddrPort
	// Timeout is how long one resolver may take for one question.
	Timeout time.Duration
	// MaxEntries and MaxOctets bound what is remembered.
	MaxEntries, MaxOctets int
	// MaxInFlight bounds how many questions are on their way at a time; one more waits.
	MaxInFlight int

	Now func() time.Time
}

const tries = 2 // of each resolver

// Resolver looks names up, as *net.Resolver does; its errors are *net.DNSError.
type Resolver struct {
	cfg   Config
	cache *cache
	slots chan struct{}

	mu      sync.Mutex
	flights map[question]*flight

	hits, misses, failures atomic.Uint64
}

// flight is a question on its way, for all who want to know.
type flight struct {
	done   chan struct{}
	answer answer
}

// New makes a resolver that remembers nothing yet.
func New(cfg Config) *Resolver {
	return &Resolver{
		cfg: cfg, cache: newCache(cfg.MaxEntries, cfg.MaxOctets), slots: make(chan struct{}, cfg.MaxInFlight),
		flights: map[question]*flight{},
	}
}

// SystemServers reads the resolvers that a file such as /etc/resolv.conf names.
func SystemServers(path string) ([]netip.AddrPort, error) {
	config, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, err
	}
	var servers []netip.AddrPort
	for _, text := range config.Servers {
		server, err := netip.ParseAddrPort(net.JoinHostPort(text, config.Port))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no address of a resolver", path, text)
		}
		servers = append(servers, server)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s names no resolver", path)
	}
	return servers, nil
}

// LookupTXT returns the TXT records at a name as logical values.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := r.lookup(ctx, question{name: name, rrtype: dns.TypeTXT})
	return a.texts, a.problem(name)
}

// LookupMX returns the MX records at a name.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := r.lookup(ctx, question{name: name, rrtype: dns.TypeMX})
	return a.hosts, a.problem(name)
}

// LookupIPAddr returns the addresses of a host, those of IPv4 first. It fails if either family cannot be asked for.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	var out []net.IPAddr
	var missing error
	for _, rrtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		a := r.lookup(ctx, question{name: host, rrtype: rrtype})
		if a.err != nil && !errors.Is(a.err, errNotThere) {
			return nil, a.problem(host)
		}
		missing = a.problem(host)
		for _, addr := range a.addrs {
			out = append(out, net.IPAddr{IP: addr.AsSlice()})
		}
	}
	if len(out) == 0 {
		return nil, missing
	}
	return out, nil
}

// LookupAddr returns the names of an address.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "no address", Name: addr, IsNotFound: true}
	}
	a := r.lookup(ctx, question{name: name, rrtype: dns.TypePTR})
	return a.names, a.problem(addr)
}

// Exists tells whether a name is there, with records or without. It asks for proof, since by that alone some servers say
// that it is not; for the shortest of records, since any type will do.
func (r *Resolver) Exists(ctx context.Context, name string) (bool, error) {
	a := r.lookup(ctx, question{name: name, rrtype: dns.TypeMX, dnssec: true})
	if errors.Is(a.err, errNotThere) {
		return !a.noName, nil
	}
	return a.err == nil, a.problem(name)
}

// problem is the error of an answer as callers of *net.Resolver know it.
func (a *answer) problem(name string) error {
	switch {
	case a.err == nil:
		return nil
	case errors.Is(a.err, errNotThere):
		return &net.DNSError{Err: errNotThere.Error(), Name: name, IsNotFound: true, UnwrapErr: a.err}
	}
	timeout := errors.Is(a.err, errSilent) || errors.Is(a.err, context.DeadlineExceeded)
	return &net.DNSError{Err: a.err.Error(), Name: name, IsTimeout: timeout, IsTemporary: true, UnwrapErr: a.err}
}

// lookup answers from memory, or joins whoever asks the same now, or asks.
func (r *Resolver) lookup(ctx context.Context, asked question) answer {
	q, ok := asked.absolute()
	if !ok { // It cannot stand in the DNS, or only a hostile name would.
		return answer{err: errNotThere, noName: true}
	}
	for {
		if a, found := r.cache.get(q, r.cfg.Now()); found {
			r.hits.Add(1)
			return a
		}
		f, mine := r.board(q)
		if mine {
			return r.fly(ctx, q, f)
		}
		select {
		case <-ctx.Done():
			return answer{err: ctx.Err()}
		case <-f.done:
		}
		if !isPatience(f.answer.err) {
			return f.answer
		}
		// Who asked gave up; we have patience of our own.
		if ctx.Err() != nil {
			return answer{err: ctx.Err()}
		}
	}
}

func isPatience(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// board finds the flight of a question; mine says that there was none.
func (r *Resolver) board(q question) (f *flight, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, under := r.flights[q]; under {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	r.flights[q] = f
	return f, true
}

// fly asks, remembers the answer and tells whoever waits.
func (r *Resolver) fly(ctx context.Context, q question, f *flight) answer {
	f.answer = answer{err: context.Canceled} // what others see if this ends by a panic
	defer func() {
		r.mu.Lock()
		delete(r.flights, q)
		r.mu.Unlock()
		close(f.done)
	}()
	if a, found := r.cache.get(q, r.cfg.Now()); found { // another flight has landed since we looked
		r.hits.Add(1)
		f.answer = a
		return f.answer
	}
	select {
	case <-ctx.Done():
		f.answer = answer{err: ctx.Err()}
		return f.answer
	case r.slots <- struct{}{}:
	}
	defer func() { <-r.slots }()
	r.misses.Add(1)
	f.answer = r.exchange(ctx, q)
	if f.answer.err != nil && !errors.Is(f.answer.err, errNotThere) {
		r.failures.Add(1)
	}
	r.cache.put(q, f.answer, r.cfg.Now())
	return f.answer
}

// absolute is a question in the form in which it is asked and remembered; false for a name that is none, or has octets that
// no name in mail has.
func (q question) absolute() (question, bool) {
	q.name = strings.ToLower(dns.Fqdn(q.name))
	if strings.IndexFunc(q.name, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' || c == '"' }) >= 0 {
		return question{}, false
	}
	_, ok := dns.IsDomainName(q.name)
	return q, ok && q.name != "."
}

// Stats are counts since the start, and what is remembered now.
type Stats struct {
	Hits, Misses, Failures uint64
	Entries, Octets        int
}

// Stats tells how the resolver does.
func (r *Resolver) Stats() Stats {
	s := Stats{Hits: r.hits.Load(), Misses: r.misses.Load(), Failures: r.failures.Load()}
	s.Entries, s.Octets = r.cache.held()
	return s
}
