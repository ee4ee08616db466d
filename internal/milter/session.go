// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"fmt"
	"net"
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

	opened     time.Time
	negotiated bool
	commanded  bool // a command came
	protocol   protocol
	macros     macros
	client     client
	helo       string

	message     transaction // nil between messages
	headerEnded bool        // of the message
	failed      bool        // a fault of the program spoilt the message

	mu        sync.Mutex // of what follows, which the server reads
	busy      bool       // a message is on its way
	waiting   time.Time  // for the MTA since; zero: it does not
	draining  bool
	displaced bool
}

// errDone ends a connection as it should end.
var errDone = errors.New("done")

func newSession(s *Server, h handler, conn net.Conn) *session {
	c := &session{server: s, handler: h, conn: conn, in: newPacketReader(conn, &s.windows), macros: macros{}}
	c.opened = time.Now()                                                                   //nolint:forbidigo // For a network deadline.
	c.in.arriving = func() error { return c.patience(time.Now().Add(s.cfg.PacketTimeout)) } //nolint:forbidigo // A network deadline.
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
	p, err := c.next()
	if err != nil {
		return err
	}
	if err := c.take(ctx, p); err != nil {
		return err
	}
	return c.keep(0)
}

// next reads a packet or piece, and waits for it where its beginning is not here yet.
func (c *session) next() (packet, error) {
	if c.in.midPacket() || c.in.begun() {
		return c.in.next()
	}
	if err := c.patience(c.nextDeadline()); err != nil {
		return packet{}, err
	}
	c.setWaiting(c.server.cfg.Now())
	defer c.setWaiting(time.Time{})
	return c.in.next()
}

// nextDeadline is how long the MTA may wait with its next command. It comes without SMTP client to the first one, and
// that client may take its time for all others.
func (c *session) nextDeadline() time.Time {
	if !c.commanded {
		return c.opened.Add(c.server.cfg.NegotiateTimeout)
	}
	return time.Now().Add(c.server.cfg.IdleTimeout) //nolint:forbidigo // A network deadline.
}

// keep says how much memory the connection takes: what it is reading, and what its message keeps.
func (c *session) keep(reading int) error {
	if c.message != nil {
		reading += c.message.size()
	}
	return c.holder.keep(reading)
}

// patience sets until when the next read may take, unless the server shuts down and nothing is on its way.
func (c *session) patience(until time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && !c.busy {
		return errDone
	}
	return c.conn.SetReadDeadline(until)
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

func (c *session) setWaiting(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = since
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
	c.commanded = c.commanded || p.code != cmdNegotiate && p.code != cmdMacro
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
