// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/mailbox"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/saslauthd"
	"github.com/maildomain-operator/maildomain-operator/test/env/sendmail"
)

var (
	postfixAddress = netip.MustParseAddr("127.0.53.25")
	worldAddress   = netip.MustParseAddr("127.0.53.26")
)

// player plays the MTA of a story.
type player interface {
	// play sends the messages of a story and returns the reply to each; what goes on its way arrives in the mailbox.
	play(ctx context.Context, s story) ([]string, error)
	// log is what the MTA says about it.
	log() string
}

// direct speaks to the milter itself, and puts what it lets pass into a mailbox of its own.
type direct struct {
	w    *world
	sent []mailbox.Delivery
}

func (d *direct) log() string { return d.w.milter.Tail(20) }

func (d *direct) play(ctx context.Context, s story) ([]string, error) {
	socket := d.w.socket
	if s.settings["by"] == "internet" {
		socket = d.w.verify
	}
	conn, err := miltertest.Dial(ctx, "unix:"+socket, miltertest.Options{})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var replies []string
	for i, m := range s.messages {
		one := miltertest.Message{Raw: m.text, Sender: "<" + m.sender + ">", QueueID: fmt.Sprint(s.name, i), Recipients: []string{"<" + friend + ">"}}
		if m.utf8 {
			one.Params = append(one.Params, "SMTPUTF8")
		}
		if s.settings["by"] == "submission" {
			one.Login = s.login()
		}
		reply, out, err := conn.Send(one)
		if err != nil {
			return replies, err
		}
		if reply.Accepted {
			reply.Text = "250 2.0.0 Ok"
			d.sent = append(d.sent, mailbox.Delivery{Sender: m.sender, UTF8: m.utf8, Message: out})
		}
		replies = append(replies, reply.Text)
	}
	return replies, nil
}

// login is who submits.
func (s story) login() string {
	switch login := s.settings["login"]; login {
	case "":
		return "user@acme.example"
	case "nobody":
		return ""
	default:
		return login
	}
}

// mta is a real one: it has listeners, and sendmail(1).
type mta struct {
	w       *world
	address string
	server  interface {
		Sendmail(ctx context.Context, message string, args ...string) (string, error)
		Flush(ctx context.Context) error
		Queue(ctx context.Context) (string, error)
		Log() string
		Stop() error
	}
}

func (m mta) log() string { return m.server.Log() }

func (m mta) play(ctx context.Context, s story) ([]string, error) {
	switch s.settings["by"] {
	case "internet":
		return entrance{address: m.address + ":25"}.submit(ctx, s.messages)
	case "sendmail":
		var replies []string
		for _, one := range s.messages {
			out, err := m.server.Sendmail(ctx, strings.ReplaceAll(string(one.text), "\r\n", "\n"), "-i", "-f", one.sender, friend)
			if err != nil {
				return replies, fmt.Errorf("%w: %s", err, out)
			}
			replies = append(replies, "250 "+out)
		}
		return replies, nil
	default:
		return m.submission(s.login()).submit(ctx, s.messages)
	}
}

// submission is port 587.
func (m mta) submission(login string) entrance {
	return entrance{address: m.address + ":587", tls: m.w.tls.client, login: login}
}

// folder makes one of a short name: the path of a socket may have 107 characters.
func (w *world) folder(t *testing.T, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp(w.dir, prefix) //nolint:usetesting // t.TempDir is below /tmp, which Sendmail does not trust
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startPostfix runs Postfix as docs/postfix.md has it; further blocks of it replace services of the same name.
func startPostfix(t *testing.T, w *world, blocks ...string) mta {
	t.Helper()
	dir := w.folder(t, "postfix-")
	accept := ""
	if slices.Contains(blocks, "accept") { // what docs/postfix.md warns of
		blocks, accept = nil, "milter_default_action = accept\n"
	}
	services := ""
	for _, block := range append([]string{"master.cf"}, blocks...) {
		services += w.sample(t, "postfix.md", block)
	}
	server, err := postfix.Start(t.Context(), dir, postfix.Options{
		Listen: netip.AddrPortFrom(postfixAddress, 25), Sink: netip.AddrPortFrom(worldAddress, 2525), Origin: acme, Undeliverable: "nowhere.example",
		Main:     w.sample(t, "postfix.md", "main.cf") + fmt.Sprintf("smtpd_tls_chain_files = %s, %s\n", w.tls.key, w.tls.chain) + accept,
		Services: services,
		SASL:     saslauthd.Configuration(w.dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return mta{w: w, address: postfixAddress.String(), server: server}
}

// startSendmail runs Sendmail as docs/sendmail.md has it, with the mailbox as its smart host.
func startSendmail(t *testing.T, w *world) mta {
	t.Helper()
	dir := w.folder(t, "sendmail-")
	config := strings.Replace(w.sample(t, "sendmail.md", "sendmail.mc"), "MAILER_DEFINITIONS", fmt.Sprintf("define(`SMART_HOST', `relay:[%s]')dnl\n"+
		"define(`RELAY_MAILER_ARGS', `TCP $h 2525')dnl\n"+
		"define(`confCACERT_PATH', `%[4]s')dnl\n"+
		"define(`confSERVER_KEY', `%[2]s')dnl\ndefine(`confSERVER_CERT', `%[3]s')dnl\ndefine(`confCACERT', `%[3]s')dnl\n"+
		"RELAY_DOMAIN(`elsewhere.example')dnl\n"+
		"MAILER_DEFINITIONS", worldAddress, w.tls.key, w.tls.chain, w.dir), 1)
	server, err := sendmail.Start(t.Context(), dir, sendmail.Options{
		Name: serverName, Config: config, Submit: w.sample(t, "sendmail.md", "submit.mc"), Listen: "127.0.0.1:10025", SASL: saslauthd.Configuration(w.dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return mta{w: w, address: postfixAddress.String(), server: server}
}

// sample is the block of a page of docs/ that begins with its own name as a comment, with the sockets where ours are.
func (w *world) sample(t *testing.T, page, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"\n# ", "\ndnl "} {
		_, rest, found := strings.Cut(string(text), mark+name+"\n")
		if block, _, closed := strings.Cut(rest, "```\n"); found && closed {
			block = strings.ReplaceAll(block, "unix:/run/milter/sign.sock", "unix:"+w.socket)
			return strings.ReplaceAll(block, "unix:/run/milter/verify.sock", "unix:"+w.verify)
		}
	}
	t.Fatalf("docs/%s shows no %s", page, name)
	return ""
}
