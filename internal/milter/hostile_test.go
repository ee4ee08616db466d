// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

const offerAll = "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"

// knock opens a connection and says something; the connection ends with the test.
func (r *rig) knock(tb testing.TB, say string) net.Conn {
	tb.Helper()
	return knock(tb, r.socket, say)
}

func knock(tb testing.TB, socket, say string) net.Conn {
	tb.Helper()
	var d net.Dialer
	conn, err := d.DialContext(tb.Context(), "unix", strings.TrimPrefix(socket, "unix:"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if say == "" {
		return conn
	}
	if _, err := conn.Write([]byte(say)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

func TestHostileConnectionsEndAloneAndOthersGoOn(t *testing.T) {
	hello := raw('O', offerAll)
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	for name, say := range map[string]string{
		"a packet of no octets before the negotiation": "\x00\x00\x00\x00",
		"a packet of no octets after it":               hello + "\x00\x00\x00\x00",
		"a giant length":                               "\xff\xff\xff\xff",
		"a giant length after the negotiation":         hello + "\x7f\xff\xff\xffB",
		"HTTP":                                         "GET / HTTP/1.1\r\n\r\n",
		"a command before the negotiation":             raw('M', "<a@b>\x00"),
		"a short negotiation":                          raw('O', "\x00\x00\x00\x06"),
		"a malformed connect":                          hello + raw('C', ""),
		"a connect without an address":                 hello + raw('C', "h\x004"),
		"a mail without a path":                        hello + raw('M', ""),
		"a header field without a value":               hello + raw('M', "<a@b>\x00") + raw('L', "From"),
		"a header field after the header":              hello + raw('M', "<a@b>\x00") + raw('N', "") + raw('L', "From\x00a\x00"),
		"macros of nothing":                            hello + raw('D', ""),
		"too many macros":                              hello + raw('D', "M"+strings.Repeat("x", maxMacros)),
		"an unknown command":                           hello + raw('z', "x"),
		"a quit before the negotiation":                raw('Q', ""),
	} {
		t.Run(name, func(t *testing.T) {
			mustEnd(t, r.knock(t, say))
			if reply, out := r.send(t, miltertest.Message{Raw: from("a@example.org")}); !reply.Accepted || len(verdicts(t, out, nil)) != 1 {
				t.Errorf("the next message: %+v", reply)
			}
		})
	}
	if n := r.count(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

func TestSilentAndSlowPeersEndByTheirTimeouts(t *testing.T) {
	hello := raw('O', offerAll)
	short, long := time.Millisecond, time.Hour
	for name, tt := range map[string]struct {
		say                     string
		negotiate, idle, packet time.Duration
	}{
		"silent from the start":            {"", short, long, long},
		"silent after the negotiation":     {hello, short, long, long},
		"nothing but macros":               {hello + raw('D', "Ci\x00Q1\x00"), short, long, long},
		"silent after a command":           {hello + raw('H', "x\x00"), long, short, long},
		"silent in the middle of a packet": {hello + "\x00\x01\x00\x00Bx", long, long, short},
		"silent in the middle of a length": {hello + raw('H', "x\x00") + "\x00\x01", long, short, long},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, files(t), func(c *Config) {
				c.NegotiateTimeout, c.IdleTimeout, c.PacketTimeout = tt.negotiate, tt.idle, tt.packet
				if tt.packet == short {
					c.PacketTimeout = 50 * time.Millisecond // The answer to the negotiation has to pass.
				}
			})
			mustEnd(t, r.knock(t, tt.say))
		})
	}
}

func TestThousandsOfIdleConnectionsAreBounded(t *testing.T) {
	const most = 50
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))), func(c *Config) { c.MaxConnections = most })
	// One that was there before goes on.
	early := r.dial(t, miltertest.Options{})
	refused := make(chan struct{}, 3000)
	for range 3000 {
		conn := r.knock(t, "")
		go func() {
			if closed(conn) {
				refused <- struct{}{}
			}
		}()
	}
	for range 3000 - (most - 1) {
		<-refused
	}
	if n := r.count(t, "connections"); n != most {
		t.Errorf("%v connections are open", n)
	}
	if n := r.count(t, "connections_refused_total"); n != 3000-(most-1) {
		t.Errorf("%v connections were refused", n)
	}
	if reply, out, err := early.Send(miltertest.Message{Raw: from("a@example.org")}); err != nil || !reply.Accepted || len(verdicts(t, out, nil)) != 1 {
		t.Errorf("%+v %v", reply, err)
	}
}

func TestThousandsOfConnectionsAreServedAtATime(t *testing.T) {
	connections := 2000
	if testing.Short() {
		connections = 200
	}
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))), func(c *Config) { c.MaxConnections = connections })
	fields, body := miltertest.Split(from("a@example.org"))
	all := make([]*miltertest.Conn, connections)
	for i := range all { // Each is in the middle of a message before the first one ends.
		c := r.dial(t, miltertest.Options{})
		if err := errors.Join(c.Begin(netip.Addr{}), c.Envelope(miltertest.Message{})); err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			if err := c.Header(f.Name, f.Value); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(c.Command('N', nil), c.Command('B', body), c.Flush()); err != nil {
			t.Fatal(err)
		}
		all[i] = c
	}
	var ends sync.WaitGroup
	for _, c := range all {
		ends.Go(func() {
			reply, out, err := c.End(fields, body)
			if err != nil || !reply.Accepted {
				t.Errorf("%+v %v", reply, err)
				return
			}
			mustVerify(t, out, 1, map[string]int{"s": ed1})
		})
	}
	ends.Wait()
	if n := r.count(t, "messages_total", "sign", "ours"); n != float64(connections) {
		t.Errorf("%v messages were signed", n)
	}
}

func TestAPeerThatDoesNotReadBlocksNobody(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	// A flood of questions whose answers are never read, until the milter stops taking them.
	conn := r.knock(t, raw('O', "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00"))
	flood := strings.Repeat(raw('M', "<a@b>\x00"), 1000)
	deadline := time.Now().Add(200 * time.Millisecond) //nolint:forbidigo // A network deadline.
	if err := conn.SetWriteDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := conn.Write([]byte(flood)); err != nil {
			if !os.IsTimeout(err) {
				t.Fatal(err)
			}
			break
		}
	}
	if reply, out := r.send(t, miltertest.Message{Raw: from("a@example.org")}); !reply.Accepted || len(verdicts(t, out, nil)) != 1 {
		t.Errorf("%+v", reply)
	}
}

func TestShutdownFinishesTheMessageOnItsWay(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	idle := r.knock(t, raw('O', offerAll))
	raw := from("a@example.org")
	fields, body := miltertest.Split(raw)
	c := r.dial(t, miltertest.Options{Protocol: miltertest.HeaderLeadSpace})
	for _, step := range []func() error{
		func() error { return c.Begin(addr(t, "192.0.2.1")) },
		func() error { return c.Envelope(miltertest.Message{}) },
		func() error { return c.Header("From", " a@example.org") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	mustEnd(t, idle)
	if !strings.Contains(r.Ready(1), "shutting down") {
		t.Errorf("ready: %q", r.Ready(1))
	}
	if err := c.Header("To", fields[1].Value); err != nil {
		t.Fatal(err)
	}
	if err := c.Header("Subject", fields[2].Value); err != nil {
		t.Fatal(err)
	}
	if err := c.Command('N', nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Command('B', body); err != nil {
		t.Fatal(err)
	}
	reply, out, err := c.End(fields, body)
	if err != nil || !reply.Accepted {
		t.Fatalf("%+v %v", reply, err)
	}
	mustVerify(t, out, 1, map[string]int{"s": ed1})
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	c := r.dial(t, miltertest.Options{Protocol: miltertest.HeaderLeadSpace})
	if err := c.Begin(addr(t, "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Envelope(miltertest.Message{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "1 messages were cut off") {
		t.Errorf("shutdown: %v", err)
	}
}

func TestATCPListenerSignsToo(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background(), l, RoleSign) }()
	reply, out, err := miltertest.Send(t.Context(), "tcp:"+l.Addr().String(), miltertest.Message{Raw: from("a@example.org")})
	if err != nil || !reply.Accepted {
		t.Fatalf("%+v %v", reply, err)
	}
	mustVerify(t, out, 1, map[string]int{"s": ed1})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err == nil {
		t.Error("a listener that somebody closed is no error")
	}
}

func FuzzSession(f *testing.F) {
	hello := raw('O', offerAll)
	whole := hello + raw('D', "Mi\x00Q\x00") + raw('C', "h\x004\x00\x19192.0.2.1\x00") + raw('M', "<a@example.org>\x00") +
		raw('L', "From\x00 a@example.org\x00") + raw('N', "") + raw('B', "Hi\r\n") + raw('E', "")
	f.Add([]byte(whole + raw('A', "") + whole[len(hello):] + raw('K', "") + raw('Q', "")))
	f.Add([]byte(raw('O', "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00") + raw('H', "x\x00") + raw('R', "<b>\x00") + raw('E', "x")))
	f.Add([]byte(hello + raw('L', "From\x00\x00") + raw('L', "from\x00(\"<\x00") + raw('E', "")))
	f.Add([]byte("\x00\x00\x00\x00"))
	r := start(f, files(f, domain(f, "example.org", key(f, "s", ed1)), keydir.Domain{Domain: "keyless.example", Required: true}))
	f.Fuzz(func(t *testing.T, say []byte) { r.converse(t, r.signer(), say) })
}

// occupied is what the Go runtime holds of the machine's memory, which is nearly all of the RSS.
func occupied() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// TestTwoThousandHostileConnectionsStayWithinTheirMemory: whatever they begin
// and do not end, half of them at a verifying listener, all together take less than 200 MB, and honest mail passes.
func TestTwoThousandHostileConnectionsStayWithinTheirMemory(t *testing.T) {
	const limit = 200 << 20
	hostile := 2000
	if testing.Short() {
		hostile = 200
	}
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))), func(c *Config) {
		c.MaxConnections = hostile + 100
		c.Log = slog.New(slog.DiscardHandler)
		c.Verification = &Verification{Resolver: world(t), Timeout: time.Minute}
	})
	sockets := []string{r.socket, "unix:" + r.listen(t, RoleVerify)}
	hello := raw('O', offerAll)
	mail := hello + raw('M', "<a@b>\x00")
	long := raw('L', "References\x00"+strings.Repeat("x", maxPacket-100)+"\x00")
	kinds := []string{
		hello,
		mail + long[:len(long)-10], // a field that does not end
		mail + long,                // a header that does not end
		mail + strings.Repeat(raw('L', "DKIM-Signature\x00 v=1; a=rsa-sha256; d=a.example; s=s; bh=AAAA; b="+strings.Repeat("A", 5000)+"; h=from"+strings.Repeat(":x", 900)+"\x00"), 12) + raw('N', ""), // what is judged at the end
		mail + strings.Repeat(raw('L', "To\x00"+strings.Repeat("y", 100)+"\x00"), 500),                                                                                                                  // as many fields as are kept
		mail + raw('L', "From\x00 a@example.org\x00") + raw('N', "") + raw('B', strings.Repeat("z", 60000))[:59000],                                                                                     // a piece that does not end
		hello + strings.Repeat(raw('D', "M{x}\x00"+strings.Repeat("m", maxMacros-10)), 7) + raw('C', strings.Repeat("h", maxWord)+"\x00U"),
	}
	honest := append([]byte("To: "+strings.Repeat("friend@example.net,\r\n ", 2000)+"last@example.net\r\n"), from("a@example.org")...)
	honest = append(honest, strings.Repeat("A line of an honest message.\r\n", 3000)...)

	debug.FreeOSMemory() // What other tests left behind is not ours.
	before := occupied()
	most := before
	for i := range hostile {
		conn := knock(t, sockets[i/len(kinds)%len(sockets)], "")
		_, _ = conn.Write([]byte(kinds[i%len(kinds)])) // It may be closed for others.
		if i%100 == 0 {
			most = max(most, occupied())
			_, out := r.send(t, miltertest.Message{Raw: honest})
			mustVerify(t, out, 1, map[string]int{"s": ed1})
		}
	}
	most = max(most, occupied())
	evicted := r.count(t, "connections_evicted_total")
	t.Logf("%d MB before, %d MB at most; %v connections are open, %v were closed for others", before>>20, most>>20, r.count(t, "connections"), evicted)
	if most > limit {
		t.Errorf("%d octets are occupied, of which %d before", most, before)
	}
	if evicted == 0 {
		t.Error("no connection was closed for others: the test asks for too little")
	}
}
