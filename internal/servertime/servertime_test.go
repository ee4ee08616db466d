// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package servertime_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A step of ours within five minutes is corrected by the next answer, to the second that a Date has.
func TestTheAPIServersTimeIsTheOperators(t *testing.T) {
	step, skew := time.Duration(0), time.Duration(0)
	watch := servertime.New(func() time.Time { return noon.Add(step) })
	answer := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{Body: http.NoBody, Header: http.Header{"Date": {noon.Add(skew).Format(http.TimeFormat)}}}, nil
	})
	for _, c := range []struct{ step, skew, want time.Duration }{
		{0, 0, 0},
		{time.Second, 0, time.Second}, // as much as a Date may be late
		{4 * time.Minute, 0, 0},
		{4*time.Minute + time.Second, 0, time.Second},
		{-4 * time.Minute, 0, 0},
		{0, -3 * time.Minute, -3 * time.Minute},
		{6 * time.Minute, 0, 6 * time.Minute}, // who is wrong nobody knows
		{0, 0, 0},
	} {
		step, skew = c.step, c.skew
		response, err := watch.Wrap(answer).RoundTrip(nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := watch.Now().Sub(noon); got != c.want || watch.Since(noon) != c.want {
			t.Errorf("our clock %s off, the API server's %s: we take it for %s after noon, want %s", c.step, c.skew, got, c.want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheLastDateCounts(t *testing.T) {
	dates := []string{"", "yesterday", "Mon, 23 Nov 2026 12:10:00 GMT", "not a date"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = []string{dates[0]}
		if dates[0] == "" {
			w.Header()["Date"] = nil // net/http writes none then
		}
		dates = dates[1:]
	}))
	defer server.Close()
	watch := servertime.New(func() time.Time { return noon })
	client := http.Client{Transport: watch.Wrap(http.DefaultTransport)}
	for _, known := range []bool{false, false, true, true} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		ours, theirs, got := watch.Last()
		if got != known {
			t.Fatalf("known %v, want %v", got, known)
		}
		if known && (!ours.Equal(noon) || !theirs.Equal(noon.Add(10*time.Minute))) {
			t.Errorf("ours %s, theirs %s", ours, theirs)
		}
	}
}
