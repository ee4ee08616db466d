// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package miltertest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// Terms are what an MTA offers in the negotiation, or what a milter answers.
type Terms struct{ Version, Actions, Protocol uint32 }

// Session is one connection of an MTA to a milter, as a Tap has seen it.
type Session struct {
	Offered, Agreed Terms
	// Commands are the letters of what the MTA sent, macros left out; Answers are those of the milter.
	Commands, Answers string
}

// Tap stands between an MTA and a milter, hands on every octet and notes what is said.
type Tap struct {
	listener net.Listener
	milter   string
	group    sync.WaitGroup

	mu       sync.Mutex
	sessions []*Session
}

// Listen opens a Tap at the path of a Unix socket that everybody may connect to; it hands on to the milter at another.
func Listen(ctx context.Context, path, milter string) (*Tap, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, err
	}
	t := &Tap{listener: listener, milter: milter}
	t.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.group.Go(func() { t.serve(ctx, conn) })
		}
	})
	return t, nil
}

// Close ends it when the connections have ended that pass through it.
func (t *Tap) Close() error {
	err := t.listener.Close()
	t.group.Wait()
	return err
}

// Sessions are the connections so far.
func (t *Tap) Sessions() []Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Session
	for _, s := range t.sessions {
		all = append(all, *s)
	}
	return all
}

func (t *Tap) serve(ctx context.Context, mta net.Conn) {
	defer mta.Close()
	var d net.Dialer
	milter, err := d.DialContext(ctx, "unix", t.milter)
	if err != nil {
		return
	}
	defer milter.Close()
	s := &Session{}
	t.mu.Lock()
	t.sessions = append(t.sessions, s)
	t.mu.Unlock()
	var both sync.WaitGroup
	// Whoever hangs up first ends the other.
	both.Go(func() { defer milter.Close(); t.pass(milter, mta, &s.Commands, &s.Offered) })
	both.Go(func() { defer mta.Close(); t.pass(mta, milter, &s.Answers, &s.Agreed) })
	both.Wait()
}

// pass hands packets on and notes them.
func (t *Tap) pass(to io.Writer, from io.Reader, letters *string, terms *Terms) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(from, packet); err != nil || len(packet) == 0 {
			return
		}
		t.mu.Lock()
		if packet[0] == 'O' && len(packet) >= 13 {
			*terms = Terms{binary.BigEndian.Uint32(packet[1:]), binary.BigEndian.Uint32(packet[5:]), binary.BigEndian.Uint32(packet[9:])}
		}
		if packet[0] != 'D' {
			*letters += string(packet[:1])
		}
		t.mu.Unlock()
		if _, err := to.Write(append(head[:], packet...)); err != nil {
			return
		}
	}
}
