// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

// TestMailThroughPostfixIsSignedAndEveryVerifierAgrees: what swaks and
// smtp-source send arrives with an RSA and an Ed25519 signature, and four
// programs that are not ours say so; one byte changed, and all of them see it.
func TestMailThroughPostfixIsSignedAndEveryVerifierAgrees(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)

	e.swaks(t, "Hello from swaks", "Dear all,\r\n\r\nthis is a line with trailing space \r\nand =C3=BC a tab\there.\r\n")
	swaks := e.arrived(t, 1)[0]
	e.tell(t, "what arrived at smtp-sink:\n%s%s", swaks.Envelope, unix(swaks.Message))
	e.judge(t, swaks.Message, verifiers.Pass)

	e.run(t, "smtp-source", "postfix", "-c", "-s", "4", "-m", "12", "-l", "6000", "-S", "Hello from smtp-source",
		"-f", "user@"+acme, "-t", "friend@elsewhere.example", site.SMTPD.String())
	many := e.arrived(t, 12)
	for i, d := range many {
		if i == 0 {
			e.tell(t, "the first of %d:", len(many))
			e.judge(t, d.Message, verifiers.Pass)
			continue
		}
		// The others by the one that needs no process of its own.
		if err := agrees(t.Context(), verifiers.GoMsgauth(), d.Message, verifiers.Pass); err != nil {
			t.Error(err)
		}
	}

	e.tell(t, "one byte of the body flipped:")
	e.judge(t, flip(t, swaks.Message, "\r\n\r\nDear"), verifiers.Fail)
	e.tell(t, "one byte of the Subject flipped:")
	e.judge(t, flip(t, swaks.Message, "Hello from"), verifiers.Fail)
	e.tell(t, "a second From added:")
	e.judge(t, append([]byte("From: <ceo@elsewhere.example>\r\n"), swaks.Message...), verifiers.Fail)
}

func TestSendmailAndBouncesAreSignedToo(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)

	out, err := e.MTA.Sendmail(t.Context(), "From: cron@acme.example\nTo: friend@elsewhere.example\nSubject: Hello from sendmail\n\n.\nA dot was a line.\n",
		"-i", "-f", "cron@acme.example", "friend@elsewhere.example")
	if err != nil {
		t.Fatal(err, out)
	}
	e.tell(t, "$ sendmail -i -f cron@acme.example friend@elsewhere.example")
	d := e.arrived(t, 1)[0]
	e.tell(t, "%s%s", d.Envelope, unix(d.Message))
	e.judge(t, d.Message, verifiers.Pass)

	e.run(t, "swaks", "swaks", "--silent", "2", "--server", site.SMTPD.Addr().String(), "--from", "user@acme.example", "--to", "nobody@nowhere.example", "--header", "Subject: To nobody")
	d = e.arrived(t, 1)[0]
	e.tell(t, "the bounce:\n%s%s", d.Envelope, unix(d.Message))
	if !strings.Contains(d.Envelope, "X-Mail-Args: <>") || !bytes.Contains(d.Message, []byte("Undelivered Mail")) {
		t.Error("that is no bounce")
	}
	e.judge(t, d.Message, verifiers.Pass)
}

// milterHasKeys waits until the milter signs with what signs in the cluster.
func (e *environment) milterHasKeys(t *testing.T) {
	t.Helper()
	err := eventually(t.Context(), func(ctx context.Context) error {
		if err := site.Healthy(ctx, site.MilterURL+"/readyz"); err != nil {
			return err
		}
		keys, err := e.milterKeys(ctx)
		if err != nil {
			return err
		}
		if !strings.Contains(keys, "rsa-sha256") || !strings.Contains(keys, "ed25519-sha256") {
			return fmt.Errorf("the milter has no key of both algorithms: %s", keys)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, e.Milter.Tail(10))
	}
}

// swaks sends a message as user@acme.example.
func (e *environment) swaks(t *testing.T, subject, body string) {
	t.Helper()
	e.run(t, "swaks", "swaks", "--silent", "2", "--server", site.SMTPD.Addr().String(), "--from", "user@"+acme, "--to", "friend@elsewhere.example",
		"--header", "Subject: "+subject, "--body", body)
}

// run runs a program of a Debian package, shows what it says and returns it.
func (e *environment) run(t *testing.T, program, debianPackage string, args ...string) {
	t.Helper()
	path, err := process.Find(program, debianPackage)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	e.tell(t, "$ %s %s\n%s", program, strings.Join(args, " "), out)
	if err != nil {
		t.Fatal(program, err)
	}
}

// arrived waits for exactly count messages at smtp-sink.
func (e *environment) arrived(t *testing.T, count int) []postfix.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	deliveries, err := e.Sink.Wait(ctx, count)
	if err != nil || len(deliveries) != count {
		t.Fatalf("%d messages, not %d: %v\n%s", len(deliveries), count, err, e.MTA.Log())
	}
	return deliveries
}

// judge has every verifier judge a message, shows what they say, and fails unless all say want, of an RSA and an Ed25519 signature.
func (e *environment) judge(t *testing.T, message []byte, want verifiers.Result) {
	t.Helper()
	for _, v := range verifiers.All() {
		verdicts, err := v.Judge(t.Context(), bind.Primary, message)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, one := range verdicts {
			e.tell(t, "%-13s %s", v.Name, one)
		}
		if err := check(v, verdicts, want); err != nil {
			t.Error(err)
		}
	}
}

func agrees(ctx context.Context, v verifiers.Verifier, message []byte, want verifiers.Result) error {
	verdicts, err := v.Judge(ctx, bind.Primary, message)
	if err != nil {
		return err
	}
	return check(v, verdicts, want)
}

// check tells whether there is one signature of each algorithm, and the verifier says want of those that it can judge.
func check(v verifiers.Verifier, verdicts []verifiers.Verdict, want verifiers.Result) error {
	seen := map[string]bool{}
	for _, one := range verdicts {
		seen[one.Algorithm] = true
		expected := want
		if !v.Knows(one.Algorithm) {
			expected = verifiers.Unable
		}
		if one.Result != expected || one.Domain != acme {
			return fmt.Errorf("%s should say %s of the %s signature: %s", v.Name, expected, one.Algorithm, one)
		}
	}
	if len(verdicts) != 2 || !seen["rsa-sha256"] || !seen["ed25519-sha256"] {
		return fmt.Errorf("%s sees not one RSA and one Ed25519 signature: %v", v.Name, verdicts)
	}
	return nil
}

// flip changes the last bit of the last octet of text, which must be in the message.
func flip(t *testing.T, message []byte, text string) []byte {
	t.Helper()
	i := bytes.Index(message, []byte(text))
	if i < 0 {
		t.Fatalf("%q is not in the message", text)
	}
	changed := bytes.Clone(message)
	changed[i+len(text)-1] ^= 1
	return changed
}

// unix is a message as a terminal shows it.
func unix(message []byte) string { return strings.ReplaceAll(string(message), "\r\n", "\n") }
