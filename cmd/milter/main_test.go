// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write puts a domain into a directory.
func write(t *testing.T, dir string, selector string) {
	t.Helper()
	d := keydir.Domain{Domain: "example.org", Required: true}
	if selector != "" {
		pair, err := dkim.Generate(t.Context(), dkim.Ed25519, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.Keys = []keydir.Key{{Selector: selector, Pair: pair}}
	}
	data, err := keydir.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	// The document last: until it is there nobody asks for the new key.
	document := keydir.DocumentName(d.Domain)
	for _, name := range append(slices.DeleteFunc(d.DataKeys(), func(n string) bool { return n == document }), document) {
		if err := os.WriteFile(filepath.Join(dir, name), data[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// execute runs the command to its end.
func execute(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand(&out, io.Discard)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestFlagsThatAreWrongAreAllTold(t *testing.T) {
	_, err := execute(t, "--sign", "unix:relative", "--sign", "inet:1@x", "--sign", "tcp:1", "--sign", "unix:/"+strings.Repeat("x", 200),
		"--socket-mode", "u+rw", "--policy", "no_from=drop,odd=accept", "--on-failure", "reject", "--expiry", "1h", "--deadline", "0s",
		"--max-connections", "0", "--http", "8080", "--log-level", "loud")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"--sign unix:relative: want an absolute path", "--sign inet:1@x: want unix:/path or tcp:host:port", "--sign tcp:1: want tcp:host:port",
		"the path has 201 characters", "--keys is missing", "--socket-mode u+rw: want octal", "--policy no_from=drop: want accept, tempfail or reject",
		"--policy odd: no such reason", "--on-failure reject: want tempfail or accept", "--expiry 1h0m0s: want 0 or at least 120h", "--deadline 0s: want more than 0",
		"--max-connections 0", "--http 8080: want host:port", "--log-level loud",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in:\n%v", want, err)
		}
	}
	_, err = execute(t, "--sign", "unix:/s", "--sign", "unix:/s", "--keys", "/k", "--keys", "/k/")
	if err == nil || !strings.Contains(err.Error(), "--sign unix:/s is given twice") || !strings.Contains(err.Error(), "--keys /k/ is given twice") {
		t.Errorf("error: %v", err)
	}
	if _, err = execute(t, "--keys", "/k"); err == nil || !strings.Contains(err.Error(), "--sign is missing") {
		t.Errorf("error: %v", err)
	}
}

func TestVersionIsShown(t *testing.T) {
	want := "milter version unknown\nRSA signatures by " + rsasign.Current().String() + "\n"
	for _, arg := range []string{"--version", "version"} {
		if out, err := execute(t, arg); err != nil || out != want {
			t.Errorf("%s: %q %v", arg, out, err)
		}
	}
}

func TestCheckShowsWhatSignsAndFailsOnFaults(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "s1")
	out, err := execute(t, "--check", "--keys", dir)
	if err != nil || !strings.Contains(out, "example.org  signing  true      false       everybody  s1        ed25519-sha256  ") {
		t.Errorf("%v\n%s", err, out)
	}
	if engine := "RSA signatures by " + rsasign.Current().String(); !strings.HasPrefix(out, engine) {
		t.Errorf("%q is not told:\n%s", engine, out)
	}
	if strings.Contains(out, "PRIVATE") {
		t.Errorf("a private key is shown:\n%s", out)
	}
	write(t, dir, "")
	if _, err = execute(t, "--check", "--keys", dir); err == nil || !strings.Contains(err.Error(), "example.org: is required and has no key") {
		t.Errorf("a domain without a key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "example.net.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = execute(t, "--check", "--keys", dir, "--keys", dir+"/none")
	if err == nil || !strings.Contains(err.Error(), "3 faults") && !strings.Contains(err.Error(), "2 faults") || !strings.Contains(err.Error(), "example.net: example.net.json: not a JSON document") || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("faults: %v", err)
	}
	if !strings.Contains(out, "example.org  keyless") || !strings.Contains(out, "example.net  unread") {
		t.Errorf("what is left:\n%s", out)
	}
	if _, err = execute(t, "--check", "--keys", t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no domain") {
		t.Errorf("an empty directory: %v", err)
	}
}

// lines hands on what is logged.
type lines chan map[string]any

func (l lines) Write(p []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	l <- line
	return len(p), nil
}

// await returns the next line with a message; a test that waits in vain ends by its own limit.
func (l lines) await(message string) map[string]any {
	for line := range l {
		if line["msg"] == message {
			return line
		}
	}
	return nil
}

func TestTheMilterSignsReloadsAndEnds(t *testing.T) {
	dir := t.TempDir()
	socket := "unix:" + filepath.Join(t.TempDir(), "sign.sock")
	write(t, dir, "s1")
	log := make(lines, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	cmd := newCommand(io.Discard, log)
	cmd.SetArgs([]string{"--sign", socket, "--keys", dir, "--http", "127.0.0.1:0", "--on-failure", "accept"})
	go func() { ended <- cmd.ExecuteContext(ctx) }()

	log.await("FAIL OPEN: --on-failure=accept lets mail leave UNSIGNED whenever signing fails")
	log.await("signing listener")
	address := log.await("http listener")["address"].(string)
	send := func(want string) {
		t.Helper()
		reply, out, err := miltertest.Send(t.Context(), socket, miltertest.Message{Raw: []byte("From: a@example.org\r\n\r\nHi\r\n")})
		if err != nil || !reply.Accepted || !strings.Contains(string(out), want) {
			t.Fatalf("%+v %v\n%s", reply, err, out)
		}
	}
	send("s=s1;")

	// Events bring the change; SIGHUP must at least do no harm beside them.
	write(t, dir, "s2")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for {
		if keys, ok := log.await("domain")["keys"].([]any); ok && len(keys) == 1 && strings.HasPrefix(keys[0].(string), "s2 ") {
			break
		}
	}
	send("s=s2;")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var report keydir.Report
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil || len(report.Domains) != 1 || report.Domains[0].Keys[0].Selector != "s2" {
		t.Errorf("keys: %+v %v", report, err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, _, err := miltertest.Send(t.Context(), socket, miltertest.Message{Raw: []byte("From: a@example.org\r\n\r\n")}); err == nil {
		t.Error("it still answers")
	}
}

func TestASocketThatIsTakenOrNoSocketIsRefusedAndAStaleOneReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l := listenAddress{"unix", path}
	first, err := l.listen(t.Context(), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if _, err := l.listen(t.Context(), 0o600); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("a socket that is served: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := l.listen(t.Context(), 0o600)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.listen(t.Context(), 0o600); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is gone: %q %v", text, err)
	}
}

func TestASocketThatIsServedAndBusyIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	// Nobody accepts: connections queue up, until there is no room for one more.
	var d net.Dialer
	for {
		conn, err := d.DialContext(t.Context(), "unix", path)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if l, err := (listenAddress{"unix", path}).listen(t.Context(), 0o600); err == nil || !strings.Contains(err.Error(), "still served") {
		t.Errorf("listen: %v %v", l, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of another process is gone: %v", err)
	}
}

func TestFaultsOfTheTreeAreToldOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "s1")
	for name, text := range map[string]string{"Example.NET.json": "{}", "example.com.json": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var text bytes.Buffer
	live := &milter.Live{}
	metrics := milter.NewMetrics(prometheus.NewRegistry(), milter.Policy{}, live, time.Now)
	for range 2 {
		reload(live, metrics, slog.New(slog.NewTextHandler(&text, nil)), keydir.Watcher{Dirs: []string{dir, dir + "/none", dir + "/nowhere"}}.LoadAll())
	}
	for _, want := range []string{
		`msg="fault in the key tree" subject=Example.NET.json`, `msg="fault in the key tree" subject=` + dir + `/none `, `msg="fault in the key tree" subject=` + dir + `/nowhere `,
		`msg="domain could not be read and its mail waits" domain=example.com`, `msg="key tree is not complete: mail waits"`, `msg=domain domain=example.org`,
	} {
		if strings.Count(text.String(), want) != 1 {
			t.Errorf("%s is not told once in:\n%s", want, &text)
		}
	}
	if n := strings.Count(text.String(), "example.com.json"); n != 1 {
		t.Errorf("the fault of a domain is told %d times:\n%s", n, &text)
	}
}

func TestATreeWhereSomeSayWhoMaySendAndOthersDoNotIsToldOf(t *testing.T) {
	for name, tt := range map[string]struct {
		senders *keydir.Senders
		require bool
		want    int
	}{
		"nobody says":               {nil, false, 0},
		"one says":                  {&keydir.Senders{Logins: []string{"alice"}}, false, 1},
		"one says, and all have to": {&keydir.Senders{Logins: []string{"alice"}}, true, 0},
	} {
		dir := t.TempDir()
		write(t, dir, "s1")
		data, err := keydir.Encode(keydir.Domain{Domain: "listed.example", Senders: tt.senders})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "listed.example.json"), data["listed.example.json"], 0o600); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		live := &milter.Live{RequireSenders: tt.require}
		metrics := milter.NewMetrics(prometheus.NewRegistry(), milter.Policy{}, live, time.Now)
		for range 2 {
			reload(live, metrics, slog.New(slog.NewTextHandler(&text, nil)), keydir.Watcher{Dirs: []string{dir}}.LoadAll())
		}
		if n := strings.Count(text.String(), "start with --require-senders"); n != tt.want {
			t.Errorf("%s: told %d times, not %d:\n%s", name, n, tt.want, &text)
		}
	}
}

func TestAMessageOnItsWayOutlivesTheSignalToEnd(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "s1")
	socket := "unix:" + filepath.Join(t.TempDir(), "sign.sock")
	log := make(lines, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	cmd := newCommand(io.Discard, log)
	cmd.SetArgs([]string{"--sign", socket, "--keys", dir, "--http", ""})
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	log.await("signing listener")

	c, err := miltertest.Dial(t.Context(), socket, miltertest.Options{Protocol: miltertest.HeaderLeadSpace}) // Each command is answered.
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Begin(netip.Addr{}), c.Envelope(miltertest.Message{})); err != nil {
		t.Fatal(err)
	}
	cancel()
	log.await("shutting down")
	if err := c.Header("From", " a@example.org"); err != nil {
		t.Fatal(err)
	}
	reply, _, err := c.End(nil, nil)
	if err != nil || !reply.Accepted || len(reply.Inserted) != 1 {
		t.Errorf("%+v %v", reply, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestListenersThatOthersReachAreKnown(t *testing.T) {
	for text, want := range map[string]bool{
		"unix:/s": false, "tcp:127.0.0.1:1": false, "tcp:[::1]:1": false, "tcp:localhost:1": false,
		"tcp::1": true, "tcp:0.0.0.0:1": true, "tcp:192.0.2.1:1": true, "tcp:mail.example:1": true,
	} {
		l, err := parseListen(text)
		if err != nil || l.open() != want {
			t.Errorf("%s: %v %v", text, l.open(), err)
		}
	}
}
