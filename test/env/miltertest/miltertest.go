// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package miltertest plays the MTA at a milter's socket: it sends messages as
// Postfix does and returns them as they would leave.
//
// It shares no code with the milter, so that the two can disagree.
//
//	reply, out, err := miltertest.Send(ctx, "unix:/run/milter.sock", miltertest.Message{Raw: raw})
package miltertest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Message is one message and the SMTP client that brings it.
type Message struct {
	// Raw is the message: header, empty line, body. Lines end with CRLF or LF.
	Raw []byte
	// Sender is the reverse path with < and >; "" is that of nobody@client.example, "<>" the null sender.
	Sender string
	// Params are those of MAIL FROM, such as SMTPUTF8.
	Params []string
	// Recipients default to one.
	Recipients []string
	// Login is {auth_authen}; empty: none is sent.
	Login string
	// QueueID is the macro i.
	QueueID string
	// Client is the client's address; the zero value is 127.0.0.1.
	Client netip.Addr
	// Chunk is the size of the pieces of the body; 0 is that of Postfix.
	Chunk int
}

// Reply is what the milter said at the end.
type Reply struct {
	// Accepted says that the message goes on its way.
	Accepted bool
	// Text is the SMTP reply of one that does not, such as "451 4.7.0 ...".
	Text string
	// Inserted are the fields that the milter added, as they would be written, from top to bottom.
	Inserted []string
	// Quarantined is why the message is held, empty if it is not.
	Quarantined string
}

// Code is the SMTP reply code, 250 if the message goes on its way.
func (r Reply) Code() int {
	if r.Accepted {
		return 250
	}
	code, _ := strconv.Atoi(strings.SplitN(r.Text, " ", 2)[0])
	return code
}

// Options are what the MTA offers in the negotiation. The zero value is Postfix 3.7.
type Options struct {
	Version  uint32
	Actions  uint32
	Protocol uint32
	// Nothing offers no action and no protocol flag, whatever else is said.
	Nothing bool
}

// What Postfix 3.7 offers (milter8.c).
const (
	postfixVersion  = 6
	postfixActions  = 0x1ff
	postfixProtocol = 0x1fffff
)

// Flags of the negotiation, by the names of libmilter without SMFIP_: No leaves
// a stage out, NR leaves it without an answer.
const (
	NoConnect       = 0x01
	NoHelo          = 0x02
	NoMail          = 0x04
	NoRcpt          = 0x08
	NoBody          = 0x10
	NoHeader        = 0x20
	NoEOH           = 0x40
	NRHeader        = 0x80
	NoUnknown       = 0x100
	NoData          = 0x200
	NRConnect       = 0x1000
	NRHelo          = 0x2000
	NRMail          = 0x4000
	NRRcpt          = 0x8000
	NRData          = 0x10000
	NRUnknown       = 0x20000
	NREOH           = 0x40000
	NRBody          = 0x80000
	HeaderLeadSpace = 0x100000
)

// postfixChunk is the size of Postfix's pieces of a body.
const postfixChunk = 65535

// stage is how a command may be left out or left without an answer.
type stage struct{ skip, silent uint32 }

var stages = map[byte]stage{
	'C': {NoConnect, NRConnect}, 'H': {NoHelo, NRHelo}, 'M': {NoMail, NRMail}, 'R': {NoRcpt, NRRcpt}, 'T': {NoData, NRData},
	'L': {NoHeader, NRHeader}, 'N': {NoEOH, NREOH}, 'B': {NoBody, NRBody}, 'U': {NoUnknown, NRUnknown},
}

// Conn is a connection to a milter.
type Conn struct {
	conn      net.Conn
	r         *bufio.Reader
	w         *bufio.Writer
	stop      func() bool
	connected bool

	// Version, Actions and Protocol are what the milter chose.
	Version, Actions, Protocol uint32
}

// Send sends one message over a connection of its own. The octets are those
// that would leave, empty if the message does not.
func Send(ctx context.Context, socket string, m Message) (Reply, []byte, error) {
	c, err := Dial(ctx, socket, Options{})
	if err != nil {
		return Reply{}, nil, err
	}
	defer c.Close()
	return c.Send(m)
}

// Dial connects to "unix:/path" or "tcp:host:port" and negotiates. The connection ends with ctx.
func Dial(ctx context.Context, socket string, opt Options) (*Conn, error) {
	network, address, found := strings.Cut(socket, ":")
	if !found {
		return nil, fmt.Errorf("socket %q is not like unix:/path or tcp:host:port", socket)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, r: bufio.NewReader(conn), w: bufio.NewWriterSize(conn, postfixChunk)}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := c.negotiate(opt); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	return c, nil
}

func (c *Conn) negotiate(opt Options) error {
	offer := [3]uint32{opt.Version, opt.Actions, opt.Protocol}
	for i, standard := range [3]uint32{postfixVersion, postfixActions, postfixProtocol} {
		if offer[i] == 0 {
			offer[i] = standard
		}
		if opt.Nothing && i > 0 {
			offer[i] = 0
		}
	}
	var data []byte
	for _, v := range offer {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	if err := c.Write('O', data); err != nil {
		return err
	}
	code, data, err := c.Read()
	switch {
	case err != nil:
		return err
	case code != 'O' || len(data) < 12:
		return fmt.Errorf("the milter answered %q", code)
	}
	c.Version, c.Actions, c.Protocol = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if c.Version > offer[0] || c.Actions&^offer[1] != 0 || c.Protocol&^offer[2] != 0 {
		return fmt.Errorf("the milter asks for more than was offered: version %d actions %#x protocol %#x", c.Version, c.Actions, c.Protocol)
	}
	return nil
}

// Write sends one packet; Read or Flush makes it leave.
func (c *Conn) Write(code byte, data []byte) error {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	if _, err := c.w.Write(append(head, code)); err != nil {
		return err
	}
	_, err := c.w.Write(data)
	return err
}

// Flush sends what was written.
func (c *Conn) Flush() error { return c.w.Flush() }

// Read reads one packet of the milter's.
func (c *Conn) Read() (byte, []byte, error) {
	if err := c.w.Flush(); err != nil {
		return 0, nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > 1<<20 {
		return 0, nil, fmt.Errorf("the milter sent a packet of %d octets", length)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return 0, nil, err
	}
	return data[0], data[1:], nil
}

// ErrRefused is a milter's word against a message before its end.
var ErrRefused = errors.New("the milter refused")

// Command sends a command that belongs to a stage, unless the milter left it
// out, and takes the answer, unless the milter gives none.
func (c *Conn) Command(code byte, data []byte) error {
	s := stages[code]
	if c.Protocol&s.skip != 0 {
		return nil
	}
	if err := c.Write(code, data); err != nil {
		return err
	}
	if c.Protocol&s.silent != 0 {
		return nil
	}
	answer, text, err := c.Read()
	if err != nil {
		return fmt.Errorf("no answer to command %q: %w", code, err)
	}
	if answer != 'c' {
		return fmt.Errorf("%w: %q %q to command %q", ErrRefused, answer, text, code)
	}
	return nil
}

// Macros sends the macros of a command: names and values in turn.
func (c *Conn) Macros(code byte, pairs ...string) error {
	return c.Write('D', append([]byte{code}, strings.Join(append(pairs, ""), "\x00")...))
}

// Begin sends the SMTP session's connect and helo.
func (c *Conn) Begin(client netip.Addr) error {
	if !client.IsValid() {
		client = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	family := "4"
	if client.Is6() {
		family = "6"
	}
	c.connected = true
	return errors.Join(
		c.Macros('C', "j", "mx.example.net", "{daemon_name}", "mx.example.net", "v", "Postfix 3.7"),
		c.Command('C', []byte("client.example\x00"+family+"\x30\x39"+client.String()+"\x00")),
		c.Macros('H'),
		c.Command('H', []byte("client.example\x00")),
	)
}

// Send sends a message, the first one with the SMTP session before it.
func (c *Conn) Send(m Message) (Reply, []byte, error) {
	fields, body := Split(m.Raw)
	if !c.connected {
		if err := c.Begin(m.Client); err != nil {
			return Reply{}, nil, err
		}
	}
	if err := c.Envelope(m); err != nil {
		return Reply{}, nil, err
	}
	for _, f := range fields {
		if err := c.Header(f.Name, f.Value); err != nil {
			return Reply{}, nil, err
		}
	}
	if err := c.Command('N', nil); err != nil {
		return Reply{}, nil, err
	}
	chunk := m.Chunk
	if chunk <= 0 {
		chunk = postfixChunk
	}
	for piece := range slices.Chunk(body, chunk) {
		if err := c.Command('B', piece); err != nil {
			return Reply{}, nil, err
		}
	}
	return c.End(fields, body)
}

// Envelope sends MAIL FROM with its macros and RCPT TO.
func (c *Conn) Envelope(m Message) error {
	id := m.QueueID
	if id == "" {
		id = "4XyZ1234"
	}
	sender := m.Sender
	if sender == "" {
		sender = "<nobody@client.example>"
	}
	macros := []string{"i", id, "{mail_addr}", strings.Trim(sender, "<>")}
	if m.Login != "" {
		macros = append(macros, "{auth_type}", "PLAIN", "{auth_authen}", m.Login)
	}
	if err := c.Macros('M', macros...); err != nil {
		return err
	}
	args := append([]string{sender}, m.Params...)
	if err := c.Command('M', []byte(strings.Join(append(args, ""), "\x00"))); err != nil {
		return err
	}
	recipients := m.Recipients
	if len(recipients) == 0 {
		recipients = []string{"<bob@example.net>"}
	}
	for _, r := range recipients {
		if err := c.Command('R', []byte(r+"\x00")); err != nil {
			return err
		}
	}
	return c.Command('T', nil)
}

// Header sends a field: what follows the colon, as it is in the message.
func (c *Conn) Header(name, value string) error {
	value = strings.ReplaceAll(value, "\r\n", "\n")
	if c.Protocol&HeaderLeadSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	return c.Command('L', []byte(name+"\x00"+value+"\x00"))
}

// Abort ends a message without an end.
func (c *Conn) Abort() error {
	return errors.Join(c.Write('A', nil), c.Flush())
}

// NewSession ends the SMTP session and keeps the connection (SMFIC_QUIT_NC).
func (c *Conn) NewSession() error {
	c.connected = false
	return errors.Join(c.Write('K', nil), c.Flush())
}

// Close says goodbye and closes the connection.
func (c *Conn) Close() error {
	c.stop()
	return errors.Join(c.Write('Q', nil), c.Flush(), c.conn.Close())
}
