// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

var (
	errSilent   = errors.New("does not answer")
	errClosed   = errors.New("refuses connections on its port")
	errPrivate  = errors.New("is not asked, for its address is not of the public Internet: list it in spec.verification.nameservers of the provider if it shall be")
	errNoRoute  = errors.New("there is no route to this address family")
	errExhausts = errors.New("the zone's delegations ask for too many questions")
)

// ednsSize is the UDP payload we take: what crosses the Internet unfragmented (RFC 9715 §3.1).
const ednsSize = 1232

// maxQuestions bounds the questions of one survey: a chain of delegations that
// leads to ever more name servers ends here.
const maxQuestions = 512

// budget is what a survey may do: so many questions more, to addresses of the public Internet or to any.
type budget struct {
	left  atomic.Int32
	named bool // a person named the servers
}

func newBudget() *budget {
	b := &budget{}
	b.left.Store(maxQuestions)
	return b
}

func (b *budget) spend() error {
	if b.left.Add(-1) < 0 {
		return errExhausts
	}
	return nil
}

// question is what a server is asked.
type question struct {
	name      dnsrecord.Name
	rrtype    uint16
	recursion bool
}

func (q question) message(edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.name.FQDN(), q.rrtype)
	m.RecursionDesired = q.recursion
	if edns {
		m.SetEdns0(ednsSize, true)
	}
	return m
}

// answers says whether r is a reply to q.
func (q question) answers(r *dns.Msg) bool {
	if !r.Response || r.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(r.Question) == 0 {
		return r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError
	}
	return len(r.Question) == 1 && r.Question[0].Qtype == q.rrtype && r.Question[0].Qclass == dns.ClassINET &&
		strings.EqualFold(r.Question[0].Name, q.name.FQDN())
}

// client asks one server one question at a time, and spares servers.
type client struct {
	timeout  time.Duration
	exchange exchange
	hasRoute func(netip.Addr) bool
	pace     *pace
	// private: the DNS that is asked is a private one, as its root servers are.
	private bool
}

// ask sends a question over UDP, twice if need be, and over TCP if the answer
// was truncated or UDP brought none. A server that understands no EDNS is
// asked without.
func (c *client) ask(ctx context.Context, b *budget, addr netip.AddrPort, q question) (*dns.Msg, error) {
	if !c.private && !b.named && !isPublic(addr.Addr()) {
		return nil, errPrivate
	}
	if !c.hasRoute(addr.Addr()) {
		return nil, errNoRoute
	}
	if err := c.pace.resting(addr); err != nil {
		return nil, err
	}
	r, err := c.anyTransport(ctx, b, addr, q)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c.pace.result(addr, err)
	return r, err
}

func (c *client) anyTransport(ctx context.Context, b *budget, addr netip.AddrPort, q question) (*dns.Msg, error) {
	var r *dns.Msg
	var err error
	for i, network := range c.pace.networks(addr) {
		if errors.Is(err, errClosed) && network == "udp" {
			continue
		}
		r, err = c.anyEDNS(ctx, b, network, addr, q)
		if err == nil && r.Truncated && network == "udp" {
			r, err = c.anyEDNS(ctx, b, "tcp", addr, q)
		} else if err == nil && network == "tcp" && i > 0 {
			c.pace.avoidUDP(addr)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errExhausts) {
			return r, err
		}
	}
	return nil, err
}

func (c *client) anyEDNS(ctx context.Context, b *budget, network string, addr netip.AddrPort, q question) (*dns.Msg, error) {
	r, err := c.once(ctx, b, network, addr, q, true)
	if err == nil && (r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented || r.Rcode == dns.RcodeBadVers) {
		return c.once(ctx, b, network, addr, q, false)
	}
	return r, err
}

func (c *client) once(ctx context.Context, b *budget, network string, addr netip.AddrPort, q question, edns bool) (*dns.Msg, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	if err := c.pace.wait(ctx, addr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.exchange(ctx, network, addr, q, q.message(edns))
}

// exchange sends one message to a server and waits for the reply to its question.
type exchange func(ctx context.Context, network string, addr netip.AddrPort, q question, m *dns.Msg) (*dns.Msg, error)

// overNetwork is the exchange with real servers.
func overNetwork(ctx context.Context, network string, addr netip.AddrPort, q question, m *dns.Msg) (*dns.Msg, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr.String())
	if err != nil {
		return nil, phrase(err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	co := &dns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := co.WriteMsg(m); err != nil {
		return nil, phrase(err)
	}
	for {
		r, err := co.ReadMsg()
		switch {
		case err != nil && isNetwork(err):
			return nil, phrase(err)
		case err == nil && r.Id == m.Id && q.answers(r):
			return r, nil
		case network == "tcp" || err != nil && r != nil && r.Id == m.Id:
			return nil, errUnreadable
		}
		// Over UDP anybody may send something else: the right answer can still come.
	}
}

// isNetwork says that err is the connection's, not that of what came over it.
func isNetwork(err error) bool {
	var op net.Error
	return errors.As(err, &op) && !isDNS(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isDNS(err error) bool {
	var de *dns.Error
	return errors.As(err, &de)
}

// phrase turns a network error into stable words.
func phrase(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET):
		return errClosed
	case noRoute(err):
		return fmt.Errorf("cannot be reached: %w", errNoRoute)
	default:
		return errSilent
	}
}

func noRoute(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// isPublic says whether an address may be one of the public Internet. Whoever delegates a zone chooses the addresses that
// are asked: it shall not be those behind our own firewall.
func isPublic(addr netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr)
}

// systemRoute asks the kernel for a route: connecting a UDP socket sends nothing.
func systemRoute(addr netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 53)))
	if err != nil {
		return !noRoute(err)
	}
	_ = conn.Close()
	return true
}
