// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const friend = "friend@elsewhere.example"

// entrance is a listener of an MTA.
type entrance struct {
	address string
	tls     *tls.Config // nil: none
	wrapped bool        // TLS from the first octet (RFC 8314 §3.3)
	login   string
	outside bool // comes from elsewhere, and not from this machine
}

// outside is where clients come from that are not this machine.
var outside = net.Dialer{LocalAddr: &net.TCPAddr{IP: partnerAddress.AsSlice()}}

func (e entrance) dial(ctx context.Context) (*smtp.Client, error) {
	var d net.Dialer
	if e.outside {
		d = outside
	}
	conn, err := d.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	var c *smtp.Client
	switch {
	case e.tls == nil:
		c = smtp.NewClient(conn)
	case e.wrapped:
		c = smtp.NewClient(tls.Client(conn, e.tls))
	default:
		if c, err = smtp.NewClientStartTLS(conn, e.tls); err != nil {
			return nil, err
		}
	}
	if err := c.Hello("client.example"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if e.login != "" {
		if err := c.Auth(sasl.NewPlainClient("", e.login, password)); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// submit sends messages over one connection and returns the reply to each, wherever it came.
func (e entrance) submit(ctx context.Context, messages []message) ([]string, error) {
	c, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var replies []string
	for i, m := range messages {
		reply, err := submitOne(c, m)
		if refusal := (*smtp.SMTPError)(nil); errors.As(err, &refusal) {
			code := refusal.EnhancedCode
			reply = fmt.Sprintf("%d %d.%d.%d %s", refusal.Code, code[0], code[1], code[2], refusal.Message)
			err = c.Reset()
		}
		if err != nil {
			return replies, fmt.Errorf("message %d: %w", i, err)
		}
		replies = append(replies, reply)
	}
	return replies, c.Quit()
}

func submitOne(c *smtp.Client, m message) (string, error) {
	if err := c.Mail(m.sender, &smtp.MailOptions{UTF8: m.utf8}); err != nil {
		return "", err
	}
	if err := c.Rcpt(friend, nil); err != nil {
		return "", err
	}
	data, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := data.Write(m.text); err != nil {
		return "", err
	}
	response, err := data.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return "250 " + response.StatusText, nil
}
