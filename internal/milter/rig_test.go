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

func pair(t testing.TB, i int) dkim.KeyPair {
	t.Helper()
	pairs, err := testPairs()
	if err != nil {
		t.Fatal(err)
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
func domain(t testing.TB, name dnsrecord.Name, keys ...keydir.Key) keydir.Domain {
	t.Helper()
	return keydir.Domain{Domain: name, Required: true, Keys: keys}
}

func key(t testing.TB, selector string, i int) keydir.Key {
	t.Helper()
	return keydir.Key{Selector: selector, Pair: pair(t, i)}
}

// files are domains as they lie in a directory.
func files(t testing.TB, domains ...keydir.Domain) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	for _, d := range domains {
		data, err := keydir.Encode(d)
		if err != nil {
			t.Fatal(err)
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

// start serves a Unix socket until the test ends. change may change the Config.
func start(t testing.TB, tree fstest.MapFS, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{live: &Live{}, registry: prometheus.NewRegistry(), log: &lockedBuffer{}}
	cfg := Config{
		Live: r.live, Deadline: time.Minute, MaxConnections: 64,
		NegotiateTimeout: time.Minute, IdleTimeout: time.Minute, PacketTimeout: time.Minute,
		Log: slog.New(slog.NewJSONHandler(r.log, nil)), Now: func() time.Time { return testNow },
	}
	for _, f := range change {
		f(&cfg)
	}
	cfg.Metrics = NewMetrics(r.registry, cfg.Policy, r.live, cfg.Now)
	r.live.Apply(source(tree), testNow)
	r.Server = NewServer(cfg)
	path := filepath.Join(t.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r.socket = "unix:" + path
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // What is still open at the end of a test is cut off.
		_ = r.Shutdown(ctx)
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// send sends a message over a connection of its own.
func (r *rig) send(t testing.TB, m miltertest.Message) (miltertest.Reply, []byte) {
	t.Helper()
	reply, out, err := miltertest.Send(t.Context(), r.socket, m)
	if err != nil {
		t.Fatalf("send: %v\n%s", err, r.log)
	}
	return reply, out
}

func (r *rig) dial(t testing.TB, opt miltertest.Options) *miltertest.Conn {
	t.Helper()
	c, err := miltertest.Dial(t.Context(), r.socket, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// from is a message by an author.
func from(author string) []byte {
	return []byte("From: " + author + "\r\nTo: bob@example.net\r\nSubject: Hi\r\n\r\nHello, Bob.\r\n")
}

// verdicts judges the signatures by what the pairs publish: selector → pair for any domain.
func verdicts(t testing.TB, message []byte, selectors map[string]int) []error {
	t.Helper()
	lookup := func(name string) ([]string, error) {
		selector, _, _ := strings.Cut(name, "._domainkey.")
		if i, ok := selectors[selector]; ok {
			return []string{pair(t, i).Record().String()}, nil
		}
		return nil, errors.New("no such name: " + name)
	}
	found, err := msgauth.VerifyWithOptions(bytes.NewReader(message), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, len(found))
	for i, v := range found {
		errs[i] = v.Err
	}
	return errs
}

// mustVerify wants so many signatures, all good.
func mustVerify(t testing.TB, message []byte, want int, selectors map[string]int) {
	t.Helper()
	got := verdicts(t, message, selectors)
	if err := errors.Join(got...); err != nil || len(got) != want {
		t.Errorf("%d signatures, want %d: %v\n%s", len(got), want, err, message)
	}
}

// count reads a counter or gauge by its name and the values of its labels, in the order of their names.
func (r *rig) count(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
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

func addr(t testing.TB, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// closed tells whether the milter ended a connection: its next word is the end.
func closed(conn io.Reader) bool {
	_, err := conn.Read(make([]byte, 1))
	return err != nil
}
