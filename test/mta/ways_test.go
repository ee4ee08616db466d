// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/test/env/mailbox"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
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
		Program() []string
		Log() string
		Stop() error
	}
}

func (m mta) log() string { return m.server.Log() }

func (m mta) play(ctx context.Context, s story) ([]string, error) {
	switch s.settings["by"] {
	case "internet":
		return entrance{address: m.address + ":25", outside: true}.submit(ctx, s.messages)
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
