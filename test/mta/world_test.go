// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/mailbox"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// worldAddresses are lent to worlds: ports are the same in all of them.
var worldAddresses = func() (all []netip.Addr) {
	for last := byte(100); last < 116; last++ {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 53, last}))
	}
	return all
}()

var freeAddresses = func() chan netip.Addr {
	free := make(chan netip.Addr, len(worldAddresses))
	for _, a := range worldAddresses {
		free <- a
	}
	return free
}()

// world is what one test has for itself: an address, a milter with a key tree, and who takes the mail.
type world struct {
	*ground

	address netip.Addr
	folder  string // of files; a short name, for the path of a socket may have 107 characters
	keys    string // the key tree
	socket  string // where signing is asked for
	verify  string // where judging is asked for
	milter  *process.Process
	mailbox *mailbox.Mailbox
}

// get returns a running world, and fails the test where it cannot start.
func get(t *testing.T) *world {
	t.Helper()
	theGround.once.Do(func() { theGround.err = theGround.start() })
	if theGround.err != nil {
		t.Fatalf("the servers that all tests share do not start: %v", theGround.err)
	}
	w := &world{ground: &theGround, address: <-freeAddresses}
	t.Cleanup(func() { freeAddresses <- w.address })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.start(ctx, t); err != nil {
		t.Fatalf("the world does not start: %v", err)
	}
	return w
}

func (w *world) start(ctx context.Context, t *testing.T) (err error) {
	t.Helper()
	// Not t.TempDir: it is below /tmp, where Sendmail trusts no socket.
	if w.folder, err = os.MkdirTemp(w.dir, ""); err != nil {
		return err
	}
	run := filepath.Join(w.folder, "run")
	w.keys, w.socket, w.verify = filepath.Join(w.folder, "keys"), filepath.Join(run, "sign.sock"), filepath.Join(run, "verify.sock")
	if err := errors.Join(os.Chmod(w.folder, 0o755), os.Mkdir(w.keys, 0o700), os.Mkdir(run, 0o755), w.writeKeys()); err != nil {
		return err
	}
	if w.mailbox, err = mailbox.Open(ctx, w.sink().String()); err != nil {
		return err
	}
	stop(t, w.mailbox.Close)
	stop(t, func() error { return w.milter.Stop() })
	return w.startMilter(ctx)
}

// stop stops something when the test ends.
func stop(t *testing.T, f func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := f(); err != nil {
			t.Error(err)
		}
	})
}

// sink is where the rest of the world takes mail.
func (w *world) sink() netip.AddrPort { return netip.AddrPortFrom(w.address, 2525) }

// writeKeys writes what the operator would.
func (w *world) writeKeys() error {
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

// startMilter starts the program as it is shipped. It is also how a killed one comes back.
func (w *world) startMilter(ctx context.Context) error {
	return w.startMilterWith(ctx, "--sign", "unix:"+w.socket, "--verify", "unix:"+w.verify, "--authserv-id", serverName, "--keys", w.keys)
}

func (w *world) startMilterWith(ctx context.Context, args ...string) (err error) {
	w.milter, err = process.Start(w.folder, "milter", process.Options{}, filepath.Join("..", "..", "bin", "milter"),
		append(args, "--socket-mode", "0666", "--http", w.address.String()+":8085", "--rescan", "1s")...)
	if err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	return w.milter.Await(ctx, w.ready)
}

// ready asks the milter whether it has keys.
func (w *world) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.address.String()+":8085/readyz", http.NoBody)
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

// hideKeys takes the key tree away until the test ends.
func (w *world) hideKeys(t *testing.T) {
	t.Helper()
	gone := w.keys + ".gone"
	if err := os.Rename(w.keys, gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		if w.ready(ctx) == nil {
			return errors.New("the milter is ready without keys")
		}
		return nil
	})
	t.Cleanup(func() {
		if err := os.Rename(gone, w.keys); err != nil {
			t.Error(err)
		}
		eventually(t, w.ready)
	})
}

// eventually asks until the answer is nil.
func eventually(t *testing.T, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
