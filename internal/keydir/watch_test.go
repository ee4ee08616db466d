// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// swap writes data as kubelet does: a dated directory, then one rename of "..data".
func swap(t *testing.T, dir, date string, data map[string][]byte) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, date), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range data {
		if err := os.WriteFile(filepath.Join(dir, date, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err != nil {
			if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	if err := os.Symlink(date, filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
}

func encode(t *testing.T, selector string, pair dkim.KeyPair) map[string][]byte {
	t.Helper()
	data, err := Encode(Domain{Domain: "example.org", Keys: []Key{{selector, pair}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// await takes readings until one holds the selector; the test's own limit ends a wait without hope.
func await(t *testing.T, readings <-chan []Source, selector string) {
	t.Helper()
	for sources := range readings {
		keys := sources[0].Tree.Domains["example.org"].Keys
		if len(keys) == 1 && keys[0].Selector == selector {
			return
		}
	}
	t.Fatal("the watcher ended")
}

func TestTheWatcherSeesKubeletSwapASecret(t *testing.T) {
	keys := pairs(t)
	dir := t.TempDir()
	swap(t, dir, "..2026_08_01", encode(t, "s1", keys[0]))

	readings := watch(t, Watcher{Dirs: []string{dir}, Every: time.Hour})
	await(t, readings, "s1")
	swap(t, dir, "..2026_08_02", encode(t, "s2", keys[1]))
	await(t, readings, "s2")
}

func TestTheWatcherSeesADirectoryThatComesLater(t *testing.T) {
	keys := pairs(t)
	dir := filepath.Join(t.TempDir(), "later")
	reload := make(chan struct{})
	readings := watch(t, Watcher{Dirs: []string{dir}, Every: time.Hour, Reload: reload})
	if first := <-readings; first[0].Tree.Unreadable == nil {
		t.Fatalf("a missing directory was read: %+v", first)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	swap(t, dir, "..2026_08_01", encode(t, "s1", keys[0]))
	reload <- struct{}{}
	await(t, readings, "s1")
	swap(t, dir, "..2026_08_02", encode(t, "s2", keys[1]))
	await(t, readings, "s2")
}

func TestASwapWhileADirectoryIsReadMakesNoFault(t *testing.T) {
	keys := pairs(t)
	data := []map[string][]byte{encode(t, "s0", keys[0]), encode(t, "s1", keys[1])}
	dir := t.TempDir()
	swap(t, dir, "..0", data[0])
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			tree := Load(dir)
			if d := tree.Domains["example.org"]; len(tree.Problems) > 0 || tree.Unreadable == nil && len(d.Keys) != 1 {
				t.Errorf("read in a swap: %+v", tree)
				return
			}
		}
	}()
	for i := range 300 {
		swap(t, dir, fmt.Sprintf("..%d", i+1), data[(i+1)%2])
	}
	close(stop)
	<-done
}

func TestThePeriodicReadNeedsNoEvent(t *testing.T) {
	readings := watch(t, Watcher{Dirs: []string{t.TempDir()}, Every: time.Millisecond})
	for range 3 {
		<-readings
	}
}

// watch runs a watcher for as long as the test and sends what it reads.
func watch(t *testing.T, w Watcher) <-chan []Source {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	readings := make(chan []Source)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(readings)
		w.Run(ctx, func(s []Source) {
			select {
			case readings <- s:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return readings
}
