// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// patience is how long a milter may be silent.
const patience = 60 * time.Second

// conn is a connection that is ready for messages.
type conn struct {
	socket net.Conn
	r      *bufio.Reader
	stop   func() bool
	turns  []turn
}

func dial(ctx context.Context, socket string, m Message) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &conn{socket: nc, r: bufio.NewReaderSize(nc, 8<<10), stop: context.AfterFunc(ctx, func() { _ = nc.Close() })}
	if err := c.open(m); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// open negotiates and greets.
func (c *conn) open(m Message) error {
	if err := c.socket.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var s script
	offer := binary.BigEndian.AppendUint32(nil, offeredVersion)
	offer = binary.BigEndian.AppendUint32(offer, offeredActions)
	offer = binary.BigEndian.AppendUint32(offer, offeredProtocol)
	s.packet('O', string(offer))
	if _, err := c.socket.Write(s.open); err != nil {
		return err
	}
	code, data, err := c.receive()
	switch {
	case err != nil:
		return fmt.Errorf("negotiation: %w", err)
	case code != 'O' || len(data) < 12:
		return fmt.Errorf("the negotiation was answered %q", code)
	}
	protocol := binary.BigEndian.Uint32(data[8:])
	c.turns = m.script(protocol)
	greeting := greeting(protocol)
	last := len(greeting) - 1
	if err := c.play(greeting[:last]); err != nil {
		return err
	}
	_, err = c.socket.Write(greeting[last].octets)
	return err
}

// play writes turns and waits for the answer to each.
func (c *conn) play(turns []turn) error {
	skip := false
	for _, t := range turns {
		if skip && t.body {
			continue
		}
		if _, err := c.socket.Write(t.octets); err != nil {
			return err
		}
		code, data, err := c.receive()
		switch {
		case err != nil:
			return err
		case code == 's': // SMFIR_SKIP
			skip = true
		case code != 'c':
			return fmt.Errorf("answered %q %q", code, data)
		}
	}
	return nil
}

// send sends one message and returns the value of the signature that it got; "" for none.
func (c *conn) send() (string, error) {
	if err := c.socket.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	last := len(c.turns) - 1
	if err := c.play(c.turns[:last]); err != nil {
		return "", err
	}
	if _, err := c.socket.Write(c.turns[last].octets); err != nil {
		return "", err
	}
	var signature string
	for {
		code, data, err := c.receive()
		switch {
		case err != nil:
			return "", fmt.Errorf("end of the message: %w", err)
		case code == 'c' || code == 'a':
			return signature, nil
		case code == 'y' || code == 't' || code == 'r' || code == 'd':
			return "", fmt.Errorf("the message was refused: %q %q", code, data)
		case code == 'i' && len(data) > 4: // SMFIR_INSHEADER: an index comes first
			data = data[4:]
			fallthrough
		case code == 'h':
			name, value, _ := bytes.Cut(data, []byte{0})
			if strings.EqualFold(string(name), "DKIM-Signature") {
				signature = string(bytes.TrimSuffix(value, []byte{0}))
			}
		}
	}
}

// receive reads one packet.
func (c *conn) receive() (byte, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > 1<<20 {
		return 0, nil, fmt.Errorf("a packet of %d octets", length)
	}
	data := make([]byte, length)
	_, err := io.ReadFull(c.r, data)
	return data[0], data[1:], err
}

func (c *conn) close() error {
	c.stop()
	_, _ = c.socket.Write([]byte{0, 0, 0, 1, 'Q'}) // It may be gone already.
	return c.socket.Close()
}
