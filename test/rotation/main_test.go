// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

// Package rotation rotates keys while mail flows, on real parts: no message is
// lost, leaves unsigned, or is signed with a key that a receiver cannot find at
// that moment.
//
// It runs in a network namespace of its own and needs root: make test-rotation.
package rotation

import (
	"fmt"
	"os"
	"testing"

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
		if result != nil {
			fmt.Printf("\n%s", result)
		}
		return code
	}, bind.Resolver, site.Addresses()...))
}

// result is what the last lines of the output say; nil if the story has not come so far.
var result *outcome

// outcome is what became of all mail.
type outcome struct {
	messages        int // reached the world
	rotations       int
	unsigned        int // reached it without an RSA signature of the domain
	unverifiable    int // with a signature that did not verify, but for ...
	revokedInFlight int // ... those of a revoked key, made before signers had dropped it
	lost            int // accepted, and never reached it
}

func (o *outcome) String() string {
	return fmt.Sprintf("messages %d\nrotations %d\nunsigned %d\nunverifiable %d\nrevoked_in_flight %d\nlost %d\n",
		o.messages, o.rotations, o.unsigned, o.unverifiable, o.revokedInFlight, o.lost)
}
