// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/bench/load"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// The contestants, by the names that the table has.
const (
	withOpenSSL = "milter (OpenSSL)"
	pureGo      = "milter (Go)"
	openDKIM    = "OpenDKIM"
)

const (
	domain   = "example.com"
	selector = "bench"
	sender   = "alice@" + domain
)

// contestant is a running milter that signs with one key.
type contestant struct {
	*process.Process

	name      string
	algorithm dkim.Algorithm
	socket    string
}

// binary is a build of our milter, and who must compute its RSA signatures.
type binary struct{ name, path, engine string }

// startAll starts every contestant, each with the same key of its algorithm.
func startAll(ctx context.Context, dir string, binaries []binary) ([]*contestant, map[dkim.Algorithm]dkim.KeyPair, error) {
	var all []*contestant
	pairs := map[dkim.Algorithm]dkim.KeyPair{}
	for _, a := range []dkim.Algorithm{dkim.RSA, dkim.Ed25519} {
		pair, err := dkim.Generate(ctx, a, 0)
		if err != nil {
			return all, nil, err
		}
		pairs[a] = pair
		keys := filepath.Join(dir, string(a))
		if err := writeKeys(keys, pair); err != nil {
			return all, nil, err
		}
		for _, b := range binaries {
			c, err := startOurs(dir, keys, b, a)
			if err != nil {
				return all, nil, err
			}
			all = append(all, c)
		}
	}
	c, err := startOpenDKIM(dir, filepath.Join(dir, string(dkim.RSA), domain+"."+selector+".pem"))
	if err != nil {
		return all, nil, err
	}
	all = append(all, c)
	for _, c := range all {
		if err := c.Await(ctx, c.listens); err != nil {
			return all, nil, err
		}
	}
	return all, pairs, nil
}

func writeKeys(dir string, pair dkim.KeyPair) error {
	files, err := keydir.Encode(keydir.Domain{Domain: domain, Required: true, Keys: []keydir.Key{{Selector: selector, Pair: pair}}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startOurs runs our milter as its image does, its log in a file.
func startOurs(dir, keys string, b binary, a dkim.Algorithm) (*contestant, error) {
	c := &contestant{name: b.name, algorithm: a, socket: filepath.Join(dir, filepath.Base(filepath.Dir(b.path))+"-"+string(a)+".sock")}
	var err error
	c.Process, err = process.Start(dir, filepath.Base(c.socket), process.Options{}, b.path, "--sign", "unix:"+c.socket, "--keys", keys, "--http", "")
	return c, err
}

// startOpenDKIM runs OpenDKIM with what DKIM asks for, as Debian configures it, without a log.
func startOpenDKIM(dir, keyFile string) (*contestant, error) {
	program, err := process.Find("opendkim", "opendkim")
	if err != nil {
		return nil, err
	}
	c := &contestant{name: openDKIM, algorithm: dkim.RSA, socket: filepath.Join(dir, "opendkim.sock")}
	config := filepath.Join(dir, "opendkim.conf")
	text := strings.Join([]string{
		"Syslog no", "Mode s", "Socket local:" + c.socket, "Domain " + domain, "Selector " + selector, "KeyFile " + keyFile,
		"Canonicalization relaxed/relaxed", "OversignHeaders From", "RequireSafeKeys no", "InternalHosts 127.0.0.1", "",
	}, "\n")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c.Process, err = process.Start(dir, "opendkim", process.Options{}, program, "-f", "-x", config)
	return c, err
}

func (c *contestant) listens(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// residentMB is how much of the memory of the contestant is in use.
func (c *contestant) residentMB() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kB, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kB / 1024
		}
	}
	return 0
}

// processorTime is what the contestant has spent of processors so far, to a hundredth of a second (proc(5), USER_HZ).
func (c *contestant) processorTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)
	var ticks int
	for _, f := range fields[11:13] { // utime, stime
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// verify has go-msgauth judge a signature: what is fast and wrong is not measured.
func verify(m load.Message, signature string, pair dkim.KeyPair) error {
	// A milter's line ends are LF, and the value begins after the colon.
	value := strings.ReplaceAll(strings.ReplaceAll(signature, "\r\n", "\n"), "\n", "\r\n")
	raw := "DKIM-Signature:" + value + "\r\n" + m.String()
	lookup := func(string) ([]string, error) { return []string{pair.Record().String()}, nil }
	verdicts, err := msgauth.VerifyWithOptions(strings.NewReader(raw), &msgauth.VerifyOptions{LookupTXT: lookup})
	switch {
	case err != nil:
		return err
	case len(verdicts) != 1:
		return fmt.Errorf("%d signatures where there should be one", len(verdicts))
	}
	return verdicts[0].Err
}
