// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

// Package e2e tells whole stories on real parts: the two programs as they are
// shipped, a real API server, BIND, Postfix, and verifiers that are not ours.
//
// It runs in a network namespace of its own and needs root: make test-integration.
// What happened is kept in a file, whose name is printed at the end.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/netns"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(netns.Main(func() int {
		code := m.Run()
		if err := world.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the servers:", err)
			code = max(code, 1)
		}
		if world.dir != "" {
			fmt.Println("transcript and logs:", world.dir)
		}
		return code
	}, bind.Resolver, site.Addresses()...))
}

// world is what all stories share; get starts it.
var world environment

// get returns the running environment, and fails the test where it cannot start.
func get(t *testing.T) *environment {
	t.Helper()
	world.once.Do(func() { world.err = world.start() })
	if world.err != nil {
		t.Fatalf("the environment does not start: %v", world.err)
	}
	return &world
}

// transcript is the story as it is told: to the test's log and to a file.
type transcript struct {
	mu    sync.Mutex
	file  *os.File
	begin time.Time
}

func openTranscript(dir string) (*transcript, error) {
	file, err := os.Create(filepath.Join(dir, "transcript.txt"))
	if err != nil {
		return nil, err
	}
	return &transcript{file: file, begin: time.Now()}, nil
}

// tell adds a line or several.
func (x *transcript) tell(t *testing.T, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf("%6.1fs  %s", time.Since(x.begin).Seconds(), fmt.Sprintf(format, args...))
	t.Log(text)
	x.mu.Lock()
	defer x.mu.Unlock()
	fmt.Fprintf(x.file, "[%s]\n%s\n", t.Name(), text)
}
