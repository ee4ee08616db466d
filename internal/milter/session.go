// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// session is one connection of an MTA, which carries SMTP sessions one after the other.
type session struct {
	server  *Server
	handler handler
	conn    net.Conn
	in      *packetReader
	out     []byte
	holder  *holder

	negotiated bool
	protocol   protocol
	macros     macros
	client     client
	helo       string

	message     transaction // nil between messages
	headerEnded bool        // of the message
	failed      bool        // a fault of the program spoilt the message

	mu       sync.Mutex // of what follows, which Shutdown reads
	busy     bool       // a message is on its way
	draining bool
}

// errDone ends a connection as it should end.
var errDone = errors.New("done")

func newSession(s *Server, h handler, conn net.Conn) *session {
	c := &session{server: s, handler: h, conn: conn, in: newPacketReader(conn, &s.windows), macros: macros{}}
	c.in.arriving = func() error { return c.patience(s.cfg.PacketTimeout) }
	c.in.room = c.keep
	c.holder = &holder{memory: s.memory, evict: func() { _ = conn.Close() }}
	return c
}

// run serves the connection until it ends.
func (c *session) run(ctx context.Context) {
	defer c.in.release()
	defer func() { _ = c.holder.keep(0) }()
	for {
		if err := c.turn(ctx); err != nil {
			c.report(err)
			return
		}
	}
}

// turn takes one command.
func (c *session) turn(ctx context.Context) error {
	if !c.in.midPacket() {
		wait := c.server.cfg.IdleTimeout
		if !c.negotiated {
			wait = c.server.cfg.NegotiateTimeout
		}
		if err := c.patience(wait); err != nil {
			return err
		}
	}
	p, err := c.in.next()
	if err != nil {
		return err
	}
	if err := c.take(ctx, p); err != nil {
		return err
	}
	return c.keep(0)
}

// keep says how much memory the connection takes: what it is reading, and what its message keeps.
func (c *session) keep(reading int) error {
	if c.message != nil {
		reading += c.message.size()
	}
	return c.holder.keep(reading)
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
			err = c.caught(ctx, p, fault)
		}
	}()
	if !c.negotiated && p.code != cmdNegotiate && p.code != cmdQuit {
		return fmt.Errorf("%w: command %q before the negotiation", errMalformed, p.code)
	}
	if p.more { // Only a body comes in pieces, and is answered after the last.
		c.body(p.data)
		return nil
	}
	switch p.code { //nolint:exhaustive // The rest is noted and answered alike.
	case cmdNegotiate:
		return c.negotiate(p.data)
	case cmdQuit:
		return errDone
	case cmdQuitNew: // The next SMTP session begins with a connect.
		c.endMessage()
		clear(c.macros)
		c.client, c.helo = client{}, ""
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
		from, err := parseConnect(p.data)
		c.client = from
		return err
	case cmdHelo:
		name, err := parseHelo(p.data)
		c.helo = name
		return err
	case cmdMail:
		return c.mail(p.data)
	case cmdHeader:
		return c.header(p.data)
	case cmdEOH:
		c.endHeader()
	case cmdBody:
		c.body(p.data)
	case cmdRcpt, cmdData, cmdUnknown: // Nothing of them matters.
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
	c.begin(e) // Also where an MTA went on without an abort.
	return nil
}

// begin begins a message.
func (c *session) begin(e envelope) {
	c.message = c.handler.begin(origin{
		client: c.client.addr, host: c.client.host, helo: c.helo,
		login: c.macros.get("auth_authen", cmdMail, cmdConnect, cmdHelo),
		mta:   c.macros.get("j", cmdMail, cmdConnect, cmdHelo),
	}, e)
	c.headerEnded, c.failed = false, false
	c.setBusy(true)
}

// current is the message on its way; the first word of one begins it.
func (c *session) current() transaction {
	if c.message == nil {
		c.begin(envelope{})
	}
	return c.message
}

func (c *session) header(data []byte) error {
	name, value, err := parseHeader(data)
	if err != nil {
		return err
	}
	m := c.current()
	if c.headerEnded {
		return fmt.Errorf("%w: a header field after the header", errMalformed)
	}
	if c.protocol&headerLeadSpace == 0 { // The MTA took the space after the colon away.
		value = append([]byte(" "), value...)
	}
	m.field(name, value)
	return nil
}

// endHeader ends the header once, however the MTA says so.
func (c *session) endHeader() {
	m := c.current()
	if !c.headerEnded {
		c.headerEnded = true
		m.endHeader()
	}
}

func (c *session) body(data []byte) {
	c.endHeader()
	if !c.failed {
		c.message.body(data)
	}
}

// end answers the end of a message.
func (c *session) end(ctx context.Context, data []byte) error {
	c.body(data) // The end may bring the last piece.
	queueID := c.queueID()
	var v verdict
	if c.failed {
		v = c.message.fail(ctx, queueID)
	} else {
		v = c.message.end(ctx, queueID)
	}
	c.endMessage()
	return c.answer(v)
}

func (c *session) queueID() string {
	return c.macros.get("i", cmdEnd, cmdEOH, cmdData, cmdRcpt, cmdMail)
}

// answer tells the MTA a verdict.
func (c *session) answer(v verdict) error {
	out := c.out[:0]
	if !v.pass {
		reply := v.reply
		if reply == "" {
			reply = notReady
		}
		return c.send(appendPacket(out, resReplyCode, reply, "\x00"))
	}
	for _, e := range v.edits {
		out = c.appendEdit(out, e)
	}
	if v.quarantine != "" {
		out = appendPacket(out, resQuarantine, v.quarantine, "\x00")
	}
	return c.send(appendPacket(out, resContinue))
}

// appendEdit appends SMFIR_INSHEADER or SMFIR_CHGHEADER: index (4 octets) name NUL value NUL.
//
// Lines end with LF alone: Postfix and Sendmail write the CRs. The MTA writes a
// space after the colon unless SMFIP_HDR_LEADSPC says that we do.
func (c *session) appendEdit(dst []byte, e edit) []byte {
	value := strings.ReplaceAll(e.value, "\r\n", "\n")
	if value != "" && c.protocol&headerLeadSpace != 0 {
		value = " " + value
	}
	index := string(binary.BigEndian.AppendUint32(nil, e.index))
	return appendPacket(dst, e.code, index, e.name, "\x00", value, "\x00")
}

func (c *session) negotiate(data []byte) error {
	answer, agreed, err := c.handler.terms().negotiate(data)
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
	if cap(out) <= keepAnswer {
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
func (c *session) caught(ctx context.Context, p packet, fault any) error {
	s := c.server
	s.cfg.Metrics.panics.Inc()
	s.cfg.Log.Error("caught a fault of the program", "command", string(p.code), "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
	if c.message == nil {
		return errPanic
	}
	if p.more {
		c.failed = true
		return nil
	}
	if p.code != cmdEnd {
		// An answer that the MTA does not wait for would be taken for that to the next end: the MTA fails closed by itself.
		if _, answered := noReply[p.code]; !answered {
			return errPanic
		}
		c.failed = true
		return c.goOn(p.code)
	}
	v := failSafely(ctx, c.message, c.queueID())
	c.endMessage()
	return c.answer(v)
}

// failSafely is fail, even where that fails itself: the zero verdict refuses the message.
func failSafely(ctx context.Context, m transaction, queueID string) (v verdict) {
	defer func() {
		if recover() != nil {
			v = verdict{}
		}
	}()
	return m.fail(ctx, queueID)
}

// report says why a connection ended, if there is something to say.
func (c *session) report(err error) {
	kind := "read"
	switch {
	case c.holder.wasEvicted():
		kind, err = "memory", errNoMemory
	case errors.Is(err, errDone), errors.Is(err, net.ErrClosed), c.isDraining():
		return
	case errors.Is(err, io.EOF) && c.message == nil:
		return
	case errors.Is(err, errMalformed):
		kind = "malformed"
	case errors.Is(err, errOldVersion), errors.Is(err, errNotAllowed):
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
