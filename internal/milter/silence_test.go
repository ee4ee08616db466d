// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// TestSilentConnectionsKeepNobodyOut: as many as may be connect and say nothing, some with a message on its way; whoever
// comes takes the place of the one that is silent for longest, and is served.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return testNow.Add(time.Duration(passed.Load())) }
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))), func(c *Config) { c.MaxConnections, c.Now = 3, now })
	hello, mail := raw('O', offerAll), raw('M', "<a@b>\x00")
	knock := func(say string, open, busy int) net.Conn {
		conn := r.knock(t, say)
		if say != "" {
			if _, err := io.ReadFull(conn, make([]byte, len(hello))); err != nil {
				t.Fatal(err)
			}
		}
		r.awaitSilence(t, open, busy)
		passed.Add(int64(time.Second))
		return conn
	}
	send := func() bool { // Over a connection of its own, which then is gone.
		reply, _, err := miltertest.Send(t.Context(), r.socket, miltertest.Message{Raw: from("a@example.org")})
		return err == nil && reply.Accepted
	}
	serves := func(closed net.Conn, busy int) {
		t.Helper()
		if !send() {
			t.Fatalf("nobody makes room\n%s", r.log)
		}
		_ = closed.SetReadDeadline(time.Now().Add(time.Minute)) //nolint:forbidigo // A network deadline.
		if _, err := io.Copy(io.Discard, closed); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("another connection was closed")
		}
		r.awaitSilence(t, 2, busy)
	}

	hangs := knock(hello+mail, 1, 1)
	speechless := knock("", 2, 1)
	negotiates := knock(hello, 3, 1)
	if send() {
		t.Error("a connection was closed before its grace")
	}
	passed.Store(int64(idleGrace + time.Second)) // Of the second; the third is silent for less.
	serves(speechless, 1)
	idle := knock(hello, 3, 1)
	serves(negotiates, 1)
	_ = knock(hello+mail, 3, 2)
	passed.Add(int64(idleGrace))
	serves(idle, 2)
	_ = knock(hello+mail, 3, 3)
	if send() {
		t.Error("one with a message on its way was closed before its grace")
	}
	passed.Store(int64(busyGrace))
	serves(hangs, 2)
	if displaced, refused := r.count(t, "connections_displaced_total"), r.count(t, "connections_refused_total"); displaced != 4 || refused != 2 {
		t.Errorf("%v connections were displaced and %v refused", displaced, refused)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Shutdown(ctx) // All have said now why they ended.
	if n := r.count(t, "protocol_errors_total", "silent"); n != 4 {
		t.Errorf("%v were told of", n)
	}
}

// awaitSilence waits until so many connections are open, each of them waits for its MTA, and so many have a message.
func (r *rig) awaitSilence(tb testing.TB, open, busy int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute) // Nothing but a fault takes so long.
	defer cancel()
	for !r.isSilent(open, busy) {
		if ctx.Err() != nil {
			tb.Fatalf("never %d connections, %d of them with a message\n%s", open, busy, r.log)
		}
		runtime.Gosched()
	}
}

func (r *rig) isSilent(open, busy int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sessions) != open {
		return false
	}
	for c := range r.sessions {
		s := c.silent()
		if s.since.IsZero() {
			return false
		}
		if s.busy {
			busy--
		}
	}
	return busy == 0
}

func TestWhoMakesRoom(t *testing.T) {
	at := func(s time.Duration) time.Time { return testNow.Add(-s) }
	for name, tt := range map[string]struct {
		silence silence
		want    bool
	}{
		"at work":                       {silence{}, false},
		"just fell silent":              {silence{at(idleGrace - 1), false}, false},
		"silent":                        {silence{at(idleGrace), false}, true},
		"an SMTP client takes its time": {silence{at(busyGrace - 1), true}, false},
		"a message that hangs":          {silence{at(busyGrace), true}, true},
	} {
		if got := tt.silence.yields(testNow); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !(silence{at(20 * time.Second), false}).before(silence{at(time.Hour), true}) {
		t.Error("a message goes before what is idle")
	}
}
