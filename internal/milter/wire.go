// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The protocol has no RFC: the names are those of Sendmail's libmilter (mfdef.h),
// which Postfix follows.
//
//	packet = length (4 octets, big-endian, of what follows) · code (1 octet) · data

// command is what the MTA says.
type command byte

const (
	cmdAbort     command = 'A'
	cmdBody      command = 'B'
	cmdConnect   command = 'C'
	cmdMacro     command = 'D'
	cmdEnd       command = 'E' // end of the body, maybe with its last piece
	cmdHelo      command = 'H'
	cmdQuitNew   command = 'K' // the SMTP session ends, the milter connection does not
	cmdHeader    command = 'L'
	cmdMail      command = 'M'
	cmdEOH       command = 'N'
	cmdNegotiate command = 'O'
	cmdQuit      command = 'Q'
	cmdRcpt      command = 'R'
	cmdData      command = 'T'
	cmdUnknown   command = 'U'
)

// response is what we say.
type response byte

const (
	resContinue     response = 'c'
	resInsertHeader response = 'i'
	resChangeHeader response = 'm'
	resNegotiate    response = 'O'
	resQuarantine   response = 'q'
	resReplyCode    response = 'y'
)

// lengthOctets are those of a packet's length.
const lengthOctets = 4

const (
	// maxPacket bounds one packet. Postfix sends at most 65,535 octets of body
	// and, as it comes, 102,400 of a header field (header_size_limit); Sendmail
	// sends 65,535 unless a milter asks for more, which this one does not.
	maxPacket = 256 << 10
	// smallBuffer is what every connection has. Nearly every packet but those of
	// a body fits and is read in place.
	smallBuffer = 8 << 10
	// growth is how much of a long packet is believed before its octets arrive.
	growth = 16 << 10
	// keepAnswer is the longest buffer for answers that a connection keeps.
	keepAnswer = 4 << 10
)

// errMalformed begins every error about what a peer sent.
var errMalformed = errors.New("malformed packet")

// packet is one packet, or one of the pieces that a long one of a body comes in.
// The next overwrites its data.
type packet struct {
	code command
	data []byte
	more bool // another piece of it follows
}

// packetReader reads packets from one connection. It keeps little between them:
// long fields are read into memory that grows as they arrive, and bodies pass
// through a window that is lent, or where they are short or none is left through the small buffer.
type packetReader struct {
	r       *bufio.Reader
	windows *windows
	window  *[windowSize]byte // lent
	taken   int               // octets at the front of r that were handed out
	code    command           // of the packet whose pieces come
	left    int               // octets of it that are still to come
	// arriving is called once the length of a packet is known but not all of it is here; may be nil.
	arriving func() error
	// room is called with how many octets a long field takes now, and in the end with 0; may be nil.
	room func(int) error
}

func newPacketReader(r io.Reader, w *windows) *packetReader {
	return &packetReader{r: bufio.NewReaderSize(r, smallBuffer), windows: w}
}

// midPacket tells whether the next octets belong to a packet that has begun.
func (p *packetReader) midPacket() bool { return p.left > 0 }

// begun tells whether the next packet is here as far as its code.
func (p *packetReader) begun() bool { return p.r.Buffered()-p.taken > lengthOctets }

// release gives back what was lent; the last packet's data is gone with it.
func (p *packetReader) release() {
	if p.window != nil {
		p.windows.give(p.window)
		p.window = nil
	}
}

// next reads one packet or piece. io.EOF means that the peer went away between packets.
func (p *packetReader) next() (packet, error) {
	_, _ = p.r.Discard(p.taken) // They are there: they were handed out.
	p.taken = 0
	if p.left > 0 {
		return p.piece()
	}
	p.release()
	length, err := p.begin()
	if err != nil {
		return packet{}, err
	}
	if p.left = length; length > smallBuffer && (p.code == cmdBody || p.code == cmdEnd) {
		if length-p.r.Buffered() > smallBuffer { // Otherwise it takes one more read all the same.
			p.window = p.windows.lend()
		}
		return p.piece()
	}
	return p.whole()
}

// begin reads length and code, and returns how many octets of data follow.
func (p *packetReader) begin() (int, error) {
	var head [lengthOctets]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return 0, err
	}
	length := binary.BigEndian.Uint32(head[:])
	switch {
	case length == 0:
		return 0, fmt.Errorf("%w: length 0", errMalformed)
	case length > maxPacket:
		return 0, fmt.Errorf("%w: %d octets are more than %d", errMalformed, length, maxPacket)
	}
	if p.arriving != nil && p.r.Buffered() < int(length) {
		if err := p.arriving(); err != nil {
			return 0, err
		}
	}
	code, err := p.r.ReadByte()
	p.code = command(code)
	return int(length) - 1, early(err)
}

// early is the error of a packet that does not end.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("a packet ends early: %w", err)
	}
	return err
}

// piece hands out what has arrived of the packet, at least one octet.
func (p *packetReader) piece() (packet, error) {
	var data []byte
	if p.window != nil {
		n, err := p.r.Read(p.window[:min(p.left, windowSize)])
		if n == 0 {
			return packet{}, early(err)
		}
		data = p.window[:n]
	} else {
		if _, err := p.r.Peek(1); err != nil {
			return packet{}, early(err)
		}
		data, _ = p.r.Peek(min(p.left, p.r.Buffered()))
		p.taken = len(data)
	}
	p.left -= len(data)
	return packet{p.code, data, p.left > 0}, nil
}

// whole reads all of a packet: in place, or if it is long into memory that grows only as octets arrive.
func (p *packetReader) whole() (packet, error) {
	length := p.left
	p.left = 0
	if length <= smallBuffer {
		data, err := p.r.Peek(length)
		if err != nil {
			return packet{}, early(err)
		}
		p.taken = length
		return packet{p.code, data, false}, nil
	}
	var data []byte
	for len(data) < length {
		have := len(data)
		step := min(length-have, max(growth, have))
		if err := p.makeRoom(have + step); err != nil {
			return packet{}, err
		}
		grown := make([]byte, have+step)
		copy(grown, data)
		data = grown
		if _, err := io.ReadFull(p.r, data[have:]); err != nil {
			return packet{}, early(err)
		}
	}
	return packet{p.code, data, false}, p.makeRoom(0)
}

func (p *packetReader) makeRoom(n int) error {
	if p.room == nil {
		return nil
	}
	return p.room(n)
}

// appendPacket appends one packet whose data is the parts.
func appendPacket(dst []byte, code response, parts ...string) []byte {
	length := 1
	for _, p := range parts {
		length += len(p)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(length))
	dst = append(dst, byte(code))
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}
