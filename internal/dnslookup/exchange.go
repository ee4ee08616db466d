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
	"time"

	"github.com/miekg/dns"
)

// ednsSize is the UDP payload that we take: what crosses the Internet unfragmented (RFC 9715 §3.1).
const ednsSize = 1232

// exchange asks the resolvers one after the other, and all of them again where none answered.
func (r *Resolver) exchange(ctx context.Context, q question) answer {
	a := answer{err: errors.New("there is no resolver to ask")}
	for range tries {
		for _, server := range r.cfg.Servers {
			m, err := r.ask(ctx, server, q)
			switch {
			case ctx.Err() != nil: // Our own patience ended: that says nothing about the name.
				return answer{err: ctx.Err()}
			case err != nil:
				a = answer{err: err, ttl: failureTTL}
				continue
			}
			if a = readAnswer(q, m); !isServerError(a.err) {
				return a
			}
		}
	}
	return a
}

// isServerError tells whether another resolver may know more.
func isServerError(err error) bool {
	var e serverError
	return errors.As(err, &e)
}

// ask asks one resolver over UDP, and over TCP for what does not fit.
func (r *Resolver) ask(ctx context.Context, server netip.AddrPort, q question) (*dns.Msg, error) {
	m, err := r.once(ctx, "udp", server, q)
	if err == nil && m.Truncated {
		m, err = r.once(ctx, "tcp", server, q)
		if err == nil && m.Truncated {
			return nil, errUnreadable
		}
	}
	return m, err
}

func (r *Resolver) once(ctx context.Context, network string, server netip.AddrPort, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, phrase(server, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	query := new(dns.Msg)
	query.SetQuestion(q.name, q.rrtype)
	query.SetEdns0(ednsSize, q.dnssec)
	co := &dns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := co.WriteMsg(query); err != nil {
		return nil, phrase(server, err)
	}
	for {
		packet, err := co.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, dns.ErrShortRead) {
			return nil, phrase(server, err)
		}
		m, mine := readReply(query, packet)
		switch {
		case mine && m == nil:
			return nil, errUnreadable
		case mine:
			return m, nil
		case network == "tcp":
			return nil, errUnreadable
		}
		// Over UDP anybody may send something else: the right answer can still come.
	}
}

// readReply reads a packet; mine says that it answers query, and m is nil where it does but cannot be read.
func readReply(query *dns.Msg, packet []byte) (m *dns.Msg, mine bool) {
	m = new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, m.Id == query.Id && m.Response
	}
	if m.Id != query.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, false
	}
	asked := query.Question[0]
	if len(m.Question) == 0 { // Some leave it out where they refuse.
		return m, m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	got := m.Question[0]
	return m, len(m.Question) == 1 && got.Qtype == asked.Qtype && got.Qclass == asked.Qclass && strings.EqualFold(got.Name, asked.Name)
}

// phrase turns a network error into stable words.
func phrase(server netip.AddrPort, err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the resolver %s does not answer: %w", server, errSilent)
	}
	return fmt.Errorf("the resolver %s cannot be reached: %w", server, err)
}

var errSilent = errors.New("no answer in time")
