// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servertime learns what the API server's clock says, from the Date of its answers.
//
// A key's life is counted in timestamps. A clock that runs ahead would end it too early, and no other clock is as near. So the
// operator goes by the API server's: what one process noted another one judges on another node, and a clock that is stepped by
// a minute or two shortens no wait. Whether the two clocks are too far apart for anything irreversible is not decided here.
package servertime

import (
	"net/http"
	"sync"
	"time"
)

// Watch remembers the last answer's Date, and what our clock said then.
type Watch struct {
	now func() time.Time

	mu           sync.Mutex
	ours, theirs time.Time
	ahead        time.Duration // theirs of ours
}

// A Date is cut to a second, and takes a while to arrive: a difference that is no greater is none. One that is greater than
// farthest is somebody's mistake, and nobody knows whose.
const (
	least    = 2 * time.Second
	farthest = 5 * time.Minute
)

// New watches with a clock of ours.
func New(now func() time.Time) *Watch { return &Watch{now: now} }

// Wrap is for rest.Config.Wrap.
func (w *Watch) Wrap(next http.RoundTripper) http.RoundTripper { return transport{w, next} }

type transport struct {
	watch *Watch
	next  http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	if err == nil {
		t.watch.note(response.Header.Get("Date"))
	}
	return response, err
}

func (w *Watch) note(date string) {
	theirs, err := http.ParseTime(date) // RFC 9110 §6.6.1
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ours, w.theirs = w.now(), theirs
	switch ahead := w.theirs.Sub(w.ours); {
	case ahead.Abs() > farthest:
		w.ahead = 0
	case (ahead - w.ahead).Abs() > least:
		w.ahead = ahead
	}
}

// Now is the API server's time, as far as its last answer tells; ours before the first one.
func (w *Watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now().Add(w.ahead)
}

// Since makes a Watch a clock.PassiveClock.
func (w *Watch) Since(t time.Time) time.Duration { return w.Now().Sub(t) }

// Last is what both clocks said when the API server last answered, to the second; false if it never told its time.
func (w *Watch) Last() (ours, theirs time.Time, known bool) {
	if w == nil {
		return ours, theirs, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ours, w.theirs, !w.theirs.IsZero()
}
