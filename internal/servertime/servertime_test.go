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
