// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// Shared is the one API server of a test package. It starts when the first
// test asks for it and ends after the last one.
//
// It must not start before the tests run: the files that are read until then,
// our CRDs among them, are unknown to `go test`, which would take an old result
// from its cache after they have changed.
type Shared struct {
	Options Options

	once   sync.Once
	server *Server
	err    error
}

// Get returns the running server, and fails the test where it cannot start.
func (s *Shared) Get(t interface {
	Helper()
	Fatalf(format string, args ...any)
},
) *Server {
	t.Helper()
	s.once.Do(func() { s.server, s.err = Start(context.Background(), s.Options) })
	if s.err != nil {
		t.Fatalf("this test needs a real API server: %v", s.err)
	}
	return s.server
}

// Main runs the tests of a package (a *testing.M), stops the server and returns the exit code.
func (s *Shared) Main(tests interface{ Run() int }) int {
	code := tests.Run()
	if s.server == nil {
		return code
	}
	if err := s.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		return max(code, 1)
	}
	return code
}
