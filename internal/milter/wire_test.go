// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/iotest"
)

func raw(code byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))) + string(code) + data
}

func TestPacketsAreRead(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), maxPacket-1))
	stream := raw('M', "<a@b>\x00") + raw('N', "") + raw('B', long) + raw('Q', "")
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader([]byte(stream)), "octet by octet": iotest.OneByteReader(bytes.NewReader([]byte(stream))),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPacketReader(r)
			for _, want := range []struct{ code, data string }{{"M", "<a@b>\x00"}, {"N", ""}, {"B", long}, {"Q", ""}} {
				got, err := p.next()
				if err != nil || string(got.code) != want.code || string(got.data) != want.data {
					t.Fatalf("%q of %d octets, %v", got.code, len(got.data), err)
				}
			}
			if cap(p.buf) > keepBuffer {
				t.Errorf("a buffer of %d octets is kept", cap(p.buf))
			}
			if _, err := p.next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestBadPacketsAreErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		stream string
		want   error
	}{
		"length 0":              {"\x00\x00\x00\x00", errMalformed},
		"a giant length":        {"\xff\xff\xff\xffB", errMalformed},
		"one octet too long":    {"\x00\x04\x00\x01B", errMalformed},
		"half a length":         {"\x00\x00", io.ErrUnexpectedEOF},
		"a length and no more":  {"\x00\x00\x00\x05", io.ErrUnexpectedEOF},
		"an end inside of data": {"\x00\x00\x00\x05Bxx", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newPacketReader(bytes.NewReader([]byte(tt.stream))).next(); !errors.Is(err, tt.want) {
				t.Errorf("error: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestALengthIsNotBelievedBeforeItsOctetsArrive(t *testing.T) {
	p := newPacketReader(io.MultiReader(bytes.NewReader([]byte("\x00\x04\x00\x00B")), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if _, err := p.next(); err == nil {
		t.Fatal("no error")
	}
	if cap(p.buf) > growth {
		t.Errorf("%d octets were made ready for 1 that came", cap(p.buf))
	}
}

func TestConnectIsRead(t *testing.T) {
	tests := []struct{ name, data, want, problem string }{
		{name: "IPv4", data: "h\x004\x00\x19192.0.2.1\x00", want: "192.0.2.1"},
		{name: "IPv6", data: "h\x006\x00\x192001:db8::1\x00", want: "2001:db8::1"},
		{name: "IPv6 as Sendmail writes it", data: "h\x006\x00\x19IPv6:2001:db8::1\x00", want: "2001:db8::1"},
		{name: "IPv4 in IPv6", data: "h\x006\x00\x19::ffff:192.0.2.1\x00", want: "192.0.2.1"},
		{name: "unknown", data: "h\x00U", want: ""},
		{name: "a Unix socket", data: "h\x00L\x00\x00/run/x\x00", want: ""},
		{name: "nothing", data: "", problem: "family"},
		{name: "no end of the host", data: "host", problem: "family"},
		{name: "no family", data: "host\x00", problem: "family"},
		{name: "an unknown family", data: "h\x00x", problem: "family"},
		{name: "no port", data: "h\x004\x00", problem: "port"},
		{name: "no address", data: "h\x004\x00\x19", problem: "end"},
		{name: "an address without end", data: "h\x004\x00\x19192.0.2.1", problem: "end"},
		{name: "an address that is none", data: "h\x004\x00\x19x\x00", problem: "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseConnect([]byte(tt.data))
			if (err != nil) != (tt.problem != "") || err != nil && !errors.Is(err, errMalformed) {
				t.Fatalf("error: %v", err)
			}
			want, _ := netip.ParseAddr(tt.want)
			if got != want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMailIsRead(t *testing.T) {
	for data, want := range map[string]envelope{
		"<a@b>\x00":                       {},
		"<>\x00":                          {nullSender: true},
		"\x00":                            {nullSender: true},
		"<a@b>\x00SIZE=3\x00SMTPUTF8\x00": {smtputf8: true},
		"<>\x00smtputf8\x00":              {nullSender: true, smtputf8: true},
	} {
		if got, err := parseMail([]byte(data)); err != nil || got != want {
			t.Errorf("%q: %+v %v", data, got, err)
		}
	}
	if _, err := parseMail([]byte("<a@b>")); !errors.Is(err, errMalformed) {
		t.Errorf("a path without end: %v", err)
	}
}

func TestHeaderFieldsAreRead(t *testing.T) {
	name, value, err := parseHeader([]byte("Subject\x00 a\x00b\x00"))
	if err != nil || name != "Subject" || string(value) != " a\x00b" {
		t.Errorf("%q %q %v", name, value, err)
	}
	for _, data := range []string{"", "\x00", "Subject", "Subject\x00", "\x00x\x00", "Subject\x00x"} {
		if _, _, err := parseHeader([]byte(data)); !errors.Is(err, errMalformed) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestMacrosAreKeptByStage(t *testing.T) {
	m := macros{}
	for _, data := range []string{"Cj\x00mx\x00", "Mi\x00Q1\x00{auth_authen}\x00alice\x00", "Mi\x00Q2\x00", "Ei\x00Q3\x00", "Xi\x00Q9\x00", "Hodd\x00"} {
		if err := m.set([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.get("auth_authen", cmdMail, cmdConnect); got != "" {
		t.Errorf("a login of an earlier MAIL: %q", got)
	}
	if got := m.get("i", cmdEnd, cmdMail); got != "Q3" {
		t.Errorf("queue id %q", got)
	}
	if got := m.get("odd", cmdHelo); got != "" {
		t.Errorf("a macro without value: %q", got)
	}
	if err := m.set(nil); !errors.Is(err, errMalformed) {
		t.Errorf("macros of nothing: %v", err)
	}
	if err := m.set(make([]byte, maxMacros+1)); !errors.Is(err, errMalformed) {
		t.Errorf("too many macros: %v", err)
	}
	m.endMessage()
	if m.get("i", cmdEnd, cmdMail) != "" || m.get("j", cmdConnect) != "mx" {
		t.Errorf("after a message: %v", m)
	}
}

func TestNegotiationRefusesWhatCannotSign(t *testing.T) {
	offer := func(version, actions uint32) []byte {
		b := binary.BigEndian.AppendUint32(nil, version)
		b = binary.BigEndian.AppendUint32(b, actions)
		return binary.BigEndian.AppendUint32(b, 0x1fffff)
	}
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"version 1":            {offer(1, 0xff), errOldVersion},
		"no fields to add":     {offer(6, 0x1fe), errNoHeaders},
		"too short":            {offer(6, 1)[:11], errMalformed},
		"nothing":              {nil, errMalformed},
		"what 8.17 adds to it": {append(offer(6, 0x1ff), "\x00\x00\x00\x00j _\x00"...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := negotiate(tt.data); !errors.Is(err, tt.want) {
				t.Errorf("error: %v, want %v", err, tt.want)
			}
		})
	}
}
