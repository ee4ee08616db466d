// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
)

// heldQuestion is a question that nobody has answered yet.
type heldQuestion struct {
	from   net.Addr
	packet []byte
}

// lateResolver answers nothing until it is told to, and then that no name is there. With questions it looks at the memory
// of the process.
type lateResolver struct {
	net.PacketConn

	asked chan struct{} // closed when as many questions have come as there may be on their way

	mu        sync.Mutex
	questions int
	held      []heldQuestion
	speaks    bool
	most      uint64 // octets, of what was seen
}

func startLateResolver(t *testing.T) *lateResolver {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UDPConn).SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	r := &lateResolver{PacketConn: conn, asked: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		packet := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			r.take(heldQuestion{from, bytes.Clone(packet[:n])})
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return r
}

func (r *lateResolver) take(q heldQuestion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.questions++; r.questions == maxInFlight {
		close(r.asked)
	}
	if r.questions%64 == 0 {
		r.most = max(r.most, occupied())
	}
	r.held = append(r.held, q)
	r.answer()
}

// speak answers what was asked and will be.
func (r *lateResolver) speak() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = max(r.most, occupied())
	r.speaks = true
	r.answer()
}

func (r *lateResolver) seen() (most uint64, questions int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most, r.questions
}

// answer answers all that is held. The caller holds r.mu.
func (r *lateResolver) answer() {
	if !r.speaks {
		return
	}
	for _, q := range r.held {
		q.packet[2] |= 0x80                // QR
		q.packet[3] = 3                    // NXDOMAIN
		_, _ = r.WriteTo(q.packet, q.from) // Who asked may have given up.
	}
	r.held = nil
}

// occupied is what the Go runtime holds of the machine's memory, which is nearly all of the RSS.
func occupied() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// command is a packet as an MTA sends it.
func command(code string, data ...string) string {
	text := code + strings.Join(data, "\x00")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
}

// hostileMessage asks for a dozen names that nobody else asks for.
func hostileMessage(i int) string {
	domain := fmt.Sprintf("d%d.example", i)
	text := command("O", "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff") + command("C", "h", "4\x00\x19192.0.2.1", "") +
		command("M", "<a@"+domain+">", "") + command("L", "From", " a@a.b.c."+domain, "")
	for s := range 10 {
		text += command("L", "DKIM-Signature", fmt.Sprintf(
			" v=1; a=rsa-sha256; d=%s; s=s%d; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA", domain, s), "")
	}
	return text + command("N") + command("B", "Hi\r\n") + command("E")
}

// TestTwoThousandMessagesThatWaitForTheDNSStayWithinTheirMemory: each of them has as many questions on their way as a
// message may, and all of them together as many as the resolver lets there be. All are answered in the end.
func TestTwoThousandMessagesThatWaitForTheDNSStayWithinTheirMemory(t *testing.T) {
	const limit = 200 << 20
	hostile := 2000
	if testing.Short() {
		hostile = 200
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent)) // as main does
	dns := startLateResolver(t)
	socket := filepath.Join(t.TempDir(), "verify.sock")
	log := make(lines, 2*hostile+100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	cmd := newCommand(io.Discard, log)
	cmd.SetArgs([]string{
		"--verify", "unix:" + socket, "--resolver", dns.LocalAddr().String(), "--authserv-id", "mx.example", "--dns-timeout", "1h",
		"--max-connections", fmt.Sprint(hostile + 1), "--http", "",
	})
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	log.await("verifying listener")

	debug.FreeOSMemory()
	before := occupied()
	var d net.Dialer
	all := make([]net.Conn, hostile)
	for i := range all {
		conn, err := d.DialContext(t.Context(), "unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, hostileMessage(i)); err != nil {
			t.Fatal(err)
		}
		all[i] = conn
	}
	<-dns.asked
	dns.speak()
	for i, conn := range all {
		if text := lastAnswer(t, conn); text != "c" {
			t.Fatalf("message %d is answered %q", i, text)
		}
	}
	most, questions := dns.seen()
	t.Logf("%d MB before, %d MB at most, %d questions", before>>20, most>>20, questions)
	if most > limit {
		t.Errorf("%d octets are occupied, of which %d before", most, before)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lastAnswer is the answer to the end of a message, after those to the negotiation and the edits.
func lastAnswer(t *testing.T, conn io.Reader) string {
	t.Helper()
	for {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(conn, data); err != nil {
			t.Fatal(err)
		}
		if data[0] != 'O' && data[0] != 'i' && data[0] != 'm' {
			return string(data)
		}
	}
}
