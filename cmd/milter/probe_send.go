// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/maildomain-operator/maildomain-operator/internal/mtaprobe"
)

// probeTimeout bounds one message: an MTA may ask a milter that is gone for a while.
const probeTimeout = 2 * time.Minute

// probeMessage is one message of a probe.
type probeMessage struct {
	from, to, mark string
	entrance       mtaprobe.Entrance
	state          mtaprobe.State
}

func (m probeMessage) text(now time.Time) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nSubject: %s by %s while the milter %s\r\n\r\n"+
		"This tests whether mail would leave unsigned. If it arrives without a DKIM signature, it would.\r\n",
		m.from, m.to, now.Format(time.RFC1123Z), m.mark, domainOf(m.from), m.mark, m.entrance.Way, m.state)
}

func domainOf(address string) string { return address[strings.LastIndex(address, "@")+1:] }

// send hands a message to the MTA and fills in what it says.
func (o *probeOptions) send(ctx context.Context, m probeMessage, now time.Time) mtaprobe.Attempt {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	a := mtaprobe.Attempt{Entrance: m.entrance, State: m.state}
	var err error
	if m.entrance.Way == mtaprobe.Program {
		a.Reply, err = handOver(ctx, m, now)
	} else {
		a.Reply, err = o.submit(ctx, m, now)
	}
	if refusal := (*smtp.SMTPError)(nil); errors.As(err, &refusal) {
		a.Reply, err = replyText(refusal), nil
	}
	if err != nil {
		a.Trouble = err.Error()
	}
	return a
}

func replyText(refusal *smtp.SMTPError) string {
	code := refusal.EnhancedCode
	if code[0] <= 0 { // there was none
		return fmt.Sprintf("%d %s", refusal.Code, refusal.Message)
	}
	return fmt.Sprintf("%d %d.%d.%d %s", refusal.Code, code[0], code[1], code[2], refusal.Message)
}

// handOver gives the message to sendmail(1).
func handOver(ctx context.Context, m probeMessage, now time.Time) (string, error) {
	command := exec.CommandContext(ctx, m.entrance.Address, "-i", "-f", m.from, "--", m.to) //nolint:gosec // the person's own program
	command.Stdin = strings.NewReader(strings.ReplaceAll(m.text(now), "\r\n", "\n"))
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", m.entrance.Address, err, out)
	}
	return "250 handed over", nil
}

func (o *probeOptions) submit(ctx context.Context, m probeMessage, now time.Time) (string, error) {
	c, err := o.dial(ctx, m.entrance)
	if err != nil {
		return "", err
	}
	defer c.Close()
	mail, rcpt := &smtp.MailOptions{}, &smtp.RcptOptions{}
	from, to := m.from, m.to
	if m.entrance.Way == mtaprobe.Bounce {
		if offered, _ := c.Extension("DSN"); !offered {
			return "", errors.New("it offers no delivery status notifications (RFC 3461): nothing shows which milter is asked about bounces")
		}
		// The MTA delivers it here, and is to say so: what it writes then goes out.
		from, to = m.to, m.from
		mail.Return, mail.EnvelopeID, rcpt.Notify = smtp.DSNReturnHeaders, m.mark, []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}
		m.from, m.to = from, to
	}
	if err := c.Mail(from, mail); err != nil {
		return "", err
	}
	if err := c.Rcpt(to, rcpt); err != nil {
		return "", err
	}
	data, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := data.Write([]byte(m.text(now))); err != nil {
		return "", err
	}
	response, err := data.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return "250 " + response.StatusText, nil
}

func (o *probeOptions) dial(ctx context.Context, e mtaprobe.Entrance) (*smtp.Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", e.Address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return nil, err
	}
	config := o.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	if e.Way != mtaprobe.SMTPS && e.Way != mtaprobe.Submission {
		return smtp.NewClient(conn), nil
	}
	var c *smtp.Client
	if e.Way == mtaprobe.SMTPS {
		c = smtp.NewClient(tls.Client(conn, config))
	} else if c, err = smtp.NewClientStartTLS(conn, config); err != nil {
		return nil, err
	}
	if o.login == "" {
		return c, nil
	}
	err = c.Auth(sasl.NewPlainClient("", o.login, o.password))
	// A milter that is gone makes some MTAs refuse the login for now: that is an answer.
	if refusal := (*smtp.SMTPError)(nil); errors.As(err, &refusal) && !refusal.Temporary() {
		err = fmt.Errorf("the login as %s failed: %s", o.login, refusal.Message)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
