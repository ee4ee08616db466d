// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Server is one name server: an address, the zones it has, and its faults.
type Server struct {
	addr     netip.Addr
	port     uint16
	ctx      context.Context //nolint:containedctx // dns.Handler has no context; this one is the server's life
	keys     keyring
	listener net.Listener
	packets  net.PacketConn

	mu      sync.Mutex
	hosted  map[string]*hosted
	faults  Faults
	queries map[setKey]int
	changes map[setKey]int
	updates int
	signed  int
}

// hosted is a zone as one server has it.
type hosted struct {
	zone    *Zone
	primary bool
	frozen  *version // what the server goes on answering, while it lags
}

// Faults is what goes wrong at one server; the zero value is a sound server.
type Faults struct {
	// Drop leaves queries and updates unanswered; DropUDP and DropTCP only over that transport.
	Drop, DropUDP, DropTCP bool
	// Rcode other than 0 answers every query: dns.RcodeServerFailure, dns.RcodeRefused, …
	Rcode int
	// NoEDNS answers FORMERR to every query with an OPT record, as old servers do.
	NoEDNS bool
	// Lame answers without authority (AA clear).
	Lame bool
	// Truncate cuts every answer over UDP down to the header.
	Truncate bool
	// Delay holds every answer back.
	Delay time.Duration
	// Lag answers the state of that many changes ago.
	Lag int
	// Lie may change the answer to a query, or return another; nil sends nothing.
	Lie func(request, answer *dns.Msg) *dns.Msg
	// UpdateRcode other than 0 answers every update, which is not carried out.
	UpdateRcode int
	// LoseUpdateReply carries updates out, but never says so.
	LoseUpdateReply bool
}

// SetFaults replaces the server's faults.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Freeze makes the server go on answering what its zones hold now, until Release.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosted {
		h.frozen = h.zone.current()
	}
}

// Release ends Freeze.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosted {
		h.frozen = nil
	}
}

// Host adds a zone to the server while it runs; Unhost takes it away.
func (s *Server) Host(z *Zone, primary bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosted[z.origin] = &hosted{zone: z, primary: primary}
}

// Unhost removes a zone from the server, which refuses queries for it from then on.
func (s *Server) Unhost(origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hosted, dns.CanonicalName(origin))
}

// AddrPort is where the server listens, UDP and TCP.
func (s *Server) AddrPort() netip.AddrPort { return netip.AddrPortFrom(s.addr, s.port) }

// Queries counts the queries received for a name and type; an empty name or
// dns.TypeANY counts every one.
func (s *Server) Queries(name string, rrtype uint16) int { return s.count(s.queries, name, rrtype) }

// Updates counts the update messages received, refused ones included.
func (s *Server) Updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

// SignedQueries counts the queries that were signed with a TSIG key: who may update reads so, and nobody else.
func (s *Server) SignedQueries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signed
}

// Changes counts the changes for a name and type in updates that were carried
// out; an empty name or dns.TypeANY counts every one.
func (s *Server) Changes(name string, rrtype uint16) int { return s.count(s.changes, name, rrtype) }

func (s *Server) count(counts map[setKey]int, name string, rrtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for k, n := range counts {
		if (name == "" || k.name == dns.CanonicalName(name)) && (rrtype == dns.TypeANY || k.rrtype == rrtype) {
			total += n
		}
	}
	return total
}

// ResetCounts sets all counters to 0.
func (s *Server) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.queries)
	clear(s.changes)
	s.updates, s.signed = 0, 0
}

// ServeDNS answers one message.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	f := s.note(req)
	if f.Drop || f.DropTCP && tcp || f.DropUDP && !tcp || !s.wait(f.Delay) {
		return
	}
	reply := s.reply(req, f, w.TsigStatus(), tcp)
	if reply == nil {
		return
	}
	if t := req.IsTsig(); t != nil { // whoever signs gets a signed reply (RFC 8945 §5.3)
		sign(reply, t, w.TsigStatus())
	}
	_ = w.WriteMsg(reply)
}

// note counts a message and returns the faults that apply to it.
func (s *Server) note(req *dns.Msg) Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Opcode == dns.OpcodeUpdate {
		s.updates++
	} else {
		s.queries[setKey{dns.CanonicalName(req.Question[0].Name), req.Question[0].Qtype}]++
		if req.IsTsig() != nil {
			s.signed++
		}
	}
	return s.faults
}

// wait returns false when the server ended meanwhile.
func (s *Server) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) reply(req *dns.Msg, f Faults, tsig error, tcp bool) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(req)
	reply.Compress = true
	if req.IsTsig() != nil && tsig != nil {
		reply.Rcode = dns.RcodeNotAuth
		return reply
	}
	if req.Opcode == dns.OpcodeUpdate {
		reply.Rcode = s.update(req, f)
		if f.LoseUpdateReply {
			return nil
		}
		return reply
	}
	opt := req.IsEdns0()
	if f.NoEDNS && opt != nil {
		reply.Rcode = dns.RcodeFormatError
		return reply
	}
	s.query(req, reply, f)
	if f.Lame {
		reply.Authoritative = false
	}
	if f.Lie != nil {
		if reply = f.Lie(req, reply); reply == nil {
			return nil
		}
	}
	fit(reply, opt, tcp)
	if f.Truncate && !tcp {
		reply.Truncated = true
		reply.Answer, reply.Ns, reply.Extra = nil, nil, nil
	}
	return reply
}

// fit adds our OPT record and cuts the reply to what the asker can take.
func fit(reply *dns.Msg, opt *dns.OPT, tcp bool) {
	size := dns.MinMsgSize
	if opt != nil {
		reply.SetEdns0(1232, opt.Do())
		size = max(size, min(int(opt.UDPSize()), 1232))
		if opt.Version() != 0 {
			reply.Rcode = dns.RcodeBadVers
			reply.Answer, reply.Ns = nil, nil
		}
	}
	if tcp {
		size = dns.MaxMsgSize
	}
	reply.Truncate(size)
}

func (s *Server) query(req, reply *dns.Msg, f Faults) {
	q := req.Question[0]
	if f.Rcode != 0 {
		reply.Rcode = f.Rcode
		return
	}
	if q.Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
		return
	}
	v := s.find(dns.CanonicalName(q.Name), q.Qtype, f.Lag)
	if v == nil {
		reply.Rcode = dns.RcodeRefused
		return
	}
	opt := req.IsEdns0()
	v.lookup(reply, opt != nil && opt.Do())
}

// find returns the data of the closest zone that the server has above name; a
// question for DS at an apex belongs to the parent (RFC 4035 §3.1.4.1).
func (s *Server) find(name string, qtype uint16, lag int) *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *hosted
	for origin, h := range s.hosted {
		if !dns.IsSubDomain(origin, name) || qtype == dns.TypeDS && origin == name && name != "." {
			continue
		}
		if best == nil || dns.CountLabel(origin) > dns.CountLabel(best.zone.origin) {
			best = h
		}
	}
	switch {
	case best == nil:
		return nil
	case best.frozen != nil:
		return best.frozen
	default:
		return best.zone.ago(lag)
	}
}

func (s *Server) update(req *dns.Msg, f Faults) int {
	t := req.IsTsig()
	q := req.Question[0]
	s.mu.Lock()
	h := s.hosted[dns.CanonicalName(q.Name)]
	s.mu.Unlock()
	switch {
	case f.UpdateRcode != 0:
		return f.UpdateRcode
	case q.Qtype != dns.TypeSOA:
		return dns.RcodeFormatError
	case h == nil:
		return dns.RcodeNotAuth
	case t == nil || !h.primary: // nothing is updated unsigned, nor forwarded by a secondary
		return dns.RcodeRefused
	}
	key := s.keys[dns.CanonicalName(t.Hdr.Name)]
	rcode := h.zone.update(req, key)
	if rcode == dns.RcodeSuccess {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, rr := range req.Ns {
			s.changes[setKey{dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype}]++
		}
	}
	return rcode
}
