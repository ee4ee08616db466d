// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/sendmail"
)

// TestWhatTheReadmeShowsSigns: the README's few lines sign what is submitted, leave alone what comes from the Internet,
// and let nothing around the milter where they say so.
func TestWhatTheReadmeShowsSigns(t *testing.T) {
	t.Parallel()
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		m := startPostfixWith(t, w, w.sample(t, "README.md", "main.cf"), w.sample(t, "README.md", "master.cf, not in a chroot (the fifth column): the socket is outside of it"))
		w.signsSubmissionAlone(t, m)
		w.probe(t, m, map[string]showing{"smtp :25": {closed, ""}, "submission :587": {waits, ""}, "sendmail": {waits, ""}, "bounce :25": {waits, ""}})
	})
	t.Run("Sendmail", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		// What every sendmail.mc begins and ends with, as the longer page has it.
		page := w.sample(t, "docs/sendmail.md", "sendmail.mc")
		begin, _, _ := strings.Cut(page, "MAIL_FILTER(")
		_, end, _ := strings.Cut(page, "MAILER_DEFINITIONS")
		end, _, _ = strings.Cut(end, "LOCAL_RULESETS")
		m := startSendmailOn(t, w, w.toMailbox(begin+w.sample(t, "README.md", "sendmail.mc")+"MAILER_DEFINITIONS"+end), "", 587)
		w.signsSubmissionAlone(t, m)
		w.probe(t, m, map[string]showing{"submission :587": {waits, ""}})
	})
}

// signsSubmissionAlone submits a message, and sends another one in the same name from the Internet.
func (w *world) signsSubmissionAlone(t *testing.T, m mta) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const text = "From: user@acme.example\r\nTo: friend@elsewhere.example\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\nSubject: As the README has it\r\n\r\nHello.\r\n"
	for by, want := range map[string]bool{"submission": true, "internet": false} {
		s := story{settings: map[string]string{"by": by}, messages: []message{{sender: "user@acme.example", text: []byte(text)}}}
		replies, err := m.play(ctx, s)
		if err != nil || !strings.HasPrefix(replies[0], "250") {
			t.Fatalf("%s: %v %v\n%s", by, replies, err, m.log())
		}
		arrived, err := w.mailbox.Wait(ctx, 1)
		if err != nil {
			t.Fatalf("%s: %v\n%s", by, err, m.log())
		}
		if !want && strings.Contains(string(arrived[0].Message), "DKIM-Signature:") {
			t.Errorf("what a stranger wrote is signed:\n%s", arrived[0].Message)
		}
		if want {
			judge(t, w, []signed{{by, acme, arrived[0].Message}})
		}
	}
}

// TestAFolderThatAGroupWritesToIsAllowedAsThePageSays: Sendmail does not start with a socket in such a folder.
func TestAFolderThatAGroupWritesToIsAllowedAsThePageSays(t *testing.T) {
	t.Parallel()
	w := get(t)
	if err := os.Chmod(filepath.Dir(w.socket), 0o775); err != nil {
		t.Fatal(err)
	}
	config := w.toMailbox(w.sample(t, "docs/sendmail.md", "sendmail.mc"))
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "sendmail.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "``define(`confDONT_BLAME_SENDMAIL'")
	option, _, found := strings.Cut(rest, "``")
	if !found {
		t.Fatal("docs/sendmail.md does not say how such a folder is allowed")
	}
	refused, err := sendmail.Start(t.Context(), w.folder, w.sendmailOptions(config, "", 10025))
	if err == nil {
		t.Error("it starts without the option, and the page says that it does not", refused.Stop())
	} else if !strings.Contains(err.Error(), "unsafe") {
		t.Error(err)
	}
	m := startSendmailOn(t, w, beforeMailers(t, config, "define(`confDONT_BLAME_SENDMAIL'"+option+"dnl\n"), "", 10025)
	w.signsSubmissionAlone(t, m)
}
