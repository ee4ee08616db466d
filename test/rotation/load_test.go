// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package rotation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

const (
	pace       = 100 * time.Millisecond // between two messages
	retryAfter = 200 * time.Millisecond // of a message that was refused for now
	smtpLimit  = 30 * time.Second       // of one attempt
)

// load sends messages at a steady pace. One that is answered 4xx is sent again until it is taken, as every mail client
// does it.
type load struct {
	mu      sync.Mutex
	taken   map[int]attempt // the one that brought the message in, by number
	refused int             // attempts
}

// attempt is when a message was handed over, and signed: between the two.
type attempt struct{ begin, end time.Time }

// run sends until ctx ends, and returns when every message was taken.
func (l *load) run(ctx context.Context) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for number := 1; ; number++ {
		group.Go(func() {
			if err := l.deliver(context.WithoutCancel(ctx), number); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("message %d: %w", number, err))
			}
		})
		select {
		case <-ctx.Done():
			group.Wait()
			return errors.Join(errs...)
		case <-tick.C:
		}
	}
}

func (l *load) deliver(ctx context.Context, number int) error {
	for {
		try := attempt{begin: time.Now()}
		err := send(ctx, number)
		try.end = time.Now()
		refusal, refused := errors.AsType[*textproto.Error](err)
		l.mu.Lock()
		switch {
		case err == nil:
			l.taken[number] = try
		case refused && refusal.Code/100 == 4:
			l.refused++
		}
		l.mu.Unlock()
		if !refused || refusal.Code/100 != 4 {
			return err
		}
		<-time.After(retryAfter)
	}
}

// send tries once to hand a message to Postfix.
func send(ctx context.Context, number int) error {
	dialer := net.Dialer{Timeout: smtpLimit}
	conn, err := dialer.DialContext(ctx, "tcp", site.SMTPD.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(smtpLimit)); err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, site.SMTPD.Addr().String())
	if err != nil {
		return err
	}
	if err := errors.Join(client.Mail("user@"+domain), client.Rcpt("friend@elsewhere.example")); err != nil {
		return err
	}
	data, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(data, message, domain, number); err != nil {
		return err
	}
	if err := data.Close(); err != nil { // here the milter signs, and Postfix says whether it takes the message
		return err
	}
	return client.Quit()
}

// numberField tells one message from the other.
const numberField = "X-Number"

const message = "From: User <user@%[1]s>\r\nTo: friend@elsewhere.example\r\nSubject: Message %[2]d\r\n" +
	numberField + ": %[2]d\r\nMessage-ID: <%[2]d@%[1]s>\r\n\r\nThis is message %[2]d.\r\n"
