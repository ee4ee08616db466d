// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheProbeFindsNoLeakInTheSamples: what the documentation shows lets nothing leave unsigned, by any way.
func TestTheProbeFindsNoLeakInTheSamples(t *testing.T) {
	t.Parallel()
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		w.probe(t, startPostfix(t, w), map[string]showing{
			"smtp :25": {closed, ""}, "submission :587": {waits, ""}, "smtps :465": {waits, ""}, "sendmail": {waits, ""}, "bounce :25": {waits, ""},
		})
	})
	t.Run("Postfix, submission queued first", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		m := startPostfixWith(t, w, w.sample(t, "docs/postfix.md", "main.cf"), w.sample(t, "docs/postfix.md", "master.cf")+w.sample(t, "docs/postfix.md", "master.cf, submission queued first"))
		w.probe(t, m, map[string]showing{"smtp :25": {closed, ""}, "submission :587": {waits, ""}})
	})
	t.Run("Sendmail", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		// Its bounces need a second hop, as the page says.
		w.probe(t, startSendmail(t, w), map[string]showing{
			"smtp :25": {closed, ""}, "submission :587": {waits, ""}, "smtps :465": {waits, ""}, "sendmail": {waits, ""}, "bounce :25": {leaves, "second hop"},
		})
	})
	t.Run("Sendmail, with a second hop", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		w.probe(t, startTwoHops(t, w, "F=T"), map[string]showing{
			"smtp :25": {closed, ""}, "submission :587": {waits, ""}, "smtps :465": {waits, ""}, "sendmail": {waits, ""}, "bounce :25": {waits, ""},
		})
	})
}

// startTwoHops runs the first Sendmail of docs/sendmail.md, which queues, and the second one, whose milter fails as flag says.
func startTwoHops(t *testing.T, w *world, flag string) mta {
	t.Helper()
	const page = "docs/sendmail.md"
	first := replace(t, w.sample(t, page, "sendmail.mc"), ", InputMailFilters=sign", "")
	first = beforeMailers(t, first, w.sample(t, page, "sendmail.mc, with a second hop"))
	second := w.toMailbox(w.sample(t, page, "sendmail-out.mc"))
	second = replace(t, second, "/var/spool/mqueue-out", filepath.Join(w.folder, "out", "sendmail", "mqueue"))
	second = replace(t, second, "/run/sendmail/out.pid", filepath.Join(w.folder, "out.pid"))
	second = replace(t, second, "F=T", flag)
	second = beforeMailers(t, second, fmt.Sprintf("RELAY_DOMAIN(`%s')dnl\n", w.address))
	w.runSendmail(t, "out", second, "", 10026)
	return startSendmailWith(t, w, first, w.sample(t, page, "submit.mc"))
}

// TestTheProbeNamesEachLeakOfPostfix: one fault at each entrance.
func TestTheProbeNamesEachLeakOfPostfix(t *testing.T) {
	t.Parallel()
	const page = "docs/postfix.md"
	t.Run("in master.cf", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		master := w.sample(t, page, "master.cf")
		submission := "submission " + strings.SplitN(strings.SplitN(master, "\nsubmission ", 2)[1], "\nsubmissions ", 2)[0] + "\n"
		queued := w.sample(t, page, "master.cf, submission queued first")
		milter := "  -o smtpd_milters=unix:" + w.socket + "\n"
		on := func(port, text string) string { return replace(t, text, "submission  inet", port+" inet") }
		requeued := func(port, again, text string) string { return replace(t, on(port, text), ":10026", ":"+again) }
		master = replace(t, master, "  -o smtpd_relay_restrictions=reject_unauth_destination\n", "") +
			on("1587", replace(t, submission, milter, "")) +
			on("2587", submission+"  -o milter_default_action=accept\n") +
			on("3587", submission+"  -o milter_default_action=reject\n") +
			requeued("4587", "10027", replace(t, queued, milter, "")) +
			requeued("5587", "10028", queued+"  -o milter_default_action=accept\n")
		m := startPostfixWith(t, w, w.sample(t, page, "main.cf")+"non_smtpd_milters =\n", master)
		w.probe(t, m, map[string]showing{
			"smtp :25":         {leaves, "reject_unauth_destination"},
			"submission :587":  {waits, ""},
			"submission :1587": {leaves, "smtpd_milters"},
			"submission :2587": {opens, "milter_default_action = tempfail"},
			"submission :3587": {loses, "not reject"},
			"submission :4587": {leaves, "content_filter"},
			"submission :5587": {opens, "milter_default_action = tempfail"},
			"sendmail":         {leaves, "non_smtpd_milters"},
			"bounce :25":       {leaves, "internal_mail_filter_classes"},
		})
	})
	for name, fault := range map[string]struct {
		main string
		want map[string]showing
	}{
		"no milter for bounces": {"internal_mail_filter_classes =\n", map[string]showing{"sendmail": {waits, ""}, "bounce :25": {leaves, "internal_mail_filter_classes"}}},
		"milters that may fail open": {"milter_default_action = accept\n", map[string]showing{
			"submission :587": {opens, "milter_default_action = tempfail"}, "smtps :465": {opens, "milter_default_action = tempfail"},
			"sendmail": {opens, "milter_default_action = tempfail"}, "bounce :25": {some, "milter_default_action = tempfail"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(t)
			w.probe(t, startPostfixWith(t, w, w.sample(t, page, "main.cf")+fault.main, w.sample(t, page, "master.cf")), fault.want)
		})
	}
}

// TestTheProbeNamesEachLeakOfSendmail: one fault at each entrance.
func TestTheProbeNamesEachLeakOfSendmail(t *testing.T) {
	t.Parallel()
	t.Run("in sendmail.mc", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		const page = "docs/sendmail.md"
		config := w.toMailbox(w.sample(t, page, "sendmail.mc"))
		config, _, _ = strings.Cut(config, "LOCAL_RULESETS") // its own machine may use port 25
		more := ""
		for port, milter := range map[string]string{"1587": "", "2587": "open", "3587": "lose"} {
			more += fmt.Sprintf("DAEMON_OPTIONS(`Family=inet, Addr=%s, Name=D%[2]s, Port=%[2]s, M=Ea, InputMailFilters=%[3]s')dnl\n", w.address, port, milter)
		}
		more = strings.ReplaceAll(more, ", InputMailFilters='", "'")
		for name, flag := range map[string]string{"open": "", "lose": "F=R, "} {
			more += fmt.Sprintf("MAIL_FILTER(`%s', `S=unix:%s, %sT=C:10s;S:30s;R:30s;E:2m')dnl\n", name, w.socket, flag)
		}
		// What sendmail(1) hands over goes to a listener without a milter.
		submit := replace(t, w.sample(t, page, "submit.mc"), "10025", "1587")
		config = strings.ReplaceAll(beforeMailers(t, config, more), "Port=1587, M=Ea", "Port=1587, M=E")
		w.probe(t, startSendmailWith(t, w, config, submit), map[string]showing{
			"smtp :25":         {leaves, "InputMailFilters"},
			"submission :587":  {waits, ""},
			"submission :1587": {leaves, "InputMailFilters"},
			"submission :2587": {opens, "F=T"},
			"submission :3587": {loses, "F=R"},
			"sendmail":         {leaves, "submit.cf"},
			"bounce :25":       {leaves, "second hop"},
		})
	})
	t.Run("in the second hop", func(t *testing.T) {
		t.Parallel()
		w := get(t)
		w.probe(t, startTwoHops(t, w, "T=C:10s"), map[string]showing{
			"submission :587": {opens, "F=T"}, "sendmail": {opens, "F=T"}, "bounce :25": {some, "F=T"},
		})
	})
}
