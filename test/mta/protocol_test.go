// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"fmt"
	"io"
	"net/smtp"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// silent are the flags by which an MTA waits for no answer before the end of a message.
const silent = miltertest.NRConnect | miltertest.NRHelo | miltertest.NRMail | miltertest.NRRcpt | miltertest.NRData | miltertest.NRUnknown |
	miltertest.NRHeader | miltertest.NREOH | miltertest.NRBody

// TestEachMTANegotiatesWhatItSpeaks: what real MTAs offer and our milter agrees to, from version 2 on, seen on the wire;
// three messages of one connection between commands that are taken back. Neither MTA shows a milter a message before its
// end has come, so that nothing is taken back in its midst: internal/milter has that, and version 5, by a client of our own.
func TestEachMTANegotiatesWhatItSpeaks(t *testing.T) {
	t.Parallel()
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		taps, services := map[int]*miltertest.Tap{}, ""
		for _, version := range []int{2, 3, 4, 6} { // all that its milter_protocol knows
			tap := w.tap(t, fmt.Sprintf("v%d.sock", version))
			taps[version] = tap
			services += fmt.Sprintf("%d587 inet n - n - - smtpd\n  -o milter_protocol=%d\n  -o smtpd_relay_restrictions=permit_mynetworks,reject\n  -o smtpd_milters=unix:%s\n",
				version, version, filepath.Join(w.folder, fmt.Sprintf("v%d.sock", version)))
		}
		m := startPostfixWith(t, w, w.sample(t, "docs/postfix.md", "main.cf"), w.sample(t, "docs/postfix.md", "master.cf")+services)
		for version, tap := range taps {
			w.takesBackAndSends(t, m, fmt.Sprintf("%s:%d587", m.address, version))
			negotiated(t, tap, uint32(version), "A")
		}
	})
	t.Run("Sendmail", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		tap := w.tap(t, "v6.sock")
		config := replace(t, w.toMailbox(w.sample(t, "docs/sendmail.md", "sendmail.mc")), w.socket, filepath.Join(w.folder, "v6.sock"))
		m := startSendmailWith(t, w, config, "")
		w.takesBackAndSends(t, m, m.address+":10025")
		// It has no setting for another version; to a milter that answers nothing it sends no abort, and begins anew.
		negotiated(t, tap, 6, "")
	})
}

// tap opens one in front of the signing milter.
func (w *world) tap(t *testing.T, name string) *miltertest.Tap {
	t.Helper()
	tap, err := miltertest.Listen(t.Context(), filepath.Join(w.folder, name), w.socket)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, tap.Close)
	return tap
}

// takesBackAndSends sends three messages over one connection, and takes back what it has begun at each stage before them.
func (w *world) takesBackAndSends(t *testing.T, m mta, address string) {
	t.Helper()
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mail := func() error { return c.Mail("user@acme.example") }
	rcpt := func() error { return c.Rcpt(friend) }
	send := func() error {
		data, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(data, "From: user@acme.example\r\nTo: "+friend+"\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\nSubject: One of three\r\n\r\nHello.\r\n"); err != nil {
			return err
		}
		return data.Close()
	}
	for i, step := range []func() error{mail, c.Reset, mail, rcpt, send, mail, rcpt, c.Reset, mail, rcpt, send, mail, rcpt, send, c.Quit} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v\n%s", i, err, m.log())
		}
	}
	arrived, err := w.mailbox.Wait(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	var messages []signed
	for _, d := range arrived {
		messages = append(messages, signed{address, acme, d.Message})
	}
	judge(t, w, messages)
}

// negotiated holds what was said at a tap against what a version of the protocol has; aborted is how the MTA says that it
// takes back what it has begun.
func negotiated(t *testing.T, tap *miltertest.Tap, version uint32, aborted string) {
	t.Helper()
	var sessions []miltertest.Session
	for _, s := range tap.Sessions() {
		t.Logf("offered %d %#x %#x, agreed %d %#x %#x: %s, answered by %s", s.Offered.Version, s.Offered.Actions, s.Offered.Protocol, s.Agreed.Version, s.Agreed.Actions, s.Agreed.Protocol, s.Commands, s.Answers)
		if s.Commands != "OCQ" { // who only looks whether the MTA is there
			sessions = append(sessions, s)
		}
	}
	if len(sessions) != 1 {
		t.Fatalf("%d connections to the milter, not one", len(sessions))
	}
	s := sessions[0]
	if s.Offered.Version != version || s.Agreed.Version != version {
		t.Errorf("version %d was offered and %d agreed, not %d", s.Offered.Version, s.Agreed.Version, version)
	}
	if s.Agreed.Actions&^s.Offered.Actions != 0 || s.Agreed.Protocol&^s.Offered.Protocol != 0 {
		t.Errorf("more was agreed than offered")
	}
	if got := strings.Count(s.Commands, "E"); got != 3 {
		t.Errorf("%d messages passed over the connection, not 3", got)
	}
	if !regexp.MustCompile("^OCM" + aborted + "ML+NBE" + aborted + "M" + aborted + "ML+NBE" + aborted + "ML+NBE").MatchString(s.Commands) {
		t.Errorf("what was taken back is not among the commands: %s", s.Commands)
	}
	// An edit is h, i or m, and c lets the message pass.
	quiet := regexp.MustCompile(`^O([him]+c){3}$`).MatchString(s.Answers)
	if version == 6 && (s.Agreed.Protocol&silent != silent || !quiet) {
		t.Errorf("the milter answers before the end of a message: %s with %#x", s.Answers, s.Agreed.Protocol)
	}
	if version < 6 && (s.Agreed.Protocol&silent&^miltertest.NRHeader != 0 || quiet) {
		t.Errorf("the milter answers too little for version %d: %s with %#x", version, s.Answers, s.Agreed.Protocol)
	}
}
