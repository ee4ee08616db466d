// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzPackets: the reader hands out exactly what was sent, however it arrives and whether windows are left or not, and
// never makes more room than a packet may have.
func FuzzPackets(f *testing.F) {
	f.Add([]byte(raw('M', "<a@b>\x00") + raw('N', "") + raw('B', "Hi\r\n") + raw('Q', "")))
	f.Add([]byte(raw('B', string(bytes.Repeat([]byte("x"), smallBuffer+1))) + raw('E', "")))
	f.Add([]byte(raw('L', string(bytes.Repeat([]byte("y"), smallBuffer+growth))) + raw('E', "")))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x01\xe9"))
	f.Add([]byte("\xff\xff\xff\xffB"))
	f.Add([]byte("\x00\x04\x00\x00Bshort"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, r := range []io.Reader{bytes.NewReader(stream), iotest.HalfReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
			w := windows{lent: maxWindows - 1} // The second long body has none.
			p := newPacketReader(r, &w)
			p.room = func(n int) error {
				if n > maxPacket {
					t.Fatalf("room for %d octets", n)
				}
				return nil
			}
			rest := stream
			for {
				code, data, err := whole(p)
				if err != nil {
					checkEnd(t, rest, err)
					break
				}
				length := binary.BigEndian.Uint32(rest)
				if want := string(rest[4 : 4+length]); code+data != want {
					t.Fatalf("read %q, sent %q", code+data, want)
				}
				rest = rest[4+length:]
			}
			p.release()
			if w.lent != maxWindows-1 {
				t.Fatalf("%d windows are lent after the end", w.lent)
			}
		}
	})
}

// checkEnd says whether reading may end before rest.
func checkEnd(t *testing.T, rest []byte, err error) {
	t.Helper()
	short := len(rest) < 4 || int64(len(rest))-4 < int64(binary.BigEndian.Uint32(rest))
	switch {
	case errors.Is(err, io.EOF):
		if len(rest) != 0 {
			t.Fatalf("%d octets are left over", len(rest))
		}
	case errors.Is(err, errMalformed):
		if n := binary.BigEndian.Uint32(rest); n > 0 && n <= maxPacket {
			t.Fatalf("a packet of %d octets: %v", n, err)
		}
	case !errors.Is(err, io.ErrUnexpectedEOF) || !short:
		t.Fatalf("%d octets are left over: %v", len(rest), err)
	}
}

// FuzzCommands: what commands hold is read, or refused as malformed.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"h\x004\x00\x19192.0.2.1\x00", "h\x006\x00\x19IPv6:2001:db8::1\x00", "h\x00L\x00\x00/run/x\x00", "<a@b>\x00SIZE=3\x00SMTPUTF8\x00",
		"Subject\x00 a\x00b\x00", "Mi\x00Q1\x00{auth_authen}\x00alice\x00", "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := macros{}
		_, connect := parseConnect(data)
		_, helo := parseHelo(data)
		_, mail := parseMail(data)
		_, _, header := parseHeader(data)
		set := m.set(data)
		for name, err := range map[string]error{"connect": connect, "helo": helo, "mail": mail, "header": header, "macros": set} {
			if err != nil && !errors.Is(err, errMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for stage, values := range m {
			if !isStage(stage) || len(values) > len(asked) {
				t.Errorf("macros kept: %v", m)
			}
		}
		answer, agreed, err := (&signer{}).terms().negotiate(data)
		if err == nil && (len(answer) != 12 || agreed&^protocol(binary.BigEndian.Uint32(data[8:])) != 0) {
			t.Errorf("negotiated %#x of %q", agreed, data)
		}
	})
}
