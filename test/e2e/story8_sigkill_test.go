// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"errors"
	"io"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/senders"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	sigkills        = 30
	sigkillPatience = 5 * time.Minute // far more than they take
)

// TestAMilterThatIsKilledInMidMessageLetsNothingOutUnsigned: the milter is
// killed again and again while clients send, and try again what is refused for
// now. In the end each message has arrived, and whatever arrived is signed.
func TestAMilterThatIsKilledInMidMessageLetsNothingOutUnsigned(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)
	e.killBetweenCommands(t)

	clients := senders.Senders{Server: site.SMTPD.String(), From: "user@" + acme, To: "friend@elsewhere.example"}
	ctx, stop := context.WithTimeout(t.Context(), sigkillPatience)
	defer stop()
	clients.Start(ctx)
	seed := uint64(time.Now().UnixNano())
	pids, err := clients.KilledMeanwhile(ctx, sigkills, seed, func(ctx context.Context) (int, error) {
		pid := e.Milter.PID()
		e.Milter.Kill()
		return pid, e.StartMilter(ctx)
	})
	if err := errors.Join(err, clients.Stop()); err != nil {
		t.Fatal(err)
	}
	e.tell(t, "seed %d; killed by SIGKILL: %v", seed, pids)
	e.tell(t, "%s", &clients)
	if clients.Midway() == 0 {
		t.Error("no kill met a message on its way through the milter")
	}
	e.allArrivedSigned(t, clients.Taken())
}

// killBetweenCommands kills the milter after it has heard MAIL FROM and before the message: the client is told to try again.
func (e *environment) killBetweenCommands(t *testing.T) {
	t.Helper()
	c, err := smtp.Dial(site.SMTPD.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []func() error{
		func() error { return c.Mail("user@" + acme) },
		func() error { return c.Rcpt("friend@elsewhere.example") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	e.tell(t, "$ kill -9 %d   (the milter, after MAIL FROM)", e.Milter.PID())
	e.Milter.Kill()
	w, err := c.Data()
	if err == nil {
		_, _ = io.WriteString(w, "From: user@"+acme+"\r\nSubject: this must not arrive\r\n\r\nHello.\r\n")
		err = w.Close()
	}
	e.tell(t, "Postfix: %v", err)
	if err == nil || !strings.HasPrefix(err.Error(), "4") {
		t.Errorf("Postfix took a message whose milter was killed: %v", err)
	}
	if err := e.StartMilter(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.nothingArrived(t)
}

// allArrivedSigned takes so many messages, each once, and has each judged.
func (e *environment) allArrivedSigned(t *testing.T, count int) {
	t.Helper()
	seen := map[string]bool{}
	for i, d := range e.arrived(t, count) {
		_, rest, found := strings.Cut(string(d.Message), "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		if !found || seen[subject] {
			t.Errorf("%q arrived twice, or is no message of ours", subject)
		}
		seen[subject] = true
		if i == 0 {
			e.judge(t, d.Message, verifiers.Pass)
		}
		// The others by the one that needs no process of its own.
		if err := agrees(t.Context(), verifiers.GoMsgauth(), d.Message, verifiers.Pass); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	e.tell(t, "%d messages arrived, each once and with two good signatures", len(seen))
}
