// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/binary"
	"strings"
)

// Message is what is sent. The body is read by nobody but the milter.
type Message struct {
	Sender string
	Fields []Field
	Body   string
}

// Field is one header field; its value begins after the colon and the space.
type Field struct{ Name, Value string }

// NewMessage makes a message of about size octets, in lines as people write them.
func NewMessage(sender string, size int) Message {
	m := Message{Sender: sender, Fields: []Field{
		{"From", "Alice <" + sender + ">"},
		{"To", "Bob <bob@example.net>"},
		{"Subject", "A message of some length"},
		{"Date", "Mon, 23 Nov 2026 20:00:00 +0000"},
		{"Message-ID", "<load.1@example.com>"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
	}}
	header := 0
	for _, f := range m.Fields {
		header += len(f.Name) + len(f.Value) + 4
	}
	var body strings.Builder
	for body.Len() < size-header {
		body.WriteString("The quick brown fox jumps over the lazy dog, 0123456789 and again.\r\n")
	}
	m.Body = body.String()
	return m
}

// String is the message as it would travel.
func (m Message) String() string {
	var b strings.Builder
	for _, f := range m.Fields {
		b.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	return b.String() + "\r\n" + m.Body
}

// Flags of the negotiation, by the names of libmilter (mfdef.h) without SMFIP_.
const (
	noConnect       = 0x01
	noHelo          = 0x02
	noMail          = 0x04
	noRcpt          = 0x08
	noBody          = 0x10
	noHeaders       = 0x20
	noEOH           = 0x40
	nrHeader        = 0x80
	noData          = 0x200
	nrConnect       = 0x1000
	nrHelo          = 0x2000
	nrMail          = 0x4000
	nrRcpt          = 0x8000
	nrData          = 0x10000
	nrEOH           = 0x40000
	nrBody          = 0x80000
	headerLeadSpace = 0x100000
)

// What Postfix 3.7 offers (milter8.c).
const (
	offeredVersion  = 6
	offeredActions  = 0x1ff
	offeredProtocol = 0x1fffff
)

// bodyPacket is the longest piece of a body that Postfix sends.
const bodyPacket = 65535

// turn is what is written at once; then, but for the last, an answer is waited for.
type turn struct {
	octets []byte
	body   bool // an answer to it may say that no more of the body is wanted
}

// script writes turns down.
type script struct {
	protocol uint32
	turns    []turn
	open     []byte
}

// say appends a command with its macros, unless it is not wanted, and ends the turn where an answer comes.
func (s *script) say(code byte, macros string, skip, silent uint32, data ...string) {
	if s.protocol&skip != 0 {
		return
	}
	if macros != "" {
		s.packet('D', string(code), macros)
	}
	s.packet(code, data...)
	if s.protocol&silent == 0 {
		s.turns = append(s.turns, turn{s.open, code == 'B'})
		s.open = nil
	}
}

func (s *script) packet(code byte, data ...string) {
	length := 1
	for _, d := range data {
		length += len(d)
	}
	s.open = binary.BigEndian.AppendUint32(s.open, uint32(length))
	s.open = append(s.open, code)
	for _, d := range data {
		s.open = append(s.open, d...)
	}
}

const queueID = "i\x004fL5rT0xyzz8\x00"

// greeting is what comes once per connection.
func greeting(protocol uint32) []turn {
	s := script{protocol: protocol}
	s.say('C', "j\x00mx.example.com\x00{daemon_name}\x00mx.example.com\x00v\x00Postfix 3.7.11\x00", noConnect, nrConnect,
		"localhost\x00", "4", "\x30\x39", "127.0.0.1\x00")
	s.say('H', "", noHelo, nrHelo, "localhost\x00")
	return append(s.turns, turn{octets: s.open})
}

// script is one message from MAIL to the end of the body. The last turn is answered by what the milter does with it.
func (m Message) script(protocol uint32) []turn {
	s := script{protocol: protocol}
	s.packet('A') // Ends what came before.
	s.say('M', queueID+"{mail_addr}\x00"+m.Sender+"\x00{mail_host}\x00example.com\x00{mail_mailer}\x00smtp\x00", noMail, nrMail, "<"+m.Sender+">\x00")
	s.say('R', queueID+"{rcpt_addr}\x00bob@example.net\x00", noRcpt, nrRcpt, "<bob@example.net>\x00")
	s.say('T', queueID, noData, nrData)
	space := ""
	if protocol&headerLeadSpace != 0 {
		space = " "
	}
	for _, f := range m.Fields {
		s.say('L', queueID, noHeaders, nrHeader, f.Name, "\x00", space, f.Value, "\x00")
	}
	s.say('N', queueID, noEOH, nrEOH)
	for body := m.Body; body != ""; {
		n := min(len(body), bodyPacket)
		s.say('B', queueID, noBody, nrBody, body[:n])
		body = body[n:]
	}
	s.packet('D', "E", queueID)
	s.packet('E')
	return append(s.turns, turn{octets: s.open})
}
