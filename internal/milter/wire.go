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
	resNegotiate    response = 'O'
	resReplyCode    response = 'y'
)

const (
	// maxPacket bounds one packet. Postfix sends at most 65,535 octets of body
	// and, as it comes, 102,400 of a header field (header_size_limit); Sendmail
	// sends 65,535 unless a milter asks for more, which this one does not.
	maxPacket = 256 << 10
	// growth is how much of a long packet is believed before its octets arrive.
	growth = 32 << 10
	// keepBuffer is the longest buffer that a connection keeps between packets.
	keepBuffer = 72 << 10
)

// errMalformed begins every error about what a peer sent.
var errMalformed = errors.New("malformed packet")

// packet is one packet; its data is overwritten by the next.
type packet struct {
	code command
	data []byte
}

// packetReader reads packets from one connection.
type packetReader struct {
	r   *bufio.Reader
	buf []byte
	// arriving is called once the length of a packet is known but not all of it is here; may be nil.
	arriving func() error
}

func newPacketReader(r io.Reader) *packetReader {
	return &packetReader{r: bufio.NewReaderSize(r, 8<<10)}
}

// next reads one packet. io.EOF means that the peer went away between packets.
func (p *packetReader) next() (packet, error) {
	if cap(p.buf) > keepBuffer {
		p.buf = nil
	}
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return packet{}, err
	}
	length := binary.BigEndian.Uint32(head[:])
	switch {
	case length == 0:
		return packet{}, fmt.Errorf("%w: length 0", errMalformed)
	case length > maxPacket:
		return packet{}, fmt.Errorf("%w: %d octets are more than %d", errMalformed, length, maxPacket)
	}
	if p.arriving != nil && p.r.Buffered() < int(length) {
		if err := p.arriving(); err != nil {
			return packet{}, err
		}
	}
	if err := p.fill(int(length)); err != nil {
		return packet{}, fmt.Errorf("a packet of %d octets ends early: %w", length, err)
	}
	return packet{command(p.buf[0]), p.buf[1:]}, nil
}

// fill reads length octets into buf, which grows only as they arrive.
func (p *packetReader) fill(length int) error {
	p.buf = p.buf[:0]
	for len(p.buf) < length {
		have := len(p.buf)
		step := min(length-have, max(growth, cap(p.buf)-have))
		if need := have + step; need > cap(p.buf) {
			grown := make([]byte, have, max(need, min(length, 2*cap(p.buf))))
			copy(grown, p.buf)
			p.buf = grown
		}
		p.buf = p.buf[:have+step]
		if _, err := io.ReadFull(p.r, p.buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
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
