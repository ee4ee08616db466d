// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package judge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/netns"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

func TestMain(m *testing.M) {
	os.Exit(netns.Main(m.Run, netip.MustParseAddr("127.0.0.1"), port25.Addr(), sink.Addr()))
}

var (
	port25 = netip.MustParseAddrPort("127.0.77.25:25")
	sink   = netip.MustParseAddrPort("127.0.77.26:25")
)

const (
	nobody   = 65534 // who the milter runs as
	patience = time.Minute
)

// TestPostfixHasTheMilterJudgeWhatComesIn: mail from the Internet reaches Postfix' port 25, whose milter verifies; what
// arrives behind Postfix says what was found, forged words are gone, and what asks for more gets it.
func TestPostfixHasTheMilterJudgeWhatComesIn(t *testing.T) {
	key, err := dkim.Generate(t.Context(), dkim.RSA, 0)
	if err != nil {
		t.Fatal(err)
	}
	site := startSite(t, key)
	now := now()
	good := mailauth.Options{Now: now}
	for _, tt := range []struct {
		name, selector, author string
		options                mailauth.Options
		change                 [2]string
		want                   []string // parts of Authentication-Results, folds as one space
		refused, held          bool
	}{
		{
			name: "good", selector: "good", author: "signs.example", options: good,
			want: []string{"dkim=pass (2048-bit key) header.d=signs.example header.s=good", "dmarc=pass header.from=signs.example policy.dmarc=reject"},
		},
		{
			name: "bad", selector: "good", author: "watches.example", options: good, change: [2]string{"Hello", "Hallo"},
			want: []string{"dkim=fail (the body was changed after it was signed) header.d=watches.example", "dmarc=fail", "policy.dmarc=none"},
		},
		{
			name: "revoked", selector: "revoked", author: "watches.example", options: good,
			want: []string{"dkim=fail (the key at revoked._domainkey.watches.example was revoked)"},
		},
		{
			name: "missing", selector: "missing", author: "watches.example", options: good,
			want: []string{"dkim=permerror (there is no key at missing._domainkey.watches.example)"},
		},
		{
			name: "expired", selector: "good", author: "watches.example", options: mailauth.Options{Now: now.Add(-240 * time.Hour), Expiry: 120 * time.Hour},
			want: []string{"dkim=fail (the signature expired at "},
		},
		{
			name: "not signed, SPF passes", author: "sends.example",
			want: []string{"dkim=none (the message is not signed)", "spf=pass smtp.mailfrom=sends.example", "dmarc=pass header.from=sends.example"},
		},
		{name: "nothing is published", author: "silent.example", want: []string{"dkim=none", "spf=none", "dmarc=none (silent.example has no DMARC record)"}},
		{name: "DMARC fails and asks to reject", author: "signs.example", refused: true},
		{name: "DMARC fails and asks to quarantine", author: "holds.example", held: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := "Authentication-Results: mta.receiver.example; dkim=pass header.d=forged.example\r\n" +
				"AUTHENTICATION-RESULTS: (hello)\r\n \"MTA.receiver.example\" 1; dmarc=pass header.from=forged.example\r\n" +
				"Authentication-Results: other.example; none\r\n" +
				"From: Alice <alice@" + tt.author + ">\r\nTo: bob@receiver.example\r\nSubject: " + tt.name + "\r\nDate: " + now.Format(time.RFC1123Z) +
				"\r\nMessage-ID: <1@" + tt.author + ">\r\nAuthentication-Results: mta.receiver.example; spf=pass smtp.mailfrom=forged.example\r\n\r\nHello, Bob.\r\n"
			if tt.selector != "" {
				raw = signAs(t, raw, tt.author, tt.selector, key, tt.options)
			}
			if tt.change[0] != "" {
				raw = strings.Replace(raw, tt.change[0], tt.change[1], 1)
			}
			err := send("alice@"+tt.author, raw)
			if tt.refused {
				var reply *textproto.Error
				if !errors.As(err, &reply) || reply.Code != 550 || !strings.HasPrefix(reply.Msg, "5.7.26 signs.example asks to reject ") {
					t.Errorf("Postfix answers: %v", err)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.held {
				site.awaitHeld(t, "alice@"+tt.author)
				return
			}
			arrived := site.arrived(t)
			t.Logf("\n%s", arrived)
			if strings.Contains(arrived, "forged.example") || strings.Count(arrived, "Authentication-Results") != 2 || !strings.Contains(arrived, "other.example; none") {
				t.Error("a forged field is still there, or another is not")
			}
			unfolded := strings.ReplaceAll(arrived, "\r\n\t", " ")
			if !strings.HasPrefix(unfolded, "Authentication-Results: mta.receiver.example;") {
				t.Error("Authentication-Results is not on top")
			}
			for _, want := range tt.want {
				if !strings.Contains(unfolded, want) {
					t.Errorf("%q is missing", want)
				}
			}
		})
	}
}

// signAs signs by our own signer, above the header.
func signAs(t *testing.T, raw, author, selector string, key dkim.KeyPair, options mailauth.Options) string {
	t.Helper()
	fields, body := miltertest.Split([]byte(raw))
	var h mailauth.Header
	for _, f := range fields {
		h.Add(f.Name, []byte(f.Value))
	}
	hash := mailauth.NewBodyHash()
	_, _ = hash.Write(body)
	sum, _ := hash.Sum()
	domain, err := mailauth.AuthorDomains("a@" + author)
	if err != nil {
		t.Fatal(err)
	}
	value, err := mailauth.Sign(&h, sum, domain[0], mailauth.Key{Selector: selector, Algorithm: key.Algorithm(), Signer: key.Signer()}, options)
	if err != nil {
		t.Fatal(err)
	}
	return mailauth.SignatureField + ": " + value + "\r\n" + raw
}

func send(from, raw string) error {
	client, err := smtp.Dial(port25.String())
	if err != nil {
		return err
	}
	defer client.Close()
	if err := errors.Join(client.Hello("client.example"), client.Mail(from), client.Rcpt("bob@receiver.example")); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(raw)); err != nil {
		return err
	}
	return w.Close()
}

// site is Postfix with a verifying milter in front and the world behind.
type site struct {
	mta  *postfix.Instance
	sink *postfix.Sink
}

func startSite(t *testing.T, key dkim.KeyPair) site {
	t.Helper()
	dir, err := os.MkdirTemp("", "maildomain-judge-") //nolint:usetesting // Another user has to reach it, and a socket takes 107 characters.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("logs:", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var s site
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	socket := startMilter(ctx, t, dir, startDNS(t, key))
	if s.sink, err = postfix.StartSink(ctx, dir, sink); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.sink.Stop() })
	s.mta, err = postfix.Start(ctx, dir, postfix.Options{Listen: port25, Milter: socket, Sink: sink, Origin: "receiver.example", Undeliverable: "nowhere.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.mta.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// startDNS publishes the domains of the story, in a server that knows all names.
func startDNS(t *testing.T, key dkim.KeyPair) netip.AddrPort {
	t.Helper()
	record := key.Record().String()
	zone := `sends.example. 60 TXT "v=spf1 ip4:127.0.0.0/8 -all"
_dmarc.sends.example. 60 TXT "v=DMARC1; p=reject"
_dmarc.signs.example. 60 TXT "v=DMARC1; p=reject"
_dmarc.holds.example. 60 TXT "v=DMARC1; p=quarantine"
_dmarc.watches.example. 60 TXT "v=DMARC1; p=none"
revoked._domainkey.watches.example. 60 TXT "v=DKIM1; p="
`
	for _, domain := range []string{"signs.example", "watches.example"} {
		zone += fmt.Sprintf("good._domainkey.%s. 60 TXT %q %q\n", domain, record[:200], record[200:])
	}
	parsed, err := nameserver.ParseZone(".", zone)
	if err != nil {
		t.Fatal(err)
	}
	network, err := nameserver.Start(t.Context(), nameserver.Config{Servers: []nameserver.ServerConfig{{Addr: "127.0.0.1", Primary: []*nameserver.Zone{parsed}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	return network.Servers()[0].AddrPort()
}

// startMilter runs the milter that `make build` made, as a user that is neither root nor Postfix, in Postfix' group.
func startMilter(ctx context.Context, t *testing.T, dir string, resolver netip.AddrPort) string {
	t.Helper()
	mailer, err := user.Lookup(postfix.User)
	if err != nil {
		t.Fatalf("%v: run hack/install-debian-packages.sh, or apt-get install postfix", err)
	}
	group, err := strconv.Atoi(mailer.Gid)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(filepath.Join("..", "..", "bin", "milter"))
	if err != nil {
		t.Fatalf("%v: run make build", err)
	}
	run := filepath.Join(dir, "run")
	program := filepath.Join(dir, "milter")
	if err := errors.Join(os.WriteFile(program, binary, 0o755), os.Mkdir(run, 0o770), os.Chown(run, nobody, group), os.Chmod(run, 0o770)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(run, "verify.sock")
	p, err := process.Start(dir, "verifier", process.Options{UID: nobody, GID: uint32(group)}, program,
		"--verify", "unix:"+path, "--http", "", "--resolver", resolver.String(), "--on-result", "dmarc_reject=reject,dmarc_quarantine=quarantine,dmarc_temperror=tempfail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Tail(50))
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	err = p.Await(ctx, func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return "unix:" + path
}

// arrived is the one message that the world gets next.
func (s site) arrived(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	deliveries, err := s.sink.Wait(ctx, 1)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.mta.Log())
	}
	if len(deliveries) != 1 {
		t.Fatalf("%d messages arrived", len(deliveries))
	}
	return string(deliveries[0].Message)
}

// awaitHeld waits until a sender's message is in the hold queue, which postqueue marks with "!".
func (s site) awaitHeld(t *testing.T, sender string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		queue, err := s.mta.Queue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(queue) {
			if id, _, _ := strings.Cut(line, " "); strings.HasSuffix(id, "!") && strings.Contains(line, sender) {
				t.Logf("held: %s", line)
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("not held:\n%s", queue)
		}
	}
}
