// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Sink is smtp-sink: it takes every message and keeps it in a file.
type Sink struct {
	dir     string
	process *process.Process
	seen    map[string]bool
}

// StartSink runs smtp-sink as the user postfix and returns when it answers.
func StartSink(ctx context.Context, dir string, listen netip.AddrPort) (*Sink, error) {
	program, err := process.Find("smtp-sink", "postfix")
	if err != nil {
		return nil, err
	}
	s := &Sink{dir: filepath.Join(dir, "sink"), seen: map[string]bool{}}
	if err := os.Mkdir(s.dir, 0o777); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o777); err != nil {
		return nil, err
	}
	s.process, err = process.Start(dir, "smtp-sink", process.Options{}, program,
		"-u", User, "-R", s.dir, "-d", "message.", listen.String(), "100")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.process.Await(ctx, func(ctx context.Context) error { return process.Greets(ctx, listen.String()) }); err != nil {
		_ = s.process.Stop() // the error that matters is the other
		return nil, err
	}
	return s, nil
}

// Stop ends smtp-sink.
func (s *Sink) Stop() error { return s.process.Stop() }

// Pause lets the world be out of reach until Resume: mail for it waits in Postfix.
func (s *Sink) Pause() { s.process.Pause() }

// Resume ends a Pause.
func (s *Sink) Resume() { s.process.Resume() }

// Delivery is one message as it arrived.
type Delivery struct {
	Envelope string // the lines that smtp-sink put before it: sender and recipients
	Message  []byte // as it was sent, lines end with CRLF
}

// Take returns what has arrived since it was last asked, oldest first.
func (s *Sink) Take() ([]Delivery, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	// After the list: a file of the list that is not open now is complete.
	open, err := s.process.OpenFiles()
	if err != nil {
		return nil, err
	}
	var arrived []dump
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if s.seen[path] || slices.Contains(open, path) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s.seen[path] = true
		arrived = append(arrived, dump{info.ModTime(), parseDump(text)})
	}
	slices.SortFunc(arrived, func(a, b dump) int { return a.end.Compare(b.end) })
	var deliveries []Delivery
	for _, d := range arrived {
		deliveries = append(deliveries, d.Delivery)
	}
	return deliveries, nil
}

// dump is a file of smtp-sink and when it ended.
type dump struct {
	end time.Time
	Delivery
}

// parseDump takes off what smtp-sink adds: X- fields and a Received field before the message, an empty line after it.
func parseDump(text []byte) Delivery {
	var d Delivery
	head, rest := "", string(text)
	for strings.HasPrefix(rest, "X-") || strings.HasPrefix(rest, "Received: ") || strings.HasPrefix(rest, "\t") {
		received := strings.HasPrefix(rest, "Received: ")
		line, after, _ := strings.Cut(rest, "\n")
		head, rest = head+line+"\n", after
		for received && strings.HasPrefix(rest, "\t") {
			_, rest, _ = strings.Cut(rest, "\n")
		}
		if received {
			break
		}
	}
	d.Envelope = head
	d.Message = []byte(strings.ReplaceAll(strings.TrimSuffix(rest, "\n"), "\n", "\r\n"))
	return d
}

// Wait takes count messages, and fails when they have not arrived before ctx ends.
func (s *Sink) Wait(ctx context.Context, count int) ([]Delivery, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var all []Delivery
	for {
		some, err := s.Take()
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(all) >= count {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return all, fmt.Errorf("%d of %d messages arrived: %w", len(all), count, ctx.Err())
		case <-tick.C:
		}
	}
}
