// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnslookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a resolver in this process, over UDP and TCP. It counts the questions by name and type.
type server struct {
	addr  netip.AddrPort
	mu    sync.Mutex
	asked map[string]int
}

func (s *server) count(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[question]
}

// serve answers with what handle writes into the reply; false: not at all.
func serve(tb testing.TB, handle func(network string, q dns.Question, m *dns.Msg) bool) *server {
	tb.Helper()
	packets, stream := listenBoth(tb)
	s := &server{addr: netip.MustParseAddrPort(packets.LocalAddr().String()), asked: map[string]int{}}
	for network, server := range map[string]*dns.Server{"udp": {PacketConn: packets}, "tcp": {Listener: stream}} {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
			q := query.Question[0]
			s.mu.Lock()
			s.asked[strings.ToLower(q.Name)+" "+dns.TypeToString[q.Qtype]]++
			s.mu.Unlock()
			m := new(dns.Msg)
			m.SetReply(query)
			m.RecursionAvailable = true
			if opt := query.IsEdns0(); opt != nil {
				m.SetEdns0(opt.UDPSize(), opt.Do())
			}
			if handle(network, q, m) {
				_ = w.WriteMsg(m)
			}
		})
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.ActivateAndServe()
		}()
		<-up
		tb.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return s
}

// listenBoth finds a port that is free for UDP and TCP.
func listenBoth(tb testing.TB) (net.PacketConn, net.Listener) {
	tb.Helper()
	var lc net.ListenConfig
	var err error
	for range 64 {
		packets, udpErr := lc.ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
		if udpErr != nil {
			tb.Fatal(udpErr)
		}
		var stream net.Listener
		if stream, err = lc.Listen(tb.Context(), "tcp", packets.LocalAddr().String()); err == nil {
			return packets, stream
		}
		_ = packets.Close() // Somebody has that port for TCP.
	}
	tb.Fatal(err)
	return nil, nil
}

// holding answers from records as in a zone file; TTLs are given there.
func holding(tb testing.TB, records string) func(string, dns.Question, *dns.Msg) bool {
	tb.Helper()
	var all []dns.RR
	p := dns.NewZoneParser(strings.NewReader(records), ".", "")
	for rr, more := p.Next(); more; rr, more = p.Next() {
		all = append(all, rr)
	}
	if err := p.Err(); err != nil {
		tb.Fatal(err)
	}
	return func(_ string, q dns.Question, m *dns.Msg) bool {
		m.Rcode = dns.RcodeNameError
		name := q.Name
		for range 20 {
			next := ""
			for _, rr := range all {
				if !strings.EqualFold(rr.Header().Name, name) {
					continue
				}
				m.Rcode = dns.RcodeSuccess
				if alias, ok := rr.(*dns.CNAME); ok {
					m.Answer = append(m.Answer, rr)
					next = alias.Target
				} else if rr.Header().Rrtype == q.Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
			if next == "" {
				break
			}
			name = next
		}
		if len(m.Answer) == 0 {
			soa, _ := dns.NewRR("example. 600 SOA ns.example. host.example. 1 1 1 1 60")
			m.Ns = append(m.Ns, soa)
		}
		return true
	}
}

// clock is a time that tests move.
type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(c.now.Load(), 0) }
func (c *clock) Advance(d time.Duration) { c.now.Add(int64(d / time.Second)) }

func newResolver(tb testing.TB, servers ...*server) (*Resolver, *clock) {
	tb.Helper()
	c := &clock{}
	c.now.Store(1_800_000_000)
	cfg := Config{Timeout: 5 * time.Second, MaxEntries: 100, MaxOctets: 1 << 20, MaxInFlight: 8, Now: c.Now}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.addr)
	}
	return New(cfg), c
}

func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

func temporary(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsTemporary && !e.IsNotFound
}

func TestEveryKindOfRecord(t *testing.T) {
	r, _ := newResolver(t, serve(t, holding(t, `
text.example. 60 TXT "one " "value; with \" \\ \255"
text.example. 60 TXT "another"
alias.example. 60 CNAME to.example.
to.example. 60 CNAME text.example.
mail.example. 60 MX 10 mx.example.
mail.example. 60 A 192.0.2.1
mail.example. 60 AAAA 2001:db8::1
four.example. 60 A 192.0.2.4
1.2.0.192.in-addr.arpa. 60 PTR mail.example.
`)))
	ctx := t.Context()
	want := []string{"one value; with \" \\ \xff", "another"}
	for _, name := range []string{"text.example", "TEXT.example.", "alias.example"} {
		got, err := r.LookupTXT(ctx, name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if hosts, err := r.LookupMX(ctx, "mail.example"); err != nil || len(hosts) != 1 || hosts[0].Host != "mx.example." || hosts[0].Pref != 10 {
		t.Error(hosts, err)
	}
	if addrs, err := r.LookupIPAddr(ctx, "mail.example"); err != nil || fmt.Sprint(addrs) != "[{192.0.2.1 } {2001:db8::1 }]" {
		t.Error(addrs, err)
	}
	if addrs, err := r.LookupIPAddr(ctx, "four.example"); err != nil || fmt.Sprint(addrs) != "[{192.0.2.4 }]" {
		t.Error(addrs, err)
	}
	if names, err := r.LookupAddr(ctx, "192.0.2.1"); err != nil || fmt.Sprint(names) != "[mail.example.]" {
		t.Error(names, err)
	}
	for _, name := range []string{"none.example", "mail.example", strings.Repeat("a", 64) + ".example", strings.Repeat("abc.", 70), "a..b", "", `a\b.example`, "a b.example", "ä.example"} {
		if _, err := r.LookupTXT(ctx, name); !notFound(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := r.LookupIPAddr(ctx, "text.example"); !notFound(err) {
		t.Error(err)
	}
}

func TestWhichNamesExist(t *testing.T) {
	inZone := holding(t, `
text.example. 60 TXT "v"
mail.example. 60 MX 10 mx.example.
alias.example. 60 CNAME gone.example.
`)
	s := serve(t, func(network string, q dns.Question, m *dns.Msg) bool {
		if strings.HasPrefix(q.Name, "broken.") {
			m.Rcode = dns.RcodeServerFailure
			return true
		}
		if inZone(network, q, m); !strings.HasSuffix(q.Name, ".compact.example.") {
			return true
		}
		// RFC 9824: such a name has no records but its NSEC, which says so to who asks for proof.
		m.Rcode = dns.RcodeSuccess
		if !m.IsEdns0().Do() {
			return true
		}
		proof := &dns.NSEC{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 60}, NextDomain: "\\000." + q.Name}
		proof.TypeBitMap = []uint16{dns.TypeRRSIG, dns.TypeNSEC}
		if strings.HasPrefix(q.Name, "gone.") {
			proof.TypeBitMap = append(proof.TypeBitMap, dns.TypeNXNAME)
		}
		m.Ns = append(m.Ns, proof)
		return true
	})
	r, _ := newResolver(t, s)
	for name, want := range map[string]bool{
		"text.example": true, "mail.example": true, "alias.example": true, "gone.example": false,
		"empty.compact.example": true, "gone.compact.example": false, "GONE.compact.example": false, "a..b": false,
	} {
		for range 2 { // From memory, too.
			if got, err := r.Exists(t.Context(), name); got != want || err != nil {
				t.Errorf("%s exists: %t, %v", name, got, err)
			}
		}
	}
	if got, err := r.Exists(t.Context(), "broken.example"); got || !temporary(err) {
		t.Errorf("broken.example exists: %t, %v", got, err)
	}
	if n := s.count("gone.compact.example. MX"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// What was answered to who asks for proof is no answer for who does not.
	if _, err := r.LookupMX(t.Context(), "gone.compact.example"); !notFound(err) || s.count("gone.compact.example. MX") != 2 {
		t.Errorf("%v, asked %d times", err, s.count("gone.compact.example. MX"))
	}
}

func TestAnswersAreRememberedAsLongAsTheySay(t *testing.T) {
	s := serve(t, holding(t, `
short.example. 30 TXT "v"
long.example. 999999 TXT "v"
zero.example. 0 TXT "v"
alias.example. 20 CNAME short.example.
`))
	r, c := newResolver(t, s)
	for _, tt := range []struct {
		name string
		ttl  time.Duration
	}{
		{"short.example", 30 * time.Second},
		{"long.example", maxPositive},
		{"zero.example", 0},
		{"alias.example", 20 * time.Second},
		{"none.example", 60 * time.Second}, // min(SOA TTL, SOA minimum)
	} {
		question := tt.name + ". TXT"
		ask := func(want int) {
			t.Helper()
			_, _ = r.LookupTXT(t.Context(), tt.name)
			if got := s.count(question); got != want {
				t.Errorf("%s: asked %d times, want %d", tt.name, got, want)
			}
		}
		ask(1)
		if tt.ttl == 0 {
			ask(2)
			continue
		}
		c.Advance(tt.ttl - time.Second)
		ask(1)
		c.Advance(time.Second)
		ask(2)
	}
}

func TestFailuresAreNoAnswersAndSpareTheResolver(t *testing.T) {
	s := serve(t, func(_ string, _ dns.Question, m *dns.Msg) bool {
		m.Rcode = dns.RcodeServerFailure
		return true
	})
	r, c := newResolver(t, s)
	for range 3 {
		if _, err := r.LookupTXT(t.Context(), "a.example"); !temporary(err) || !strings.Contains(err.Error(), "SERVFAIL") {
			t.Fatal(err)
		}
	}
	if n := s.count("a.example. TXT"); n != tries {
		t.Errorf("asked %d times", n)
	}
	c.Advance(failureTTL)
	_, _ = r.LookupTXT(t.Context(), "a.example")
	if n := s.count("a.example. TXT"); n != 2*tries {
		t.Errorf("asked %d times", n)
	}
	if _, err := r.LookupIPAddr(t.Context(), "b.example"); !temporary(err) {
		t.Error(err)
	}
}

func TestTheNextResolverIsAskedWhereOneFails(t *testing.T) {
	failing := serve(t, func(_ string, _ dns.Question, m *dns.Msg) bool {
		m.Rcode = dns.RcodeRefused
		return true
	})
	good := serve(t, holding(t, `a.example. 60 TXT "v"`))
	r, _ := newResolver(t, failing, good)
	if got, err := r.LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	none, _ := newResolver(t)
	if _, err := none.LookupTXT(t.Context(), "a.example"); !temporary(err) {
		t.Error(err)
	}
}

func TestOneQuestionIsAskedOnceHoweverManyWait(t *testing.T) {
	gate := make(chan struct{})
	answer := holding(t, `a.example. 60 TXT "v"`)
	s := serve(t, func(network string, q dns.Question, m *dns.Msg) bool {
		<-gate
		return answer(network, q, m)
	})
	r, _ := newResolver(t, s)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got, err := r.LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 {
				t.Error(got, err)
			}
		})
	}
	close(gate)
	wg.Wait()
	if n := s.count("a.example. TXT"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestWhoHasPatienceGetsTheAnswerThatAnotherGaveUp(t *testing.T) {
	gate := make(chan struct{})
	first := make(chan struct{}, 8)
	answer := holding(t, `a.example. 60 TXT "v"`)
	r, _ := newResolver(t, serve(t, func(network string, q dns.Question, m *dns.Msg) bool {
		first <- struct{}{}
		<-gate
		return answer(network, q, m)
	}))
	hasty, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.LookupTXT(hasty, "a.example"); !temporary(err) {
			t.Error(err)
		}
	})
	<-first
	wg.Go(func() {
		if got, err := r.LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 {
			t.Error(got, err)
		}
	})
	giveUp()
	close(gate)
	wg.Wait()
}

func TestASilentResolverCostsNoMoreThanThePatienceOfTheAsker(t *testing.T) {
	r, _ := newResolver(t, serve(t, func(string, dns.Question, *dns.Msg) bool { return false }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.LookupTXT(ctx, "a.example"); !temporary(err) {
		t.Error(err)
	}
	// Its own patience ends, too: two tries of a resolver that says nothing.
	r.cfg.Timeout = time.Millisecond
	_, err := r.LookupTXT(t.Context(), "a.example")
	var e *net.DNSError
	if !errors.As(err, &e) || !e.IsTimeout {
		t.Error(err)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	big := strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 4)
	var zone strings.Builder
	for i := range 300 {
		fmt.Fprintf(&zone, "n%d.example. 3600 TXT %s\n", i, big)
	}
	s := serve(t, holding(t, zone.String()))
	r, _ := newResolver(t, s)
	r.cache = newCache(100, 50<<10)
	for i := range 300 {
		if _, err := r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i)); err != nil {
			t.Fatal(err)
		}
		_, _ = r.LookupTXT(t.Context(), "n0.example") // stays, since it is in use
	}
	stats := r.Stats()
	if stats.Octets > 50<<10 || stats.Entries > 100 || stats.Entries < 20 {
		t.Errorf("%+v", stats)
	}
	if s.count("n0.example. TXT") != 1 || stats.Hits != 300 || stats.Misses != 300 {
		t.Errorf("%+v, the one in use was asked for %d times", stats, s.count("n0.example. TXT"))
	}
	r.cache = newCache(7, 1<<20)
	for i := range 20 {
		_, _ = r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i))
	}
	if n := r.Stats().Entries; n != 7 {
		t.Errorf("%d entries", n)
	}
}

func TestSystemResolversAreReadFromTheirFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
	got, err := SystemServers(path)
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, text := range []string{"search example.org\n", "nameserver localhost\n"} {
		write(text)
		if got, err := SystemServers(path); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	if _, err := SystemServers(path + ".missing"); err == nil {
		t.Error("a missing file is no error")
	}
}
