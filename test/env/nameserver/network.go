// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nameserver runs authoritative DNS servers inside the process, for
// tests and for the demo: a private root, its children, and whatever a test
// wants to go wrong.
//
//	world, err := nameserver.StartWorld(ctx, nameserver.World{
//		Keys:  []nameserver.Key{{Name: "op", Secret: secret}},
//		Sites: []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}}},
//	})
//	// world.Roots() and world.Port() go to the resolver under test,
//	// world.Zone("example.org") is the data, world.Server("127.0.0.4") takes faults.
//
// Answers follow RFC 1034, 2308, 4592 and 6672, updates RFC 2136 with TSIG
// (RFC 8945). Nothing is signed with DNSSEC: a zone may hold NSEC, NSEC3 and
// RRSIG records as data, and they are served where they belong.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Network is a set of name servers that share one port.
type Network struct {
	port    uint16
	servers []*Server
	zones   map[string]*Zone
	keys    keyring

	stop    context.CancelFunc
	running sync.WaitGroup
}

// Config describes a Network.
type Config struct {
	// Port is the common port, UDP and TCP; 0 picks one that is free on every address.
	Port    uint16
	Keys    []Key
	Servers []ServerConfig
}

// ServerConfig describes one server.
type ServerConfig struct {
	// Addr is the address to listen on, for example 127.0.0.3 or ::1.
	Addr string
	// Primary are the zones that take updates here; Secondary answers the same
	// data, but refuses updates and can lag.
	Primary   []*Zone
	Secondary []*Zone
}

// Start listens and answers until ctx ends or Close.
func Start(ctx context.Context, config Config) (*Network, error) {
	keys, err := newKeyring(config.Keys)
	if err != nil {
		return nil, err
	}
	n := &Network{zones: map[string]*Zone{}, keys: keys}
	ctx, n.stop = context.WithCancel(ctx)
	for _, c := range config.Servers {
		addr, err := netip.ParseAddr(c.Addr)
		if err != nil {
			n.stop()
			return nil, fmt.Errorf("name server address: %w", err)
		}
		s := &Server{addr: addr, ctx: ctx, keys: keys, hosted: map[string]*hosted{}, queries: map[setKey]int{}, changes: map[setKey]int{}}
		for _, z := range c.Primary {
			s.hosted[z.origin] = &hosted{zone: z, primary: true}
			n.zones[z.origin] = z
		}
		for _, z := range c.Secondary {
			s.hosted[z.origin] = &hosted{zone: z}
			n.zones[z.origin] = z
		}
		n.servers = append(n.servers, s)
	}
	if err := n.listen(ctx, config.Port); err != nil {
		n.stop()
		return nil, err
	}
	n.serve(ctx)
	return n, nil
}

// listen binds every server to one port; a port that is taken on any address
// is given up for another.
func (n *Network) listen(ctx context.Context, port uint16) error {
	const tries = 64
	var err error
	for range tries {
		var got uint16
		if got, err = n.listenOn(ctx, port); err == nil {
			n.port = got
			return nil
		}
		for _, s := range n.servers {
			s.unlisten()
		}
		if port != 0 {
			break
		}
	}
	return fmt.Errorf("no port is free for UDP and TCP on every name server address: %w", err)
}

func (n *Network) listenOn(ctx context.Context, port uint16) (uint16, error) {
	var lc net.ListenConfig
	for _, s := range n.servers {
		// TCP first: the system picks from the same range, and UDP ports are seldom taken.
		l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(s.addr, port).String())
		if err != nil {
			return 0, err
		}
		s.listener = l
		bound, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil {
			return 0, err
		}
		port = bound.Port()
		if s.packets, err = lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(s.addr, port).String()); err != nil {
			return 0, err
		}
		s.port = port
	}
	return port, nil
}

func (s *Server) unlisten() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.packets != nil {
		_ = s.packets.Close()
	}
	s.listener, s.packets = nil, nil
}

func (n *Network) serve(ctx context.Context) {
	var started sync.WaitGroup
	var stops []func() error
	for _, s := range n.servers {
		for _, d := range []*dns.Server{{Listener: s.listener}, {PacketConn: s.packets}} {
			d.Handler, d.TsigProvider, d.MsgAcceptFunc, d.UDPSize = s, s.keys, accept, dns.MaxMsgSize
			d.IdleTimeout = func() time.Duration { return time.Second }
			started.Add(1)
			d.NotifyStartedFunc = started.Done
			stops = append(stops, d.Shutdown)
			n.running.Go(func() { _ = d.ActivateAndServe() })
		}
	}
	started.Wait()
	n.running.Go(func() {
		<-ctx.Done()
		for _, stop := range stops {
			_ = stop()
		}
	})
}

// accept lets UPDATE in, which the library's default refuses.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	if h.Bits&response != 0 {
		return dns.MsgIgnore
	}
	switch opcode := int(h.Bits>>11) & 0xF; {
	case opcode != dns.OpcodeQuery && opcode != dns.OpcodeUpdate:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1:
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// Close stops every server and waits for them.
func (n *Network) Close() {
	n.stop()
	n.running.Wait()
}

// Port is the port that all servers share.
func (n *Network) Port() uint16 { return n.port }

// Server is the server on an address; nil when there is none.
func (n *Network) Server(addr string) *Server {
	i := slices.IndexFunc(n.servers, func(s *Server) bool { return s.addr.String() == addr })
	if i < 0 {
		return nil
	}
	return n.servers[i]
}

// Servers are all servers in the order they were configured.
func (n *Network) Servers() []*Server { return slices.Clone(n.servers) }

// Zone is a zone's data; nil when no server has it.
func (n *Network) Zone(origin string) *Zone { return n.zones[dns.CanonicalName(origin)] }

// Exchange asks a server over UDP, then TCP when the answer was truncated: a
// convenience for tests and the demo.
func (n *Network) Exchange(ctx context.Context, addr, name string, rrtype uint16) (*dns.Msg, error) {
	server := n.Server(addr)
	if server == nil {
		return nil, fmt.Errorf("no name server listens on %s", addr)
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), rrtype)
	m.SetEdns0(1232, false)
	reply, _, err := (&dns.Client{}).ExchangeContext(ctx, m, server.AddrPort().String())
	if err == nil && reply.Truncated {
		reply, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, m, server.AddrPort().String())
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", addr, name, err)
	}
	return reply, nil
}

var errNoSite = errors.New("a site needs a zone and at least one address")
