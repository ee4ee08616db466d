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
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/netns"
	"github.com/maildomain-operator/maildomain-operator/test/env/saslauthd"
)

func TestMain(m *testing.M) {
	os.Exit(netns.Main(func() int {
		flag.Parse()
		// Tests wait for MTAs more than they compute: more of them run at once than there are cores.
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := theGround.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the servers:", err)
			code = max(code, 1)
		}
		if code != 0 {
			fmt.Fprintln(os.Stderr, "logs:", theGround.dir)
		} else if theGround.dir != "" {
			_ = os.RemoveAll(theGround.dir)
		}
		return code
	}, bind.Resolver, append(append(bind.Addresses(), partnerAddress), worldAddresses...)...))
}

const (
	acme    = "acme.example"   // ours: whoever may submit may send
	strict  = "strict.example" // ours: only alice may send
	partner = "world.example"  // somebody else's

	password = "correct horse"
	patience = 30 * time.Second // far more than anything takes
)

// partnerAddress is where somebody else's domain takes mail.
var partnerAddress = netip.MustParseAddr("127.0.53.26")

// ground is what all tests stand on: DNS, key pairs, logins and a certificate.
type ground struct {
	once sync.Once
	err  error

	dir     string
	tls     certificate
	rsa     dkim.KeyPair
	ed25519 dkim.KeyPair
	stops   []func() error
}

var theGround ground

func (g *ground) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{g.makeDir, g.nameHost, g.makeKeys, g.startDNS, g.startLogins} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (g *ground) stop() error {
	var errs []error
	for _, stop := range slices.Backward(g.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

func (g *ground) makeDir(context.Context) (err error) {
	// Not below /tmp: Sendmail trusts no socket in a folder that others may write to.
	if g.dir, err = os.MkdirTemp("/run", "mta-"); err != nil {
		return err
	}
	return os.Chmod(g.dir, 0o755)
}

// nameHost gives the machine a name with a domain, in this mount namespace alone: Sendmail waits a minute for one otherwise.
func (g *ground) nameHost(context.Context) error {
	short, err := os.Hostname()
	if err != nil {
		return err
	}
	hosts := filepath.Join(g.dir, "hosts")
	if err := os.WriteFile(hosts, fmt.Appendf(nil, "127.0.0.1 localhost\n%s %s %s\n", worldAddresses[0], serverName, short), 0o644); err != nil {
		return err
	}
	return syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, "")
}

// makeKeys makes the pairs that sign for all domains.
func (g *ground) makeKeys(ctx context.Context) (err error) {
	if g.rsa, err = dkim.Generate(ctx, dkim.RSA, 2048); err != nil {
		return err
	}
	g.ed25519, err = dkim.Generate(ctx, dkim.Ed25519, 0)
	return err
}

func (g *ground) startDNS(ctx context.Context) error {
	key := func(selector, record string) string {
		return selector + "._domainkey TXT " + dnsrecord.FormatTXT(record)
	}
	ours := []string{key("r", g.rsa.Record().String()), key("e", g.ed25519.Record().String()), "@ MX 10 mta", "news MX 10 mta", "mta A " + worldAddresses[0].String()}
	theirs := []string{
		key("good", g.rsa.Record().String()), key("gone", dkim.RevokedRecord(dkim.RSA).String()),
		`@ TXT "v=spf1 ip4:127.0.0.0/8 -all"`, `_dmarc TXT "v=DMARC1; p=reject"`, "@ MX 10 mx", "mx A " + partnerAddress.String(),
	}
	dns, err := bind.Start(ctx, g.dir, []bind.Zone{{Name: acme, Records: ours}, {Name: strict, Records: ours}, {Name: partner, Records: theirs}})
	if err == nil {
		g.stops = append(g.stops, dns.Stop)
	}
	return err
}

func (g *ground) startLogins(ctx context.Context) error {
	logins, err := saslauthd.Start(ctx, g.dir, map[string]string{"user@acme.example": password, "alice@strict.example": password, "bob@strict.example": password})
	if err != nil {
		return err
	}
	g.stops = append(g.stops, logins.Stop)
	g.tls, err = newCertificate(g.dir)
	return err
}
