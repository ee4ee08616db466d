// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

const (
	testSecret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE="
	testZone   = `
@            300  TXT   "v=spf1 -all" "" "x"
@            300  TXT   "docs=1"
cut          300  TXT   "v=DK" "IM1; p=" "a"
alias        60   CNAME target
old          60   DNAME new
sub          300  NS    ns1.sub
ns1.sub      300  A     192.0.2.53
*.wild       120  TXT   "from the wildcard"
same.wild    120  TXT   "from the wildcard"
*.star       120  CNAME target
big          60   TXT   "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789" "0123456789012345678901234567890123456789"
`
)

// front stands before the name server of the tests: it signs answers to signed
// queries, as BIND, Knot and PowerDNS do, and lets a test reach in between.
type front struct {
	inner   *nameserver.Server
	zone    *nameserver.Zone
	address string

	one    sync.Mutex // one message at a time
	mu     sync.Mutex
	before func(req *dns.Msg)
	change func(req, reply *dns.Msg)
	sizes  []int // of the updates
}

func startFront(t *testing.T) *front {
	t.Helper()
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{
		Keys: []nameserver.Key{{Name: "op", Secret: testSecret, Allow: func(name string, rrtype uint16) bool {
			return rrtype == dns.TypeTXT && name != "forbidden.example.org."
		}}},
		Sites: []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: testZone}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	f := &front{inner: world.Server("127.0.0.3"), zone: world.Zone("example.org")}
	udp, tcp := listenBoth(t)
	f.address = udp.LocalAddr().String()
	for _, s := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		s.Handler = f
		s.TsigSecret = map[string]string{"op.": testSecret}
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(ended); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	}
	return f
}

// listenBoth finds a port that is free for UDP and TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var err error
	for range 64 {
		var udp net.PacketConn
		udp, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			continue
		}
		var tcp net.Listener
		if tcp, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp
		}
		_ = udp.Close()
	}
	t.Fatal(err)
	return nil, nil
}

func (f *front) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	f.mu.Lock()
	before, change := f.before, f.change
	if req.Opcode == dns.OpcodeUpdate {
		f.sizes = append(f.sizes, req.Len())
	}
	f.mu.Unlock()
	if before != nil {
		before(req)
	}
	f.one.Lock()
	defer f.one.Unlock()
	f.inner.ServeDNS(&signer{ResponseWriter: w, req: req, change: change}, req)
}

func (f *front) set(before func(*dns.Msg), change func(req, reply *dns.Msg)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.change = before, change
}

func (f *front) updates() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	sizes := f.sizes
	f.sizes = nil
	return sizes
}

type signer struct {
	dns.ResponseWriter
	req    *dns.Msg
	change func(req, reply *dns.Msg)
}

func (s *signer) WriteMsg(m *dns.Msg) error {
	if t := s.req.IsTsig(); t != nil && m.IsTsig() == nil {
		m.SetTsig(t.Hdr.Name, t.Algorithm, t.Fudge, time.Now().Unix()) //nolint:forbidigo // TSIG compares with the real clock
		if s.TsigStatus() != nil {
			m.Rcode, m.Answer = dns.RcodeNotAuth, nil
			m.IsTsig().Error = dns.RcodeBadSig
		}
	}
	if s.change != nil {
		s.change(s.req, m)
	}
	return s.ResponseWriter.WriteMsg(m)
}

// open is what the DNSProvider controller does.
func (f *front) open(t *testing.T, edit func(*v1alpha1.RFC2136)) *Account {
	t.Helper()
	spec := v1alpha1.RFC2136{Server: f.address, TSIG: &v1alpha1.TSIG{KeyName: "op", SecretRef: v1alpha1.SecretKeyRef{Name: "tsig", Key: "secret"}}}
	secret := testSecret
	if edit != nil {
		edit(&spec)
	}
	account, err := Open(t.Context(), v1alpha1.DNSProviderSpec{RFC2136: &spec}, OpenOptions{
		Now: time.Now, //nolint:forbidigo // TSIG compares with the real clock
		Secrets: func(_ context.Context, ref v1alpha1.SecretKeyRef) ([]byte, error) {
			if ref.Key == "other" {
				return []byte("b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMzI="), nil
			}
			return []byte(secret + "\n"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	driver, ok := account.Driver.(*rfc2136)
	if !ok {
		t.Fatalf("driver %T", account.Driver)
	}
	driver.udpTimeout, driver.tcpTimeout = 500*time.Millisecond, 2*time.Second
	return account
}
