// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

func raw(code byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))) + string(code) + data
}

func TestPacketsAreRead(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), maxPacket-1))
	stream := raw('M', "<a@b>\x00") + raw('L', long) + raw('N', "") + raw('B', long) + raw('E', long) + raw('Q', "")
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader([]byte(stream)), "octet by octet": iotest.OneByteReader(bytes.NewReader([]byte(stream))),
	} {
		t.Run(name, func(t *testing.T) {
			var w windows
			p := newPacketReader(r, &w)
			for _, want := range []struct{ code, data string }{{"M", "<a@b>\x00"}, {"L", long}, {"N", ""}, {"B", long}, {"E", long}, {"Q", ""}} {
				code, data, err := whole(p)
				if err != nil || code != want.code || data != want.data {
					t.Fatalf("%q of %d octets, %v", code, len(data), err)
				}
			}
			if _, err := p.next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
			if w.lent != 0 {
				t.Errorf("%d windows are lent after the end", w.lent)
			}
		})
	}
}

// whole reads a packet and puts its pieces together.
func whole(p *packetReader) (code, data string, err error) {
	var text strings.Builder
	for {
		got, err := p.next()
		if err != nil {
			return "", "", err
		}
		text.Write(got.data)
		if !got.more {
			return string([]byte{byte(got.code)}), text.String(), nil
		}
	}
}

func TestABodyPassesWithoutAWindow(t *testing.T) {
	body := strings.Repeat("x", 3*smallBuffer+1)
	w := windows{lent: maxWindows}
	p := newPacketReader(strings.NewReader(raw('B', body)+raw('E', "")), &w)
	for _, want := range []struct{ code, data string }{{"B", body}, {"E", ""}} {
		if code, data, err := whole(p); err != nil || code != want.code || data != want.data {
			t.Fatalf("%q of %d octets, %v", code, len(data), err)
		}
	}
}

func TestWindowsGoWhenTheRushIsOver(t *testing.T) {
	var w windows
	var lent []*[windowSize]byte
	for window := w.lend(); window != nil; window = w.lend() {
		lent = append(lent, window)
	}
	for i, window := range lent {
		if w.give(window); len(w.idle) > keepWindows || i < len(lent)-1 && len(w.idle) < min(i+1, keepWindows) {
			t.Errorf("%d idle after %d of %d", len(w.idle), i+1, len(lent))
		}
	}
	if len(lent) != maxWindows || len(w.idle) != 1 || w.idle[:keepWindows][1] != nil || w.lend() == nil || len(w.idle) != 0 {
		t.Errorf("%d were lent, %d are idle", len(lent), len(w.idle))
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
			if _, err := newPacketReader(bytes.NewReader([]byte(tt.stream)), &windows{}).next(); !errors.Is(err, tt.want) {
				t.Errorf("error: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestALengthIsNotBelievedBeforeItsOctetsArrive(t *testing.T) {
	p := newPacketReader(io.MultiReader(strings.NewReader("\x00\x04\x00\x00L"), iotest.ErrReader(io.ErrUnexpectedEOF)), &windows{})
	most := 0
	p.room = func(n int) error { most = max(most, n); return nil }
	if _, err := p.next(); err == nil {
		t.Fatal("no error")
	}
	if most > growth {
		t.Errorf("%d octets were made ready for 1 that came", most)
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
		{name: "a host without measure", data: strings.Repeat("h", maxWord+1) + "\x00U", problem: "octets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseConnect([]byte(tt.data))
			if (err != nil) != (tt.problem != "") || err != nil && !errors.Is(err, errMalformed) {
				t.Fatalf("error: %v", err)
			}
			if err != nil {
				return
			}
			addr, _ := netip.ParseAddr(tt.want)
			if want := (client{"h", addr}); got != want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMailIsRead(t *testing.T) {
	for data, want := range map[string]envelope{
		"<a@b>\x00":                       {sender: "a@b"},
		"<>\x00":                          {nullSender: true},
		"\x00":                            {nullSender: true},
		"<a@b>\x00SIZE=3\x00SMTPUTF8\x00": {sender: "a@b", smtputf8: true},
		"<>\x00smtputf8\x00":              {nullSender: true, smtputf8: true},
	} {
		if got, err := parseMail([]byte(data)); err != nil || got != want {
			t.Errorf("%q: %+v %v", data, got, err)
		}
	}
	for name, data := range map[string]string{"a path without end": "<a@b>", "a path without measure": strings.Repeat("a", maxWord+1) + "\x00"} {
		if _, err := parseMail([]byte(data)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
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
	for _, data := range []string{"Cj\x00mx\x00", "Mi\x00Q1\x00{auth_authen}\x00alice\x00", "Mi\x00Q2\x00", "Ei\x00Q3\x00", "Xi\x00Q9\x00", "Hodd\x00", "Hj"} {
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
	if got := m.get("j", cmdHelo); got != "" {
		t.Errorf("a macro without value: %q", got)
	}
	if err := m.set(nil); !errors.Is(err, errMalformed) {
		t.Errorf("macros of nothing: %v", err)
	}
	if err := m.set(make([]byte, maxMacros+1)); !errors.Is(err, errMalformed) {
		t.Errorf("too many macros: %v", err)
	}
	if err := m.set([]byte("Mi\x00" + strings.Repeat("Q", maxWord+1) + "\x00")); !errors.Is(err, errMalformed) {
		t.Errorf("a macro too long: %v", err)
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
		"no fields to add":     {offer(6, 0x1fe), errNotAllowed},
		"too short":            {offer(6, 1)[:11], errMalformed},
		"nothing":              {nil, errMalformed},
		"what 8.17 adds to it": {append(offer(6, 0x1ff), "\x00\x00\x00\x00j _\x00"...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := (&signer{}).terms().negotiate(tt.data); !errors.Is(err, tt.want) {
				t.Errorf("error: %v, want %v", err, tt.want)
			}
		})
	}
}
