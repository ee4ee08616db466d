// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Source is one directory and what it said when it was read.
type Source struct {
	Dir  string
	Tree Tree
}

// settle is how long a directory must be quiet before it is read: a swap is a burst of events.
const settle = 50 * time.Millisecond

// maxSwaps bounds how often a directory that swaps while it is read is read again.
const maxSwaps = 5

// Load reads a directory, and where kubelet manages it, all of it from one swap.
//
// kubelet keeps the files in a dated directory and points the link "..data" at
// it; files of two swaps read together would make a domain out of halves.
func Load(dir string) Tree {
	for range maxSwaps {
		before := swapOf(dir)
		tree := Read(os.DirFS(filepath.Join(dir, before)))
		if swapOf(dir) == before {
			return tree
		}
	}
	return Tree{Unreadable: fmt.Errorf("%s changes faster than it can be read", dir)}
}

// swapOf names the dated directory that "..data" points at, or "".
func swapOf(dir string) string {
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil || !filepath.IsLocal(target) {
		return ""
	}
	return target
}

// Watcher reads directories again whenever something may have changed.
type Watcher struct {
	Dirs   []string
	Every  time.Duration   // a net under the events; must be positive
	Reload <-chan struct{} // read at once, such as on SIGHUP; may be nil
	Errors func(error)     // told of events that do not come; may be nil
}

// LoadAll reads every directory once.
func (w Watcher) LoadAll() []Source {
	sources := make([]Source, len(w.Dirs))
	for i, dir := range w.Dirs {
		sources[i] = Source{dir, Load(dir)}
	}
	return sources
}

// Run calls apply with what the directories say, first at once and then after
// every event, every signal on Reload, and every Every; changed or not. It
// returns when ctx ends. Without events (inotify refused) it goes on by the net alone.
func (w Watcher) Run(ctx context.Context, apply func([]Source)) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.report(fmt.Errorf("changes of key directories are only seen every %s: %w", w.Every, err))
	} else {
		events, faults = notify.Events, notify.Errors
		defer notify.Close()
	}
	net := time.NewTicker(w.Every)
	defer net.Stop()
	quiet := time.NewTimer(0) // The first read.
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			quiet.Reset(settle)
			continue
		case err := <-faults:
			w.report(fmt.Errorf("watch key directories: %w", err))
		case <-quiet.C:
		case <-net.C:
		case <-w.Reload:
		}
		// Before the read, so that what changes during it is an event. A directory that was replaced is new to inotify.
		w.watch(notify)
		apply(w.LoadAll())
	}
}

func (w Watcher) watch(notify *fsnotify.Watcher) {
	if notify == nil {
		return
	}
	for _, dir := range w.Dirs {
		// A directory that is not there is the tree's finding, and tried again each time.
		if err := notify.Add(dir); err != nil && !os.IsNotExist(err) {
			w.report(fmt.Errorf("watch key directory: %w", err))
		}
	}
}

func (w Watcher) report(err error) {
	if w.Errors != nil {
		w.Errors(err)
	}
}
