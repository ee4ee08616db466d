// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/smtp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/site"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	sigkills       = 30
	sigkillClients = 4
	// Every other message is long, so that a kill finds it on its way through the milter.
	longBody, shortBody = 2 << 20, 4 << 10
)

// TestAMilterThatIsKilledInMidMessageLetsNothingOutUnsigned: the milter is
// killed again and again while clients send, and try again what is refused for
// now. In the end each message has arrived, and whatever arrived is signed.
func TestAMilterThatIsKilledInMidMessageLetsNothingOutUnsigned(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)
	e.killBetweenCommands(t)

	senders := retryingSenders{server: site.SMTPD, from: "user@" + acme, to: "friend@elsewhere.example"}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for n := range sigkillClients {
		clients.Go(func() { senders.send(ctx, t, n) })
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var pids []int
	for range sigkills {
		// Only a milter that has taken something is worth killing.
		taken := senders.taken.Load()
		err := eventually(ctx, func(context.Context) error {
			if senders.taken.Load() == taken {
				return fmt.Errorf("nothing was taken since the last kill: %s", senders.last.Load())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
		pids = append(pids, e.Milter.PID())
		e.Milter.Kill()
		if err := e.StartMilter(ctx); err != nil {
			t.Fatal(err)
		}
	}
	senders.enough.Store(true)
	clients.Wait()
	e.tell(t, "seed %d; killed by SIGKILL: %v", seed, pids)
	e.tell(t, "%d messages were taken; %d attempts were refused for now, such as: %s", senders.taken.Load(), senders.refused.Load(), senders.last.Load())
	if senders.refused.Load() == 0 {
		t.Error("no kill was noticed by any client")
	}
	e.allArrivedSigned(t, int(senders.taken.Load()))
}

// killBetweenCommands kills the milter after it has heard MAIL FROM and before the message: the client is told to try again.
func (e *environment) killBetweenCommands(t *testing.T) {
	t.Helper()
	c, err := smtp.Dial(site.SMTPD.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []func() error{
		func() error { return c.Mail("user@" + acme) },
		func() error { return c.Rcpt("friend@elsewhere.example") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	e.tell(t, "$ kill -9 %d   (the milter, after MAIL FROM)", e.Milter.PID())
	e.Milter.Kill()
	w, err := c.Data()
	if err == nil {
		_, _ = io.WriteString(w, "From: user@"+acme+"\r\nSubject: this must not arrive\r\n\r\nHello.\r\n")
		err = w.Close()
	}
	e.tell(t, "Postfix: %v", err)
	if err == nil || !strings.HasPrefix(err.Error(), "4") {
		t.Errorf("Postfix took a message whose milter was killed: %v", err)
	}
	if err := e.StartMilter(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.nothingArrived(t)
}

// allArrivedSigned takes so many messages, each once, and has each judged.
func (e *environment) allArrivedSigned(t *testing.T, count int) {
	t.Helper()
	seen := map[string]bool{}
	for i, d := range e.arrived(t, count) {
		_, rest, found := strings.Cut(string(d.Message), "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		if !found || seen[subject] {
			t.Errorf("%q arrived twice, or is no message of ours", subject)
		}
		seen[subject] = true
		if i == 0 {
			e.judge(t, d.Message, verifiers.Pass)
		}
		// The others by the one that needs no process of its own.
		if err := agrees(t.Context(), verifiers.GoMsgauth(), d.Message, verifiers.Pass); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	e.tell(t, "%d messages arrived, each once and with two good signatures", len(seen))
}

// retryingSenders are clients that try again what a server refuses for now, as every mail server does.
type retryingSenders struct {
	server         netip.AddrPort
	from, to       string
	enough         atomic.Bool // ends them after the message at hand
	taken, refused atomic.Int64
	last           atomic.Value // the last refusal
}

// send sends message after message, each until it is taken.
func (s *retryingSenders) send(ctx context.Context, t *testing.T, client int) {
	t.Helper()
	for n := 0; !s.enough.Load() && ctx.Err() == nil; n++ {
		size := shortBody
		if n%2 == 0 {
			size = longBody
		}
		message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %d of client %d\r\n\r\n%s", s.from, s.to, n, client, strings.Repeat("A line of the story.\r\n", size/22))
		for {
			err := s.attempt(ctx, message)
			if err == nil {
				s.taken.Add(1)
				break
			}
			if strings.HasPrefix(err.Error(), "5") || ctx.Err() != nil {
				t.Errorf("message %d of client %d is lost: %v", n, client, err)
				return
			}
			s.refused.Add(1)
			s.last.Store(err.Error())
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// attempt sends a message once; nil means that the server has taken it.
func (s *retryingSenders) attempt(ctx context.Context, message string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := smtp.NewClient(conn, s.server.Addr().String())
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return c.Hello("client.example") },
		func() error { return c.Mail(s.from) },
		func() error { return c.Rcpt(s.to) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, message); err != nil {
		return err
	}
	return w.Close()
}
