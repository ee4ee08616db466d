// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bind runs BIND 9 as a private DNS on loopback addresses: a root, a
// TLD, a recursive resolver, and a primary and a secondary for any number of
// zones below the TLD. The primary takes updates that are signed by TSIG.
//
//	127.0.53.1   root            127.0.53.10  ns1: primary of all zones, takes updates
//	127.0.53.2   TLD "example"   127.0.53.11  ns2: secondary of all zones
//	127.0.53.53  resolver
//
// All of them listen on port 53: run it in a network namespace (package netns).
package bind

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// TLD is the top level domain that all zones are below (RFC 6761 §6.5).
const TLD = "example"

// Keys that sign updates. OperatorKey may write TXT and MX records, PersonKey all: it is somebody with an editor.
const (
	OperatorKey = "maildomain-operator"
	PersonKey   = "person"
)

// The servers.
//
//nolint:gochecknoglobals // constants, which Go does not have for these types
var (
	Root      = netip.MustParseAddr("127.0.53.1")
	TLDServer = netip.MustParseAddr("127.0.53.2")
	Primary   = netip.MustParseAddr("127.0.53.10")
	Secondary = netip.MustParseAddr("127.0.53.11")
	Resolver  = netip.MustParseAddr("127.0.53.53")
)

// Addresses are those that the loopback interface must have: BIND listens on
// addresses of interfaces alone, also where the kernel answers for all of 127.0.0.0/8.
func Addresses() []netip.Addr {
	return []netip.Addr{Root, TLDServer, Primary, Secondary, Resolver}
}

// MinimumTTL is the SOA minimum of every zone in seconds: how long the DNS may remember that a name does not exist.
const MinimumTTL = 2

// Zone is one zone below the TLD.
type Zone struct {
	Name string // acme.example
	// Records are lines of a zone file, beside SOA, NS and the addresses of the name servers.
	Records []string
}

// World is the running DNS.
type World struct {
	Secret       string // of OperatorKey, in base64
	personSecret string

	dir     string
	world   *process.Process // root, TLD and resolver
	primary *process.Process
	second  *process.Process
}

// Start runs the servers and returns when all of them answer for every zone. Files are kept in dir.
func Start(ctx context.Context, dir string, zones []Zone) (*World, error) {
	w := &World{dir: dir, Secret: secret(), personSecret: secret()}
	named, err := copyOfNamed(dir)
	if err != nil {
		return nil, err
	}
	servers := []struct {
		name   string
		files  map[string]string
		target **process.Process
	}{
		{"named-world", w.worldFiles(zones), &w.world},
		{"named-primary", w.primaryFiles(zones), &w.primary},
		{"named-secondary", secondaryFiles(zones), &w.second},
	}
	for _, s := range servers {
		folder := filepath.Join(dir, s.name)
		if err := writeFiles(folder, s.files); err != nil {
			return nil, errors.Join(err, w.Stop())
		}
		// -g: in the foreground, with the log on standard error. -n 1: one thread is plenty.
		*s.target, err = process.Start(dir, s.name, process.Options{}, named, "-g", "-n", "1", "-c", filepath.Join(folder, "named.conf"))
		if err != nil {
			return nil, errors.Join(err, w.Stop())
		}
	}
	if err := w.await(ctx, zones); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return w, nil
}

// Stop ends the servers.
func (w *World) Stop() error {
	var errs []error
	for _, p := range []*process.Process{w.world, w.primary, w.second} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

// await asks until every server answers for every zone that it has.
func (w *World) await(ctx context.Context, zones []Zone) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, z := range zones {
		for server, p := range map[netip.Addr]*process.Process{Primary: w.primary, Secondary: w.second, Resolver: w.world} {
			err := p.Await(ctx, func(ctx context.Context) error {
				_, err := Serial(ctx, server, z.Name)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s for %s: %w", server, z.Name, err)
			}
		}
	}
	return nil
}

// copyOfNamed copies the program: where AppArmor confines named to folders of
// its own (Debian's profile goes by path), that would forbid those of a test.
func copyOfNamed(dir string) (string, error) {
	path, err := process.Find("named", "bind9")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("copy named: %w", err)
	}
	own := filepath.Join(dir, "named")
	if err := os.WriteFile(own, program, 0o700); err != nil {
		return "", fmt.Errorf("copy named: %w", err)
	}
	return own, nil
}

func writeFiles(folder string, files map[string]string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		text = strings.ReplaceAll(text, "DIR", folder)
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func secret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}
