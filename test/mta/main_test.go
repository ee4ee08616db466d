// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

// Package mta holds the milter against real MTAs: the stories of testdata are
// told by Postfix, by Sendmail and by a client of our own, configured as docs/
// has it, and verifiers that are not ours judge what arrives.
//
// It runs in a network namespace of its own and needs root: make test-integration.
package mta

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/mailbox"
	"github.com/maildomain-operator/maildomain-operator/test/env/netns"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
	"github.com/maildomain-operator/maildomain-operator/test/env/saslauthd"
)

func TestMain(m *testing.M) {
	os.Exit(netns.Main(func() int {
		code := m.Run()
		if err := theWorld.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the servers:", err)
			code = max(code, 1)
		}
		if code != 0 {
			fmt.Fprintln(os.Stderr, "logs:", theWorld.dir)
		} else if theWorld.dir != "" {
			_ = os.RemoveAll(theWorld.dir)
		}
		return code
	}, bind.Resolver, append(bind.Addresses(), postfixAddress, worldAddress)...))
}

const (
	acme    = "acme.example"   // ours: whoever may submit may send
	strict  = "strict.example" // ours: only alice may send
	partner = "world.example"  // somebody else's

	password = "correct horse"
	patience = 30 * time.Second // far more than anything takes
)

// world is what all tests share: DNS, keys, the milter, and who takes the mail.
type world struct {
	once sync.Once
	err  error

	dir     string
	keys    string // the key tree
	socket  string // where signing is asked for
	verify  string // where judging is asked for
	milter  *process.Process
	mailbox *mailbox.Mailbox
	tls     certificate
	rsa     dkim.KeyPair
	ed25519 dkim.KeyPair
	stops   []func() error
}

var theWorld world

// get returns the running world, and fails the test where it cannot start.
func get(t *testing.T) *world {
	t.Helper()
	theWorld.once.Do(func() { theWorld.err = theWorld.start() })
	if theWorld.err != nil {
		t.Fatalf("the world does not start: %v", theWorld.err)
	}
	return &theWorld
}

func (w *world) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{w.makeDir, w.nameHost, w.makeKeys, w.startDNS, w.startMilter, w.startOthers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) stop() error {
	var errs []error
	for _, stop := range slices.Backward(w.stops) {
		errs = append(errs, stop())
	}
	if w.milter != nil {
		errs = append(errs, w.milter.Stop())
	}
	return errors.Join(errs...)
}

func (w *world) makeDir(context.Context) (err error) {
	// Not below /tmp: Sendmail trusts no socket in a folder that others may write to.
	if w.dir, err = os.MkdirTemp("/run", "maildomain-mta-"); err != nil {
		return err
	}
	run := filepath.Join(w.dir, "run")
	w.keys, w.socket, w.verify = filepath.Join(w.dir, "keys"), filepath.Join(run, "sign.sock"), filepath.Join(run, "verify.sock")
	return errors.Join(os.Chmod(w.dir, 0o755), os.Mkdir(w.keys, 0o700), os.Mkdir(run, 0o755))
}

// nameHost gives the machine a name with a domain, in this mount namespace alone: Sendmail waits a minute for one otherwise.
func (w *world) nameHost(context.Context) error {
	short, err := os.Hostname()
	if err != nil {
		return err
	}
	hosts := filepath.Join(w.dir, "hosts")
	if err := os.WriteFile(hosts, fmt.Appendf(nil, "127.0.0.1 localhost\n%s %s %s\n", postfixAddress, serverName, short), 0o644); err != nil {
		return err
	}
	return syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, "")
}

// makeKeys makes the pairs that sign for all domains, and what the operator would write for them.
func (w *world) makeKeys(ctx context.Context) (err error) {
	if w.rsa, err = dkim.Generate(ctx, dkim.RSA, 2048); err != nil {
		return err
	}
	if w.ed25519, err = dkim.Generate(ctx, dkim.Ed25519, 0); err != nil {
		return err
	}
	for name, senders := range map[string]*keydir.Senders{acme: nil, strict: {Logins: []string{"alice@strict.example"}}} {
		data, err := keydir.Encode(keydir.Domain{
			Domain: dnsrecord.Name(name), Required: true, Subdomains: true, Senders: senders, Keys: []keydir.Key{{Selector: "r", Pair: w.rsa}, {Selector: "e", Pair: w.ed25519}},
		})
		if err != nil {
			return err
		}
		for file, text := range data {
			if err := os.WriteFile(filepath.Join(w.keys, file), text, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) startDNS(ctx context.Context) error {
	key := func(selector, record string) string {
		return selector + "._domainkey TXT " + dnsrecord.FormatTXT(record)
	}
	ours := []string{key("r", w.rsa.Record().String()), key("e", w.ed25519.Record().String()), "@ MX 10 mta", "news MX 10 mta", "mta A " + postfixAddress.String()}
	theirs := []string{
		key("good", w.rsa.Record().String()), key("gone", dkim.RevokedRecord(dkim.RSA).String()),
		`@ TXT "v=spf1 ip4:127.0.0.0/8 -all"`, `_dmarc TXT "v=DMARC1; p=reject"`, "@ MX 10 mx", "mx A " + worldAddress.String(),
	}
	dns, err := bind.Start(ctx, w.dir, []bind.Zone{{Name: acme, Records: ours}, {Name: strict, Records: ours}, {Name: partner, Records: theirs}})
	if err == nil {
		w.stops = append(w.stops, dns.Stop)
	}
	return err
}

// startMilter starts the program as it is shipped. It is also how a killed one comes back.
func (w *world) startMilter(ctx context.Context) (err error) {
	w.milter, err = process.Start(w.dir, "milter", process.Options{}, filepath.Join("..", "..", "bin", "milter"),
		"--sign", "unix:"+w.socket, "--verify", "unix:"+w.verify, "--authserv-id", serverName, "--socket-mode", "0666", "--keys", w.keys, "--http", "127.0.0.1:8085", "--rescan", "1s")
	if err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	return w.milter.Await(ctx, ready)
}

// ready asks the milter whether it has keys.
func ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8085/readyz", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func (w *world) startOthers(ctx context.Context) error {
	logins, err := saslauthd.Start(ctx, w.dir, map[string]string{"user@acme.example": password, "alice@strict.example": password, "bob@strict.example": password})
	if err != nil {
		return err
	}
	w.stops = append(w.stops, logins.Stop)
	if w.mailbox, err = mailbox.Open(ctx, worldAddress.String()+":2525"); err != nil {
		return err
	}
	w.stops = append(w.stops, w.mailbox.Close)
	w.tls, err = newCertificate(w.dir)
	return err
}
