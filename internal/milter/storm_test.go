// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// size of a test, which the environment may raise.
func size(t *testing.T, variable string, standard int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < standard {
		t.Fatalf("%s=%s: want a number of at least %d", variable, text, standard)
	}
	return n
}

// TestAStormOfReloadsLosesNothingAndLeavesNothingUnsigned: keys change with each
// of many reloads, a third of which is broken, and now and then the whole tree
// is gone, while mail passes. What is refused is sent again, as clients do.
//
//	STORM_RELOADS=1000 STORM_MESSAGES=100000 go test ./internal/milter -run Storm -v
func TestAStormOfReloadsLosesNothingAndLeavesNothingUnsigned(t *testing.T) {
	s := &storm{
		rig: start(t, files(t), func(c *Config) { c.Log = slog.New(slog.DiscardHandler) }),
		dir: t.TempDir(), reloads: size(t, "STORM_RELOADS", 30), messages: size(t, "STORM_MESSAGES", 1500),
		applied: make(chan struct{}, 1), tick: make(chan struct{}), over: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	reload := make(chan struct{})
	s.swap(t, 0)
	watcher.Go(func() {
		keydir.Watcher{Dirs: []string{s.dir}, Every: time.Hour, Reload: reload}.Run(ctx, s.apply)
	})
	<-s.applied

	var clients sync.WaitGroup
	for n := range stormClients {
		clients.Go(func() { s.client(t, n) })
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for n := 1; n <= s.reloads; n++ {
		select {
		case <-s.tick:
		case <-done:
			t.Fatalf("the clients ended at reload %d of %d", n, s.reloads)
		}
		s.reload(t, n, reload)
	}
	close(s.over)
	s.reload(t, s.reloads+goneEvery-s.reloads%goneEvery, reload) // Whole, so that what waits can go.
	<-done
	cancel()
	watcher.Wait()

	t.Logf("%d reloads (%d readings, %v with faults, %v without a tree), %d messages in %d attempts: %d signed and verified, %d of them by RSA",
		s.reloads, s.readings.Load(), s.count(t, "key_reloads_total", "fault"), s.count(t, "key_reloads_total", "blind"), s.messages, s.attempts.Load(), s.verified.Load(), s.rsa.Load())
	if s.verified.Load() != int64(s.messages) {
		t.Errorf("%d of %d messages arrived signed", s.verified.Load(), s.messages)
	}
	for _, reason := range []Reason{ReasonNoTree, ReasonUnread, ReasonNoKey, ReasonKeyFailed, ReasonDeadline, ReasonInternal} {
		if n := s.count(t, "unsigned_egress_total", string(reason)); n != 0 {
			t.Errorf("%v messages left unsigned: %s", n, reason)
		}
	}
	if faults := s.count(t, "key_reloads_total", "fault"); faults < float64(s.reloads/3) {
		t.Errorf("only %v readings had faults", faults)
	}
}

const (
	stormClients = 6
	// goneEvery reloads the tree is gone.
	goneEvery = 12 // a multiple of 3: the tree that comes back is whole
)

// storm is one such test.
type storm struct {
	*rig
	dir               string
	reloads, messages int
	published         sync.Map // selector → record
	applied           chan struct{}
	tick, over        chan struct{} // asks for the next reload; closed when there are no more

	sent, attempts, verified, rsa, readings atomic.Int64
}

// reload makes the watcher read reload n and returns when the table has it.
func (s *storm) reload(t *testing.T, n int, signal chan<- struct{}) {
	t.Helper()
	s.swap(t, n)
	signal <- struct{}{} // As SIGHUP does; the events of inotify come as well.
	for !s.holds(n) {
		<-s.applied
	}
}

func (s *storm) apply(sources []keydir.Source) {
	s.live.Apply(sources, testNow)
	s.cfg.Metrics.Reloaded(s.live.Table())
	s.readings.Add(1)
	select {
	case s.applied <- struct{}{}:
	default:
	}
}

// swap brings the tree into the form of reload n: other selectors for all, and every third time a domain that is broken.
func (s *storm) swap(t *testing.T, n int) {
	t.Helper()
	if n%goneEvery == goneEvery-1 {
		if err := os.Rename(s.dir, s.dir+".gone"); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.Rename(s.dir+".gone", s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for _, name := range []dnsrecord.Name{"ed.example", "rsa.example", "victim.example"} {
		d := domain(t, name, s.key(t, name, n))
		text, err := keydir.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(data, text)
	}
	if n%3 == 1 {
		s.spoil(data, n)
	}
	if err := s.write(fmt.Sprintf("..%d", n), data); err != nil {
		t.Fatal(err)
	}
}

// write does what kubelet does with a mounted Secret: a new folder, then one rename of the link to it.
func (s *storm) write(folder string, data map[string][]byte) error {
	link, next := filepath.Join(s.dir, "..data"), filepath.Join(s.dir, "..data_tmp")
	old, _ := os.Readlink(link)
	errs := []error{os.Mkdir(filepath.Join(s.dir, folder), 0o700)}
	for name, text := range data {
		errs = append(errs, os.WriteFile(filepath.Join(s.dir, folder, name), text, 0o600))
	}
	errs = append(errs, os.Symlink(folder, next), os.Rename(next, link))
	if old != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, old)))
	}
	return errors.Join(errs...)
}

// key is a key of a domain with a selector of its own, published before anybody signs with it.
func (s *storm) key(t *testing.T, name dnsrecord.Name, n int) keydir.Key {
	t.Helper()
	k := key(t, fmt.Sprintf("r%d", n), n%2) // rsa1 and rsa2 in turn
	if name != "rsa.example" {
		fresh, err := dkim.Generate(t.Context(), dkim.Ed25519, 0)
		if err != nil {
			t.Fatal(err)
		}
		k = keydir.Key{Selector: fmt.Sprintf("%c%d", name[0], n), Pair: fresh}
	}
	s.published.Store(k.Selector+"._domainkey."+name.String(), k.Pair.Record().String())
	return k
}

// spoil breaks the files of victim.example, another way each time.
func (s *storm) spoil(data map[string][]byte, n int) {
	document, pem := "victim.example.json", fmt.Sprintf("victim.example.v%d.pem", n)
	switch (n / 3) % 5 {
	case 0:
		data[document] = data[document][:len(data[document])/2]
	case 1:
		delete(data, pem)
	case 2:
		data[pem] = data[pem][:len(data[pem])-30]
	case 3:
		data[document] = bytes.Replace(data[document], []byte(`"version": 1`), []byte(`"version": 2`), 1)
	case 4:
		data[document] = bytes.Replace(data[document], []byte(`"keys"`), []byte(`"until": "tomorrow", "keys"`), 1)
	}
}

// holds tells whether the table is that of reload n.
func (s *storm) holds(n int) bool {
	table := s.live.Table()
	if n%goneEvery == goneEvery-1 {
		return table.Blind != ""
	}
	e := table.Find("ed.example")
	return table.Blind == "" && e != nil && e.keys[0].Selector == fmt.Sprintf("e%d", n)
}

// client sends its share of the messages, each until it is taken.
func (s *storm) client(t *testing.T, n int) {
	t.Helper()
	c, err := miltertest.Dial(t.Context(), s.socket, miltertest.Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for i := n; i < s.messages; i += stormClients {
		raw := fmt.Appendf(nil, "From: a@%s\r\nSubject: message %d\r\n\r\nBody %d.\r\n", author(i), i, i)
		if err := s.deliver(c, raw); err != nil {
			t.Errorf("message %d: %v", i, err)
			return
		}
		if i%10 == 0 {
			s.rsa.Add(1)
		}
		// So many messages, and the next reload.
		if sent := s.sent.Add(1); sent%int64(s.messages/(s.reloads+1)) == 0 {
			select {
			case s.tick <- struct{}{}:
			case <-s.over:
			}
		}
	}
}

// author's domain of a message: few by RSA, since each costs as much as thirty others.
func author(i int) string {
	switch i % 10 {
	case 0:
		return "rsa.example"
	case 1, 2, 3:
		return "victim.example"
	}
	return "ed.example"
}

// deliver sends a message until it is taken, and judges it.
func (s *storm) deliver(c *miltertest.Conn, raw []byte) error {
	for {
		s.attempts.Add(1)
		reply, out, err := c.Send(miltertest.Message{Raw: raw})
		switch {
		case err != nil:
			return err
		case reply.Code() == 451:
			select { // Maybe it takes another reload.
			case s.tick <- struct{}{}:
			default:
			}
			continue
		case !reply.Accepted:
			return fmt.Errorf("refused for good: %s", reply.Text)
		}
		return s.judge(out)
	}
}

func (s *storm) judge(message []byte) error {
	found, err := msgauth.VerifyWithOptions(bytes.NewReader(message), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		record, ok := s.published.Load(strings.TrimSuffix(name, "."))
		if !ok {
			return nil, errors.New("no such name: " + name)
		}
		return []string{record.(string)}, nil
	}})
	switch {
	case err != nil:
		return err
	case len(found) != 1:
		return fmt.Errorf("%d signatures:\n%s", len(found), message)
	case found[0].Err != nil:
		return fmt.Errorf("%w:\n%s", found[0].Err, message)
	}
	s.verified.Add(1)
	return nil
}
