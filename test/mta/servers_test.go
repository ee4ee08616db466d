// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/saslauthd"
	"github.com/maildomain-operator/maildomain-operator/test/env/sendmail"
)

// startPostfix runs Postfix as docs/postfix.md has it.
func startPostfix(t *testing.T, w *world) mta {
	t.Helper()
	return startPostfixWith(t, w, w.sample(t, "docs/postfix.md", "main.cf"), w.sample(t, "docs/postfix.md", "master.cf"))
}

// startPostfixWith runs Postfix with a main.cf and a master.cf; of two services of one name the last counts.
func startPostfixWith(t *testing.T, w *world, main, master string) mta {
	t.Helper()
	// Our own mail and that of friends comes in here, and goes on to the mailbox.
	main = fmt.Sprintf("relay_domains = %s, elsewhere.example\nsmtpd_tls_chain_files = %s, %s\n", acme, w.tls.key, w.tls.chain) + main
	server, err := postfix.Start(t.Context(), w.folder, postfix.Options{
		Listen: netip.AddrPortFrom(w.address, 25), Sink: w.sink(), Origin: acme, Undeliverable: "nowhere.example",
		Main: main, Services: master, SASL: saslauthd.Configuration(w.dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	stop(t, server.Stop)
	return mta{w: w, address: w.address.String(), server: server}
}

// startSendmail runs Sendmail as docs/sendmail.md has it.
func startSendmail(t *testing.T, w *world) mta {
	t.Helper()
	return startSendmailWith(t, w, w.toMailbox(w.sample(t, "docs/sendmail.md", "sendmail.mc")), w.sample(t, "docs/sendmail.md", "submit.mc"))
}

// startSendmailWith runs Sendmail with a sendmail.mc and a submit.mc; empty: without sendmail(1).
func startSendmailWith(t *testing.T, w *world, config, submit string) mta {
	t.Helper()
	return startSendmailOn(t, w, config, submit, 10025)
}

// startSendmailOn runs Sendmail and waits for one of its ports.
func startSendmailOn(t *testing.T, w *world, config, submit string, port uint16) mta {
	t.Helper()
	// Our own mail and that of friends comes in here.
	config = beforeMailers(t, config, fmt.Sprintf("define(`confCACERT_PATH', `%[3]s')dnl\n"+
		"define(`confSERVER_KEY', `%[1]s')dnl\ndefine(`confSERVER_CERT', `%[2]s')dnl\ndefine(`confCACERT', `%[2]s')dnl\n"+
		"RELAY_DOMAIN(`elsewhere.example')dnl\nRELAY_DOMAIN(`%[4]s')dnl\n", w.tls.key, w.tls.chain, w.dir, acme))
	return mta{w: w, address: w.address.String(), server: w.runSendmail(t, "s", config, submit, port)}
}

// runSendmail runs one Sendmail and waits for a port of it.
func (w *world) runSendmail(t *testing.T, folder, config, submit string, port uint16) *sendmail.Instance {
	t.Helper()
	dir := filepath.Join(w.folder, folder)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	server, err := sendmail.Start(t.Context(), dir, w.sendmailOptions(config, submit, port))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, server.Stop)
	return server
}

func (w *world) sendmailOptions(config, submit string, port uint16) sendmail.Options {
	return sendmail.Options{Name: serverName, Config: config, Submit: submit, Listen: netip.AddrPortFrom(w.address, port).String(), SASL: saslauthd.Configuration(w.dir)}
}

// toMailbox makes the mailbox the smart host of a Sendmail.
func (w *world) toMailbox(config string) string {
	return strings.Replace(config, "MAILER_DEFINITIONS", fmt.Sprintf("define(`SMART_HOST', `relay:[%s]')dnl\ndefine(`RELAY_MAILER_ARGS', `TCP $h 2525')dnl\nMAILER_DEFINITIONS", w.address), 1)
}

// beforeMailers puts more into a sendmail.mc.
func beforeMailers(t *testing.T, config, more string) string {
	t.Helper()
	return replace(t, config, "MAILER_DEFINITIONS", more+"MAILER_DEFINITIONS")
}

// replace replaces what has to be there.
func replace(t *testing.T, text, old, by string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in:\n%s", old, text)
	}
	return strings.ReplaceAll(text, old, by)
}

// sample is a block of a page that begins with its own name as a comment, up to an empty line and the next such comment or
// its end; sockets and addresses are those of this world.
func (w *world) sample(t *testing.T, page, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"# ", "dnl "} {
		_, rest, found := strings.Cut(string(text), "\n"+mark+name+"\n")
		block, _, closed := strings.Cut(rest, "```\n")
		if !found || !closed {
			continue
		}
		block, _, _ = strings.Cut(block, "\n\n"+mark)
		return w.here(block) + "\n"
	}
	t.Fatalf("%s shows no %s", page, name)
	return ""
}

// here puts this world's sockets and address into a sample. Other worlds have the other addresses of the machine.
func (w *world) here(block string) string {
	return strings.NewReplacer(
		"/run/milter/sign.sock", w.socket, "/run/milter/verify.sock", w.verify,
		"Family=inet, Name=", "Family=inet, Addr="+w.address.String()+", Name=", "Addr=127.0.0.1", "Addr="+w.address.String(),
		"127.0.0.1", w.address.String(),
	).Replace(block)
}
