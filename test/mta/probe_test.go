// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// far is whom the probe writes to: nobody here takes mail for this domain.
const far = "me@" + partner

const (
	waits  = "waits, waits, waits"
	closed = "closed, closed, closed"
	leaves = "LEAVES UNSIGNED, LEAVES UNSIGNED, LEAVES UNSIGNED"
	opens  = "LEAVES UNSIGNED, LEAVES UNSIGNED, waits" // the milter's word counts, its absence does not
	some   = "LEAVES UNSIGNED, .*waits"                // when the MTA writes a bounce is its own affair
	loses  = "refused, refused, waits"
)

// showing is what the probe shows of one entrance: the verdict while the milter is gone, hangs up and refuses, and a word of
// the advice where there is one.
type showing struct{ verdicts, advice string }

// probe has the probe send by ways such as "submission :587", with a verifying milter beside it as docs/probe.md has it, and
// compares what it shows. What it says leaves unsigned arrives without a signature, and nothing else does.
func (w *world) probe(t *testing.T, m mta, want map[string]showing) {
	t.Helper()
	if err := w.milter.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	if err := w.startMilterWith(ctx, "--verify", "unix:"+w.verify, "--authserv-id", serverName); err != nil {
		t.Fatal(err)
	}
	out, status := w.runProbe(ctx, t, m, want)
	t.Log(out)
	got, leaks := parseProbe(out)
	for entrance, expected := range want {
		if s := got[entrance]; !regexp.MustCompile("^"+expected.verdicts+"$").MatchString(s.verdicts) || !strings.Contains(s.advice, expected.advice) || (s.advice == "") != (expected.advice == "") {
			t.Errorf("%s: %q, not %q", entrance, s, expected)
		}
	}
	wantStatus := 0
	if leaks > 0 {
		wantStatus = 1
	}
	if status != wantStatus {
		t.Errorf("exit status %d with %d leaks", status, leaks)
	}
	for range leaks {
		w.unsignedArrives(ctx, t)
	}
	for _, d := range w.mailbox.Take() {
		// Where something fails open, what the milter refused leaves when the probe is gone, too.
		if leaks == 0 && slices.Contains(d.Recipients, far) && !strings.Contains(string(d.Message), "DKIM-Signature:") {
			t.Errorf("this left unsigned, and the probe does not say so:\n%s", d.Message)
		}
	}
	if t.Failed() {
		t.Log(m.log())
	}
}

// unsignedArrives waits for one message of the probe's without signature.
func (w *world) unsignedArrives(ctx context.Context, t *testing.T) {
	t.Helper()
	for {
		arrived, err := w.mailbox.Wait(ctx, 1)
		if err != nil {
			t.Fatalf("the probe says that this much leaves, and it does not: %v", err)
		}
		if slices.Contains(arrived[0].Recipients, far) && !strings.Contains(string(arrived[0].Message), "DKIM-Signature:") {
			return
		}
	}
}

// runProbe runs it in the milter's place, while the queue of sendmail(1) is tried again and again.
func (w *world) runProbe(ctx context.Context, t *testing.T, m mta, want map[string]showing) (string, int) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"probe", "--yes", "--socket", "unix:" + w.socket, "--socket-mode", "0666", "--from", "user@acme.example", "--to", far, "--login", "user@acme.example", "--password-file", secret,
		"--tls-ca", w.tls.chain, "--tls-server-name", serverName, "--wait", "60s",
	}
	for _, s := range want {
		if s.verdicts == leaves { // nobody is asked, however long it waits
			args = append(args, "--wait", "10s")
			break
		}
	}
	for entrance := range want {
		way, port, _ := strings.Cut(entrance, " ")
		switch way {
		case "sendmail":
			args = append(args, "--sendmail", w.sendmailProgram(t, m))
		case "bounce":
			args = append(args, "--bounce", w.fromOutside(ctx, t, m.address+port))
		default:
			args = append(args, "--"+way, m.address+port)
		}
	}
	queues, done := context.WithCancel(ctx)
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		for queues.Err() == nil {
			_ = m.server.Flush(queues) // it is tried again
			select {
			case <-queues.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	defer func() { done(); <-flushed }()
	out, err := exec.CommandContext(ctx, filepath.Join("..", "..", "bin", "milter"), args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out), 0
}

// sendmailProgram is sendmail(1) of this MTA, as one file.
func (w *world) sendmailProgram(t *testing.T, m mta) string {
	t.Helper()
	file := filepath.Join(w.folder, "sendmail.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexec "+strings.Join(m.server.Program(), " ")+` "$@"`+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// fromOutside is a way to a listener for clients that are not this machine.
func (w *world) fromOutside(ctx context.Context, t *testing.T, address string) string {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", w.address.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	stop(t, listener.Close)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := outside.DialContext(ctx, "tcp", address)
				if err != nil {
					return
				}
				defer server.Close()
				go func() { _, _ = io.Copy(server, client) }()
				_, _ = io.Copy(client, server)
			}()
		}
	}()
	return listener.Addr().String()
}

var (
	probeLine  = regexp.MustCompile(`(?m)^(\w+) +(\S+) +(?:is gone|hangs up|refuses) +(waits|closed|refused|LEAVES UNSIGNED|unclear)  `)
	adviceLine = regexp.MustCompile(`(?m)^(?:refused|LEAVES UNSIGNED|unclear) by (\w+) (\S+), while the milter [\w ]+: (.*)$`)
)

// parseProbe reads what the probe prints; leaks are the messages that leave unsigned.
func parseProbe(out string) (found map[string]showing, leaks int) {
	found = map[string]showing{}
	for _, m := range probeLine.FindAllStringSubmatch(out, -1) {
		key := label(m[1], m[2])
		s := found[key]
		s.verdicts = strings.TrimPrefix(s.verdicts+", "+m[3], ", ")
		found[key] = s
		if m[3] == "LEAVES UNSIGNED" {
			leaks++
		}
	}
	for _, m := range adviceLine.FindAllStringSubmatch(out, -1) {
		key := label(m[1], m[2])
		s := found[key]
		s.advice += m[3]
		found[key] = s
	}
	return found, leaks
}

// label is an entrance as the tests name it.
func label(way, address string) string {
	switch way {
	case "sendmail":
		return way
	case "bounce":
		return way + " :25"
	}
	return way + " " + address[strings.LastIndex(address, ":"):]
}
