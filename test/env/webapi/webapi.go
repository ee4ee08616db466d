// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webapi carries the HTTP API of a provider that runs in the process: over TCP or as an http.RoundTripper, with
// every call counted and faults to inject.
package webapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Fault is what goes wrong with one call; the zero value is none.
type Fault int

// Faults.
const (
	None Fault = iota
	// Throttle answers that there were too many requests, as this provider does.
	Throttle
	// Unavailable answers 503 with a page in HTML, as a proxy in front of the provider does.
	Unavailable
	// Reset ends the connection before anything is done.
	Reset
	// LoseReply does what is asked and ends the connection.
	LoseReply
	// Truncate does what is asked and sends half of the answer.
	Truncate
	// Garble does what is asked and answers 200 with a page in HTML.
	Garble
	// Hang answers nothing until the caller gives up.
	Hang
)

// Faults are all of them but None.
func Faults() []Fault {
	return []Fault{Throttle, Unavailable, Reset, LoseReply, Truncate, Garble, Hang}
}

// API is the HTTP API of one provider.
type API struct {
	// Handler carries calls out.
	Handler http.Handler
	// Operation names the call that a request is.
	Operation func(*http.Request) string
	// Throttled answers that there were too many requests; retryAfter is 0 where the provider does not say how long.
	Throttled func(w http.ResponseWriter, retryAfter time.Duration)

	mu         sync.Mutex
	calls      map[string]int
	fault      func(operation string, n int) Fault
	retryAfter time.Duration
}

// Break sets what goes wrong: f is asked for each call, n counts all calls from 1. nil ends all faults.
func (a *API) Break(f func(operation string, n int) Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// BreakNext lets the next calls of an operation ("" is any) fail, and those after them work.
func (a *API) BreakNext(operation string, faults ...Fault) {
	a.Break(func(op string, _ int) Fault {
		if len(faults) == 0 || operation != "" && op != operation {
			return None
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

// RetryAfter is how long Throttle asks to wait.
func (a *API) RetryAfter(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retryAfter = d
}

// Calls counts the calls of each operation; the entry "" is their sum.
func (a *API) Calls() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := maps.Clone(a.calls)
	if calls == nil {
		calls = map[string]int{}
	}
	sum := 0
	for _, n := range calls {
		sum += n
	}
	calls[""] = sum
	return calls
}

// ResetCalls sets all counters to 0.
func (a *API) ResetCalls() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.calls)
}

// note counts a call and returns what goes wrong with it. The lock keeps a fault function from running twice at a time.
func (a *API) note(operation string) (Fault, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == nil {
		a.calls = map[string]int{}
	}
	a.calls[operation]++
	n := 0
	for _, c := range a.calls {
		n += c
	}
	if a.fault == nil {
		return None, 0
	}
	return a.fault(operation, n), a.retryAfter
}

var errReset = errors.New("connection reset by peer")

// RoundTrip carries a request out without any network, so that it can run in a synctest bubble.
func (a *API) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	fault, retryAfter := a.note(a.Operation(r))
	w := httptest.NewRecorder()
	switch fault {
	case Reset:
		return nil, errReset
	case Hang:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case Throttle:
		a.Throttled(w, retryAfter)
	case Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html><h1>503 Service Unavailable</h1></html>")
	case Garble:
		a.Handler.ServeHTTP(httptest.NewRecorder(), serverSide(r))
		_, _ = io.WriteString(w, "<html><h1>It works</h1></html>")
	case None, LoseReply, Truncate:
		a.Handler.ServeHTTP(w, serverSide(r))
	}
	if fault == LoseReply {
		return nil, errReset
	}
	reply := w.Result()
	reply.Request = r
	if fault == Truncate {
		half := w.Body.Bytes()[:w.Body.Len()/2]
		reply.Body = io.NopCloser(io.MultiReader(bytes.NewReader(half), brokenOff{}))
	}
	return reply, nil
}

// brokenOff is the end of a body whose length was announced longer.
type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// serverSide is the request as a server gets it: with a body, always.
func serverSide(r *http.Request) *http.Request {
	r = r.Clone(context.WithoutCancel(r.Context()))
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// Do is RoundTrip, for clients that ask for such a method.
func (a *API) Do(r *http.Request) (*http.Response, error) { return a.RoundTrip(r) }

// ServeHTTP is the API as a server has it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, err := a.RoundTrip(r)
	if err != nil {
		panic(http.ErrAbortHandler) // ends the connection
	}
	defer reply.Body.Close()
	maps.Copy(w.Header(), reply.Header)
	w.WriteHeader(reply.StatusCode)
	if _, err := io.Copy(w, reply.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Listen serves the API on a loopback port until the returned function is called.
func (a *API) Listen() (url string, stop func()) {
	server := httptest.NewServer(a)
	return server.URL, server.Close
}
