// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/mailbox"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

func TestTheStoriesAreToldByOurOwnClient(t *testing.T) {
	t.Parallel()
	w := get(t)
	tell(t, w, "direct", &direct{w: w})
}

func TestTheStoriesAreToldByPostfix(t *testing.T) {
	t.Parallel()
	w := get(t)
	tell(t, w, "postfix", startPostfix(t, w))
}

func TestTheStoriesAreToldBySendmail(t *testing.T) {
	t.Parallel()
	w := get(t)
	tell(t, w, "sendmail", startSendmail(t, w))
}

// signed is a message that arrived, and whose signature it has to bear.
type signed struct {
	story, domain string
	message       []byte
}

// tell has the player tell every story that is for it, and the verifiers judge all that arrived signed.
func tell(t *testing.T, w *world, name string, p player) {
	t.Helper()
	var toJudge []signed
	for _, s := range stories(t) {
		if !strings.Contains(s.settings["only"], name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			arrived := w.play(t, p, s)
			for _, m := range s.passed() {
				d := m.delivery(t, arrived)
				holds(t, m, d)
				if domain := m.one("signed"); domain != "" && domain != "nobody" {
					toJudge = append(toJudge, signed{s.name, domain, d.Message})
				}
			}
		})
	}
	judge(t, w, toJudge)
}

// passed are the messages that go on their way.
func (s story) passed() []message {
	var all []message
	for _, m := range s.messages {
		if strings.HasPrefix(m.one("reply"), "2") {
			all = append(all, m)
		}
	}
	return all
}

// delivery is how a message arrived: an MTA delivers in an order of its own, and a story gives each message a Subject of its own.
func (m message) delivery(t *testing.T, arrived []mailbox.Delivery) mailbox.Delivery {
	t.Helper()
	subject := regexp.MustCompile(`(?m)^Subject:.*$`).Find(m.text)
	for _, d := range arrived {
		if bytes.Contains(d.Message, subject) {
			return d
		}
	}
	t.Fatalf("%q is not among what arrived", subject)
	return mailbox.Delivery{}
}

// play tells one story and returns what arrived: exactly what should have.
func (w *world) play(t *testing.T, p player, s story) []mailbox.Delivery {
	t.Helper()
	if s.settings["keys"] == "missing" {
		w.hideKeys(t)
	}
	if kind := s.settings["dkim"]; kind != "" {
		for i := range s.messages {
			s.messages[i].text = w.signAsPartner(t, kind, s.messages[i].text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replies, err := p.play(ctx, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	for i, m := range s.messages {
		if !strings.HasPrefix(replies[i], m.one("reply")) {
			t.Errorf("message %d is answered %q, not %q", i, replies[i], m.one("reply"))
		}
	}
	if d, ok := p.(*direct); ok {
		defer func() { d.sent = nil }()
		if len(d.sent) != len(s.passed()) {
			t.Fatalf("%d messages passed, not %d", len(d.sent), len(s.passed()))
		}
		return d.sent
	}
	arrived, err := w.mailbox.Wait(ctx, len(s.passed()))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	return arrived
}

// holds compares what arrived with what was expected of it.
func holds(t *testing.T, m message, d mailbox.Delivery) {
	t.Helper()
	head, _, _ := strings.Cut(string(d.Message), "\r\n\r\n")
	unfolded := regexp.MustCompile(`\r\n[ \t]+`).ReplaceAllString(head, " ")
	for _, e := range m.expect {
		switch e.word {
		case "header":
			if !regexp.MustCompile(`(?m)` + e.value).MatchString(strings.ReplaceAll(unfolded, "\r\n", "\n")) {
				t.Errorf("no field is like %q:\n%s", e.value, head)
			}
		case "text":
			if !strings.Contains(string(d.Message), e.value) {
				t.Errorf("%q is not in what arrived:\n%q", e.value, d.Message)
			}
		case "absent":
			if strings.Contains(string(d.Message), e.value) {
				t.Errorf("%q is in what arrived:\n%s", e.value, d.Message)
			}
		case "signed":
			if e.value == "nobody" && strings.Contains(strings.ToLower(head), "dkim-signature:") {
				t.Errorf("this was signed:\n%s", d.Message)
			}
		}
	}
	if m.utf8 != d.UTF8 {
		t.Errorf("it arrived with SMTPUTF8 %t, not %t", d.UTF8, m.utf8)
	}
}

// judge has every verifier judge every message at once: it is the processes that cost.
func judge(t *testing.T, w *world, all []signed) {
	t.Helper()
	judgeBy(t, w, all, verifiers.All()...)
}

func judgeBy(t *testing.T, w *world, all []signed, judges ...verifiers.Verifier) {
	t.Helper()
	var messages [][]byte
	for _, s := range all {
		messages = append(messages, s.message)
	}
	for _, v := range judges {
		verdicts, err := v.JudgeAll(t.Context(), w.dns(), messages)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range all {
			if err := agree(v, verdicts[i], s.domain, verifiers.Pass); err != nil {
				t.Errorf("%s: %v\n%s", s.story, err, s.message)
			}
		}
		t.Logf("%-13s agrees on %d messages", v.Name, len(messages))
	}
}

// agree tells whether there is one signature of each algorithm, and the verifier says want of those that it can judge.
func agree(v verifiers.Verifier, verdicts []verifiers.Verdict, domain string, want verifiers.Result) error {
	seen := map[string]bool{}
	for _, one := range verdicts {
		seen[one.Algorithm] = true
		expected := want
		if !v.Knows(one.Algorithm) {
			expected = verifiers.Unable
		}
		if one.Result != expected || one.Domain != domain {
			return fmt.Errorf("%s should say %s of the %s signature: %s", v.Name, expected, one.Algorithm, one)
		}
	}
	if len(verdicts) != 2 || !seen["rsa-sha256"] || !seen["ed25519-sha256"] {
		return fmt.Errorf("%s sees not one RSA and one Ed25519 signature: %v", v.Name, verdicts)
	}
	return nil
}

// dns is where verifiers find the keys.
func (w *world) dns() verifiers.DNS {
	texts := map[string]string{}
	for _, domain := range []string{acme, strict} {
		texts["r._domainkey."+domain], texts["e._domainkey."+domain] = w.rsa.Record().String(), w.ed25519.Record().String()
	}
	return verifiers.DNS{Server: bind.Primary, Texts: texts}
}
