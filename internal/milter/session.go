// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

// session is one connection of an MTA, which carries SMTP sessions one after the other.
type session struct {
	server *Server
	conn   net.Conn
	in     *packetReader
	out    []byte

	negotiated bool
	protocol   protocol
	macros     macros
	client     netip.Addr
	message    *message // nil between messages

	mu       sync.Mutex // of what follows, which Shutdown reads
	busy     bool       // a message is on its way
	draining bool
}

// errDone ends a connection as it should end.
var errDone = errors.New("done")

func newSession(s *Server, conn net.Conn) *session {
	in := newPacketReader(conn)
	c := &session{server: s, conn: conn, in: in, macros: macros{}}
	in.arriving = func() error { return c.patience(s.cfg.PacketTimeout) }
	return c
}

// run serves the connection until it ends.
func (c *session) run(ctx context.Context) {
	for {
		if err := c.turn(ctx); err != nil {
			c.report(err)
			return
		}
	}
}

// turn takes one command.
func (c *session) turn(ctx context.Context) error {
	wait := c.server.cfg.IdleTimeout
	if !c.negotiated {
		wait = c.server.cfg.NegotiateTimeout
	}
	if err := c.patience(wait); err != nil {
		return err
	}
	p, err := c.in.next()
	if err != nil {
		return err
	}
	return c.take(ctx, p)
}

// patience sets how long the next read may take, unless the server shuts down and nothing is on its way.
func (c *session) patience(wait time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && !c.busy {
		return errDone
	}
	return c.conn.SetReadDeadline(time.Now().Add(wait)) //nolint:forbidigo // A network deadline.
}

// drain lets a message that is on its way end, and ends the connection before the next.
func (c *session) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		_ = c.conn.SetReadDeadline(time.Now()) //nolint:forbidigo // A network deadline: ends the read at once.
	}
}

func (c *session) setBusy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// take handles a packet and answers it. A fault of the program ends the message, not the process.
func (c *session) take(ctx context.Context, p packet) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = c.caught(ctx, p.code, fault)
		}
	}()
	if !c.negotiated && p.code != cmdNegotiate && p.code != cmdQuit {
		return fmt.Errorf("%w: command %q before the negotiation", errMalformed, p.code)
	}
	switch p.code { //nolint:exhaustive // The rest is noted and answered alike.
	case cmdNegotiate:
		return c.negotiate(p.data)
	case cmdQuit:
		return errDone
	case cmdQuitNew: // The next SMTP session begins with a connect.
		c.endMessage()
		clear(c.macros)
		c.client = netip.Addr{}
		return nil
	case cmdAbort:
		c.endMessage()
		return nil
	case cmdMacro:
		return c.macros.set(p.data)
	case cmdEnd:
		return c.end(ctx, p.data)
	default:
		if err := c.note(p); err != nil {
			return err
		}
		return c.goOn(p.code)
	}
}

// goOn answers a command with "continue", where the MTA waits for an answer.
func (c *session) goOn(code command) error {
	if c.protocol&noReply[code] != 0 {
		return nil
	}
	return c.send(appendPacket(c.out[:0], resContinue))
}

// note takes what a command says.
func (c *session) note(p packet) error {
	switch p.code { //nolint:exhaustive // take knows the others; what nobody knows is an error.
	case cmdConnect:
		client, err := parseConnect(p.data)
		c.client = client
		return err
	case cmdMail:
		return c.mail(p.data)
	case cmdHeader:
		return c.header(p.data)
	case cmdEOH:
		c.current().endHeader(c.server.cfg.Policy, facts{client: c.client})
	case cmdBody:
		c.body(p.data)
	case cmdHelo, cmdRcpt, cmdData, cmdUnknown: // Nothing of them matters.
	default:
		return fmt.Errorf("%w: unknown command %q", errMalformed, p.code)
	}
	return nil
}

func (c *session) mail(data []byte) error {
	e, err := parseMail(data)
	if err != nil {
		return err
	}
	c.message = nil // An MTA that went on without an abort.
	c.current().envelope = e
	return nil
}

// current is the message on its way; the first word of one begins it.
func (c *session) current() *message {
	if c.message == nil {
		c.message = &message{
			table: c.server.cfg.Live.Table(),
			login: c.macros.get("auth_authen", cmdMail, cmdConnect, cmdHelo),
		}
		c.setBusy(true)
	}
	return c.message
}

func (c *session) header(data []byte) error {
	name, value, err := parseHeader(data)
	if err != nil {
		return err
	}
	m := c.current()
	if m.ended {
		return fmt.Errorf("%w: a header field after the header", errMalformed)
	}
	m.header.Add(name, value)
	return nil
}

func (c *session) body(data []byte) {
	m := c.current()
	m.endHeader(c.server.cfg.Policy, facts{client: c.client})
	if m.body != nil {
		_, _ = m.body.Write(data)
	}
}

// end answers the end of a message: the signatures, and what happens to it.
func (c *session) end(ctx context.Context, data []byte) error {
	c.body(data) // The end may bring the last piece.
	m := c.message
	m.queueID = c.macros.get("i", cmdEnd, cmdEOH, cmdData, cmdRcpt, cmdMail)
	start := c.server.cfg.Now()
	r, err := c.server.signer.finish(ctx, m)
	duration := c.server.cfg.Now().Sub(start)
	c.endMessage()
	c.server.record(ctx, m.queueID, r, err, duration)
	return c.answer(r)
}

// answer sends a result.
func (c *session) answer(r result) error {
	out := c.out[:0]
	switch r.decision.Action { //nolint:exhaustive // Only a word of these two lets a message go; silence would make the MTA wait.
	default:
		out = appendPacket(out, resReplyCode, r.decision.Reply(), "\x00")
	case Sign, Accept:
		// Each goes to the very top, so the last sent is the first of the message.
		for _, value := range slices.Backward(r.signatures) {
			out = c.insertHeader(out, mailauth.SignatureField, value)
		}
		out = appendPacket(out, resContinue)
	}
	return c.send(out)
}

// insertHeader appends SMFIR_INSHEADER: index (4 octets) name NUL value NUL.
//
// Lines end with LF alone: Postfix and Sendmail write the CRs. The MTA writes a
// space after the colon unless SMFIP_HDR_LEADSPC says that we do.
func (c *session) insertHeader(dst []byte, name, value string) []byte {
	value = strings.ReplaceAll(value, "\r\n", "\n")
	space := ""
	if c.protocol&headerLeadSpace != 0 {
		space = " "
	}
	return appendPacket(dst, resInsertHeader, "\x00\x00\x00\x00", name, "\x00", space, value, "\x00")
}

func (c *session) negotiate(data []byte) error {
	answer, agreed, err := negotiate(data)
	if err != nil {
		return err
	}
	c.endMessage()
	c.negotiated, c.protocol = true, agreed
	return c.send(appendPacket(c.out[:0], resNegotiate, answer))
}

// endMessage forgets a message and its macros.
func (c *session) endMessage() {
	c.message = nil
	c.macros.endMessage()
	c.setBusy(false)
}

// send writes answers at once.
func (c *session) send(out []byte) error {
	if cap(out) <= keepBuffer {
		c.out = out[:0]
	}
	deadline := time.Now().Add(c.server.cfg.PacketTimeout) //nolint:forbidigo // A network deadline.
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.conn.Write(out)
	return err
}

// caught answers for a message that a fault of the program ended.
func (c *session) caught(ctx context.Context, code command, fault any) error {
	s := c.server
	s.cfg.Metrics.panics.Inc()
	s.cfg.Log.Error("caught a fault of the program", "command", string(code), "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
	if code != cmdEnd {
		// An answer that the MTA does not wait for would be taken for that to the next end: the MTA fails closed by itself.
		if _, answered := noReply[code]; !answered || c.message == nil {
			return errPanic
		}
		c.message.failed = true
		return c.goOn(code)
	}
	r := result{decision: s.cfg.Policy.Failure(ReasonInternal, nil)}
	c.endMessage()
	s.record(ctx, "", r, errPanic, 0)
	return c.answer(r)
}

// report says why a connection ended, if there is something to say.
func (c *session) report(err error) {
	kind := "read"
	switch {
	case errors.Is(err, errDone), errors.Is(err, net.ErrClosed), c.isDraining():
		return
	case errors.Is(err, io.EOF) && c.message == nil:
		return
	case errors.Is(err, errMalformed):
		kind = "malformed"
	case errors.Is(err, errOldVersion), errors.Is(err, errNoHeaders):
		kind = "negotiation"
	case errors.Is(err, os.ErrDeadlineExceeded):
		kind = "timeout"
	case errors.Is(err, errPanic):
		kind = "internal"
	}
	c.server.cfg.Metrics.protocol.WithLabelValues(kind).Inc()
	c.server.cfg.Log.Warn("connection ended early", "kind", kind, "error", err.Error())
}

func (c *session) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}
