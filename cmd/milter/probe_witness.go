// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"regexp"
	"strings"
	"sync"

	"github.com/emersion/go-milter"

	"github.com/maildomain-operator/maildomain-operator/internal/mtaprobe"
)

// witness stands at the milter's socket while an MTA is probed: it notes which messages of the probe it is shown, and
// lets none of anybody pass.
type witness struct {
	address listenAddress
	mode    fs.FileMode
	refusal string

	mu       sync.Mutex
	state    mtaprobe.State
	seen     map[string]sight // by the marks of messages
	listener net.Listener     // nil: the milter is gone
}

// sight is what the milter has seen of a message.
type sight struct {
	asked   bool
	refused int // times
}

// probeMark is in every message of a probe, and with its header in a notification about it.
var probeMark = regexp.MustCompile(`milter-probe-[0-9a-z]+-[0-9]+`)

// become makes the milter refuse, break off or be gone.
func (w *witness) become(ctx context.Context, state mtaprobe.State) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
	switch {
	case state == mtaprobe.Gone && w.listener != nil:
		listener := w.listener
		w.listener = nil
		return listener.Close()
	case state == mtaprobe.Gone || w.listener != nil:
		return nil
	}
	listener, err := w.address.listen(ctx, w.mode)
	if err != nil {
		return err
	}
	server := &milter.Server{NewMilter: func() milter.Milter { return &witnessed{witness: w, marks: map[string]bool{}} }}
	w.listener = listener
	go func() { _ = server.Serve(listener) }() // ends when the listener is closed
	return nil
}

// saw tells what the milter has seen of a message.
func (w *witness) saw(mark string) sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[mark]
}

// asked notes that the milter is asked about a message with these marks, and tells in which state it is.
func (w *witness) asked(marks map[string]bool) mtaprobe.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	for mark := range marks {
		s := w.seen[mark]
		s.asked = true
		if w.state == mtaprobe.Refuses {
			s.refused++
		}
		w.seen[mark] = s
	}
	return w.state
}

// witnessed is one connection of the MTA.
type witnessed struct {
	milter.NoOpMilter

	witness *witness
	marks   map[string]bool // of the message at hand
	tail    []byte          // of its body, as long as a mark may be
}

func (c *witnessed) note(text []byte) {
	for _, mark := range probeMark.FindAll(text, -1) {
		c.marks[string(mark)] = true
	}
}

// Connect begins a session.
func (c *witnessed) Connect(string, string, uint16, net.IP, *milter.Modifier) (milter.Response, error) {
	return milter.RespContinue, nil
}

// Header notes what a field names.
func (c *witnessed) Header(_, value string, _ *milter.Modifier) (milter.Response, error) {
	c.note([]byte(value))
	return milter.RespContinue, nil
}

// BodyChunk notes what a notification names; a mark may lie across two pieces.
func (c *witnessed) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	const longest = 64
	c.note(append(c.tail, chunk...))
	c.tail = bytes.Clone(chunk[max(0, len(chunk)-longest):])
	return milter.RespContinue, nil
}

// errBreak ends the connection where an answer is due.
var errBreak = errors.New("the probe hangs up")

// Body is the end of a message: nothing passes.
func (c *witnessed) Body(*milter.Modifier) (milter.Response, error) {
	state := c.witness.asked(c.marks)
	c.begin()
	if state == mtaprobe.Breaks {
		return nil, errBreak
	}
	return milter.NewResponseStr('y', strings.ReplaceAll(c.witness.refusal, "%", "")), nil
}

// Abort forgets the message at hand.
func (c *witnessed) Abort(*milter.Modifier) error {
	c.begin()
	return nil
}

func (c *witnessed) begin() {
	clear(c.marks)
	c.tail = nil
}
