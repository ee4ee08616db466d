// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace holds questions back: so many a second altogether and to each address,
// and none for a while to an address that did not answer.
type pace struct {
	now     func() time.Time
	after   func(time.Duration) <-chan time.Time
	all     *rate.Limiter
	perAddr rate.Limit
	rest    time.Duration // the longest time that a silent server is left alone

	mu    sync.Mutex
	addrs map[netip.AddrPort]*courtesy
}

// courtesy is how one address is treated.
type courtesy struct {
	limiter  *rate.Limiter
	failures int
	until    time.Time // not asked before
	err      error     // why
	used     time.Time
	tcpUntil time.Time // UDP brought nothing where TCP did: it is not tried before
}

// maxCourtesies bounds the addresses that are remembered.
const maxCourtesies = 4096

// tcpOnly is how long a server is asked over TCP alone.
const tcpOnly = 10 * time.Minute

// shortestRest is what the first failure costs an address; each further one doubles it.
const shortestRest = time.Second

func newPace(o Options) *pace {
	return &pace{
		now: o.Now, after: o.After, rest: o.RetryMax, addrs: map[netip.AddrPort]*courtesy{},
		all:     rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate))),
		perAddr: rate.Limit(o.ServerRate),
	}
}

// of returns the courtesy for an address; the caller holds the lock.
func (p *pace) of(addr netip.AddrPort) *courtesy {
	now := p.now()
	c, ok := p.addrs[addr]
	if !ok {
		p.forgetSome(now)
		c = &courtesy{limiter: rate.NewLimiter(p.perAddr, max(1, int(p.perAddr)))}
		p.addrs[addr] = c
	}
	c.used = now
	return c
}

func (p *pace) forgetSome(now time.Time) {
	if len(p.addrs) < maxCourtesies {
		return
	}
	for addr, c := range p.addrs {
		if now.Sub(c.used) > time.Minute || len(p.addrs) >= 2*maxCourtesies {
			delete(p.addrs, addr)
		}
	}
}

// wait blocks until the address may be sent another question. The address's own turn comes first: who waits for a busy one
// keeps no question from others.
func (p *pace) wait(ctx context.Context, addr netip.AddrPort) error {
	p.mu.Lock()
	limiter := p.of(addr).limiter
	p.mu.Unlock()
	if err := p.turn(ctx, limiter); err != nil {
		return err
	}
	return p.turn(ctx, p.all)
}

// turn is Limiter.Wait by our clock.
func (p *pace) turn(ctx context.Context, limiter *rate.Limiter) error {
	now := p.now()
	turn := limiter.ReserveN(now, 1)
	delay := turn.DelayFrom(now)
	if delay <= 0 {
		return ctx.Err()
	}
	select {
	case <-p.after(delay):
		return nil
	case <-ctx.Done():
		turn.CancelAt(p.now())
		return ctx.Err()
	}
}

// resting returns the error of the last question while the address is left alone.
func (p *pace) resting(addr netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.of(addr); p.now().Before(c.until) {
		return c.err
	}
	return nil
}

// result notes whether the address answered.
func (p *pace) result(addr netip.AddrPort, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.of(addr)
	if err == nil || errors.Is(err, errExhausts) {
		c.failures, c.until, c.err = 0, time.Time{}, nil
		return
	}
	c.failures++
	rest := p.rest
	if shift := c.failures - 1; shift < 16 {
		rest = min(p.rest, shortestRest<<shift)
	}
	c.until, c.err = p.now().Add(rest), err
}

// networks are the transports to try, in order.
func (p *pace) networks(addr netip.AddrPort) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Before(p.of(addr).tcpUntil) {
		return []string{"tcp", "udp"}
	}
	return []string{"udp", "udp", "tcp"}
}

// avoidUDP notes that TCP brought an answer after UDP brought none.
func (p *pace) avoidUDP(addr netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(addr).tcpUntil = p.now().Add(tcpOnly)
}
