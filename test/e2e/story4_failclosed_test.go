// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

// TestNothingLeavesUnsignedWhileTheMilterIsDead: Postfix refuses mail from the
// network for now, keeps that of sendmail(1), and sends it signed once the
// milter is back.
func TestNothingLeavesUnsignedWhileTheMilterIsDead(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)

	e.tell(t, "$ kill -9 %d   (the milter)", e.Milter.PID())
	e.Milter.Kill()
	e.refused(t, "451 ")
	if out, err := e.MTA.Sendmail(t.Context(), "From: cron@acme.example\nTo: friend@elsewhere.example\nSubject: Written while the milter was dead\n\nHello.\n",
		"-i", "-f", "cron@acme.example", "friend@elsewhere.example"); err != nil {
		t.Fatal(err, out)
	}
	e.tell(t, "$ sendmail -i -f cron@acme.example friend@elsewhere.example")
	// It was offered to the milter, and waits: pickup says so in its log.
	err := eventually(t.Context(), func(context.Context) error {
		if !strings.Contains(e.MTA.Log(), "connect to Milter service unix:"+e.Socket) {
			return errors.New("Postfix has not missed the milter yet:\n" + e.MTA.Log())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e.nothingArrived(t)

	if err := e.StartMilter(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.tell(t, "the milter is back: pid %d", e.Milter.PID())
	e.milterHasKeys(t)
	if err := e.MTA.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := e.arrived(t, 1)[0]
	e.tell(t, "what had waited:\n%s%s", d.Envelope, unix(d.Message))
	e.judge(t, d.Message, verifiers.Pass)
	e.swaks(t, "Hello again", "The milter is back.")
	e.judge(t, e.arrived(t, 1)[0].Message, verifiers.Pass)
}

// TestMailWaitsWhileTheKeyTreeIsMissing: a milter that runs and has no keys at
// all answers 451 for everybody, and signs as soon as the keys are there.
func TestMailWaitsWhileTheKeyTreeIsMissing(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)

	if err := e.StopMirror(); err != nil {
		t.Fatal(err)
	}
	gone := e.Keys + ".gone"
	if err := os.Rename(e.Keys, gone); err != nil {
		t.Fatal(err)
	}
	e.tell(t, "$ mv %s %s", e.Keys, gone)
	var why error
	err := eventually(t.Context(), func(ctx context.Context) error {
		if why = site.Healthy(ctx, site.MilterURL+"/readyz"); why == nil {
			return errors.New("the milter is ready without keys")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e.tell(t, "%v", why)
	e.refused(t, "451 4.7.0 ")
	e.nothingArrived(t)

	if err := os.Rename(gone, e.Keys); err != nil {
		t.Fatal(err)
	}
	e.StartMirror()
	e.milterHasKeys(t)
	e.swaks(t, "The keys are back", "And so is the mail.")
	e.judge(t, e.arrived(t, 1)[0].Message, verifiers.Pass)
}

// refused sends by swaks and expects a reply that begins so.
func (e *environment) refused(t *testing.T, reply string) {
	t.Helper()
	swaks, err := process.Find("swaks", "swaks")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), swaks, "--server", site.SMTPD.Addr().String(), "--from", "user@"+acme, "--to", "friend@elsewhere.example",
		"--header", "Subject: This must not arrive").CombinedOutput()
	e.tell(t, "$ swaks --server %s --from user@%s --to friend@elsewhere.example\n%s", site.SMTPD.Addr(), acme, out)
	if err == nil {
		t.Error("Postfix took the message")
	}
	if !strings.Contains(string(out), "<** "+reply) {
		t.Errorf("Postfix did not answer %s", reply)
	}
}

// nothingArrived looks at smtp-sink. What arrived later would be taken for the story's next message, which it is not, and fail there.
func (e *environment) nothingArrived(t *testing.T) {
	t.Helper()
	queue, err := e.MTA.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.tell(t, "$ postqueue -p\n%s", queue)
	deliveries, err := e.Sink.Take()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deliveries {
		t.Error(fmt.Errorf("this arrived:\n%s%s", d.Envelope, unix(d.Message)))
	}
	e.tell(t, "at smtp-sink: nothing")
}
