// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
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
		for stage := range m {
			if !isStage(stage) {
				t.Errorf("macros kept: %v", m)
			}
		}
		answer, agreed, err := (&signer{}).terms().negotiate(data)
		if err == nil && (len(answer) != 12 || agreed&^protocol(binary.BigEndian.Uint32(data[8:])) != 0) {
			t.Errorf("negotiated %#x of %q", agreed, data)
		}
	})
}

// oneText is a DNS in which every name has one text, a mail server and an address.
type oneText string

func (r oneText) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(r)}, nil
}

func (r oneText) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx." + name}}, nil
}

func (r oneText) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	return []net.IPAddr{{IP: net.IPv4(192, 0, 2, 1)}}, nil
}

func (r oneText) LookupAddr(context.Context, string) ([]string, error) {
	return []string{"client.example."}, nil
}

func (r oneText) Exists(context.Context, string) (bool, error) { return true, nil }

// FuzzVerifyingSession: whatever an MTA says, and whatever the DNS says of it, a message that passes is told what was
// found in one field of ours, on top, and one that does not is left as it is.
func FuzzVerifyingSession(f *testing.F) {
	hello := raw('O', offerAll)
	letter := raw('D', "Cj\x00mx.example.net\x00") + raw('C', "h\x004\x00\x19192.0.2.1\x00") + raw('H', "mail.example\x00") +
		raw('M', "<a@example.org>\x00") + raw('L', "Authentication-Results\x00 mx.example.net; dkim=pass\x00") +
		raw('L', "DKIM-Signature\x00 v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=AAAA; b=AAAA\x00") +
		raw('L', "From\x00 a@example.org\x00") + raw('N', "") + raw('B', "Hi\r\n") + raw('E', "")
	f.Add([]byte(hello+letter+raw('A', "")+letter+raw('K', "")+letter+raw('Q', "")), "v=spf1 mx -all")
	f.Add([]byte(raw('O', "\x00\x00\x00\x02\x00\x00\x00\x31\x00\x00\x00\x00")+letter), "v=DMARC1; p=reject")
	f.Add([]byte(hello+raw('L', "authentication-results\x00(\x00")+raw('L', "From\x00a,b\x00")+raw('E', "x")), "v=DKIM1; p=")
	r := start(f, files(f))
	actions := map[Finding]Action{}
	for _, finding := range findings {
		may := finding.finding.MayDo()
		actions[finding.finding] = may[len(may)-1]
	}
	actions[FindingDMARCFail], actions["spf_fail"] = Quarantine, Tag
	f.Fuzz(func(t *testing.T, say []byte, record string) {
		cfg := r.cfg
		cfg.Verification = &Verification{Resolver: oneText(record), Timeout: time.Minute, Actions: actions}
		said := r.converse(t, newVerifier(cfg), say)
		p := newPacketReader(bytes.NewReader(said), &windows{})
		for reply := ""; ; {
			code, data, err := whole(p)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("the MTA cannot read %q: %v", said, err)
			}
			if reply += code; code == "i" {
				mustBeOurField(t, data)
			}
			switch {
			case code == "O" || code == "c" && regexp.MustCompile("^(m*iq?)?c$").MatchString(reply) || reply == "y":
				reply = ""
			case code == "c" || code == "y":
				t.Fatalf("answers %q in %q", reply, said)
			}
		}
	})
}

// mustBeOurField holds an inserted field to what an MTA may write into a message.
func mustBeOurField(t *testing.T, data string) {
	t.Helper()
	value, found := strings.CutPrefix(data, "\x00\x00\x00\x00Authentication-Results\x00")
	value, ended := strings.CutSuffix(value, "\x00")
	if !found || !ended {
		t.Fatalf("inserted %q", data)
	}
	for i, line := range strings.Split(value, "\n") {
		if i > 0 && !strings.HasPrefix(line, "\t") || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
			t.Fatalf("line %d of %q", i, value)
		}
	}
}

// converse says something to a session of its own and returns all that it answers.
func (r *rig) converse(tb testing.TB, h handler, say []byte) []byte {
	tb.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		newSession(r.Server, h, ours).run(tb.Context())
	}()
	var said bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&said, theirs)
	}()
	_, _ = theirs.Write(say)
	_ = theirs.Close()
	<-done
	<-read
	if n := r.count(tb, "panics_total"); n != 0 {
		tb.Fatalf("%v panics\n%s", n, r.log)
	}
	r.log.reset() // A fuzzer runs for hours.
	return said.Bytes()
}
