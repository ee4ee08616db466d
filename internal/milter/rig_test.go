// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNow = time.Date(2026, 8, 1, 4, 0, 0, 0, time.UTC)

// testPairs are made once, since an RSA key costs a tenth of a second: two of RSA, two of Ed25519.
var testPairs = sync.OnceValues(func() ([]dkim.KeyPair, error) {
	var pairs []dkim.KeyPair
	for _, a := range []dkim.Algorithm{dkim.RSA, dkim.RSA, dkim.Ed25519, dkim.Ed25519} {
		pair, err := dkim.Generate(context.Background(), a, 0)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
})

func pair(tb testing.TB, i int) dkim.KeyPair {
	tb.Helper()
	pairs, err := testPairs()
	if err != nil {
		tb.Fatal(err)
	}
	return pairs[i]
}

// The pairs by name.
const (
	rsa1 = iota
	rsa2
	ed1
	ed2
)

// domain is a required domain with keys: selector and pair in turn.
func domain(tb testing.TB, name dnsrecord.Name, keys ...keydir.Key) keydir.Domain {
	tb.Helper()
	return keydir.Domain{Domain: name, Required: true, Keys: keys}
}

func key(tb testing.TB, selector string, i int) keydir.Key {
	tb.Helper()
	return keydir.Key{Selector: selector, Pair: pair(tb, i)}
}

// files are domains as they lie in a directory.
func files(tb testing.TB, domains ...keydir.Domain) fstest.MapFS {
	tb.Helper()
	fsys := fstest.MapFS{}
	for _, d := range domains {
		data, err := keydir.Encode(d)
		if err != nil {
			tb.Fatal(err)
		}
		for name, text := range data {
			fsys[name] = &fstest.MapFile{Data: text}
		}
	}
	return fsys
}

func source(fsys fstest.MapFS) []keydir.Source {
	return []keydir.Source{{Dir: "/keys", Tree: keydir.Read(fsys)}}
}

// rig is a milter that serves a socket.
type rig struct {
	*Server
	live     *Live
	socket   string
	registry *prometheus.Registry
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// start serves a Unix socket until the test ends. change may change the Config.
func start(tb testing.TB, tree fstest.MapFS, change ...func(*Config)) *rig {
	tb.Helper()
	r := &rig{live: &Live{}, registry: prometheus.NewRegistry(), log: &lockedBuffer{}}
	cfg := Config{
		Live: r.live, Deadline: time.Minute, MaxConnections: 64, Memory: 16 << 20,
		NegotiateTimeout: time.Minute, IdleTimeout: time.Minute, PacketTimeout: time.Minute,
		Log: slog.New(slog.NewJSONHandler(r.log, nil)), Now: func() time.Time { return testNow },
	}
	for _, f := range change {
		f(&cfg)
	}
	cfg.Metrics = NewMetrics(r.registry, cfg.Policy, r.live, cfg.Now)
	r.live.Apply(source(tree), testNow)
	r.Server = NewServer(cfg)
	path := filepath.Join(tb.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	r.socket = "unix:" + path
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background(), l, RoleSign) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // What is still open at the end of a test is cut off.
		_ = r.Shutdown(ctx)
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	})
	return r
}

// signer is the handler of the listeners that sign.
func (r *rig) signer() *signer { return r.handlers[RoleSign].(*signer) }

// send sends a message over a connection of its own.
func (r *rig) send(tb testing.TB, m miltertest.Message) (miltertest.Reply, []byte) {
	tb.Helper()
	reply, out, err := miltertest.Send(tb.Context(), r.socket, m)
	if err != nil {
		tb.Fatalf("send: %v\n%s", err, r.log)
	}
	return reply, out
}

func (r *rig) dial(tb testing.TB, opt miltertest.Options) *miltertest.Conn {
	tb.Helper()
	c, err := miltertest.Dial(tb.Context(), r.socket, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// from is a message by an author.
func from(author string) []byte {
	return []byte("From: " + author + "\r\nTo: bob@example.net\r\nSubject: Hi\r\n\r\nHello, Bob.\r\n")
}

// verdicts judges the signatures by what the pairs publish: selector → pair for any domain.
func verdicts(tb testing.TB, message []byte, selectors map[string]int) []error {
	tb.Helper()
	lookup := func(name string) ([]string, error) {
		selector, _, _ := strings.Cut(name, "._domainkey.")
		if i, ok := selectors[selector]; ok {
			return []string{pair(tb, i).Record().String()}, nil
		}
		return nil, errors.New("no such name: " + name)
	}
	found, err := msgauth.VerifyWithOptions(bytes.NewReader(message), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		tb.Fatal(err)
	}
	errs := make([]error, len(found))
	for i, v := range found {
		errs[i] = v.Err
	}
	return errs
}

// mustVerify wants so many signatures, all good.
func mustVerify(tb testing.TB, message []byte, want int, selectors map[string]int) {
	tb.Helper()
	got := verdicts(tb, message, selectors)
	if err := errors.Join(got...); err != nil || len(got) != want {
		tb.Errorf("%d signatures, want %d: %v\n%s", len(got), want, err, message)
	}
}

// count reads a counter or gauge by its name and the values of its labels, in the order of their names.
func (r *rig) count(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "maildomain_milter_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if hasLabels(m, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		return 0
	}
	return 0
}

func hasLabels(m *dto.Metric, values []string) bool {
	if len(m.GetLabel()) != len(values) {
		return false
	}
	for i, l := range m.GetLabel() {
		if l.GetValue() != values[i] {
			return false
		}
	}
	return true
}

func addr(tb testing.TB, s string) netip.Addr {
	tb.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// closed tells whether the milter ended a connection: its next word is the end.
func closed(conn io.Reader) bool {
	_, err := conn.Read(make([]byte, 1))
	return err != nil
}

// mustEnd reads a connection to its end, whatever was said on it. The end of a socket that still holds octets which nobody
// read is a reset (unix(7)), and which octets were read depends on who runs first.
func mustEnd(t *testing.T, conn io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the end of the connection: %v", err)
	}
}
