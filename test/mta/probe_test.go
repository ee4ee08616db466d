// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheProbeFindsNoLeakInTheSamples: what docs/ shows lets nothing leave unsigned.
func TestTheProbeFindsNoLeakInTheSamples(t *testing.T) {
	w := get(t)
	for _, server := range []struct {
		name  string
		start func(*testing.T, *world) mta
	}{
		{"Postfix", func(t *testing.T, w *world) mta { t.Helper(); return startPostfix(t, w) }},
		{"Sendmail", startSendmail},
	} {
		t.Run(server.name, func(t *testing.T) {
			m := server.start(t, w)
			out, status := w.probe(t, "--submission", m.address+":587", "--smtps", m.address+":465")
			if status != 0 || strings.Count(out, "  waits  ") != 6 {
				t.Errorf("status %d:\n%s\n%s", status, out, m.log())
			}
		})
	}
}

// TestTheProbeNamesWhatFailsOpen: a Postfix that lets mail pass without the milter, and a listener that has none.
func TestTheProbeNamesWhatFailsOpen(t *testing.T) {
	w := get(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m := startPostfix(t, w, "accept")
	out, status := w.probe(t, "--submission", m.address+":587")
	if status != 1 || strings.Count(out, "LEAVES UNSIGNED") != 2 || !strings.Contains(out, "milter_default_action = tempfail") {
		t.Errorf("status %d:\n%s\n%s", status, out, m.log())
	}
	t.Log(out)
	if _, err := w.mailbox.Wait(ctx, 2); err != nil {
		t.Error(err)
	}
	out, status = w.probe(t, "--smtp", m.address+":25")
	if status != 1 || strings.Count(out, "LEAVES UNSIGNED") != 3 || !strings.Contains(out, "mynetworks") {
		t.Errorf("status %d:\n%s\n%s", status, out, m.log())
	}
	t.Log(out)
	if _, err := w.mailbox.Wait(ctx, 3); err != nil {
		t.Error(err)
	}
}

// probe runs the probe in the milter's place, and brings the milter back.
func (w *world) probe(t *testing.T, args ...string) (string, int) {
	t.Helper()
	if err := w.milter.Stop(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.startMilter(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
	}()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	program := filepath.Join("..", "..", "bin", "milter")
	out, err := exec.CommandContext(ctx, program, append([]string{
		"probe", "--yes", "--socket", "unix:" + w.socket, "--socket-mode", "0666", "--from", "user@acme.example", "--to", friend, "--login", "user@acme.example", "--password-file", file,
		"--tls-ca", w.tls.chain, "--tls-server-name", serverName, "--wait", "5s",
	}, args...)...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out), 0
}
