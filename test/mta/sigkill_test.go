// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/senders"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	sigkills        = 30
	sigkillPatience = 5 * time.Minute // far more than they take
)

// TestAMilterThatIsKilledUnderSendmailLetsNothingOutUnsigned: with F=T, as docs/sendmail.md has it, a milter that is killed
// in mid-message makes the client try again. In the end each message has arrived once, signed. test/e2e has the same
// story with Postfix.
func TestAMilterThatIsKilledUnderSendmailLetsNothingOutUnsigned(t *testing.T) {
	t.Parallel()
	w := get(t)
	m := startSendmail(t, w)
	ctx, stop := context.WithTimeout(t.Context(), sigkillPatience)
	defer stop()
	clients := senders.Senders{Server: m.address + ":10025", From: "user@" + acme, To: friend}
	clients.Start(ctx)
	seed := uint64(time.Now().UnixNano())
	pids, err := clients.KilledMeanwhile(ctx, sigkills, seed, func(ctx context.Context) (int, error) {
		pid := w.milter.PID()
		w.milter.Kill()
		return pid, w.startMilter(ctx)
	})
	if err := errors.Join(err, clients.Stop()); err != nil {
		t.Fatalf("%v\n%s", err, w.milter.Tail(20))
	}
	t.Logf("seed %d; killed by SIGKILL: %v", seed, pids)
	t.Log(&clients)
	if clients.Midway() == 0 {
		t.Error("no kill met a message on its way through the milter")
	}

	arrived, err := w.mailbox.Wait(ctx, clients.Taken())
	if err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
	seen := map[string]bool{}
	var all []signed
	for _, d := range arrived {
		_, rest, found := strings.Cut(string(d.Message), "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		if !found || seen[subject] {
			t.Errorf("%q arrived twice, or is no message of ours", subject)
		}
		seen[subject] = true
		all = append(all, signed{subject, acme, d.Message})
	}
	if late := w.mailbox.Take(); len(late) > 0 {
		t.Errorf("%d messages arrived that nobody was told are taken", len(late))
	}
	judgeBy(t, w, all, verifiers.GoMsgauth())
	judge(t, w, all[:min(10, len(all))]) // they are long, and the others are slow
}
