// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package signers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// report is what a milter answers that holds these selectors of example.org.
func report(selectors ...string) string {
	d := keydir.ReportDomain{Domain: "example.org", State: "signing", Keys: []keydir.ReportKey{}}
	for _, s := range selectors {
		d.Keys = append(d.Keys, keydir.ReportKey{Selector: s})
	}
	text, _ := json.Marshal(keydir.Report{Domains: []keydir.ReportDomain{{Domain: "example.net", Keys: []keydir.ReportKey{{Selector: "old"}}}, d}})
	return string(text)
}

// serve is a pod.
func serve(t *testing.T, name string, handler http.HandlerFunc) Signer {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Signer{Name: name, Addr: netip.MustParseAddrPort(server.Listener.Addr().String())}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func TestWhoHoldsASelectorIsNamed(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, "elsewhere", says(report("new")))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"it has dropped it":       {says(report("new")), ""},
		"it has no key at all":    {says(`{"domains":[]}`), ""},
		"it holds it":             {says(report("new", "old")), "pod mta-0 still holds old"},
		"it writes it otherwise":  {says(strings.Replace(report("OLD"), "example.org", "EXAMPLE.org", 1)), "pod mta-0 still holds old"},
		"it cannot read its keys": {says(`{"blind":"permission denied","domains":[]}`), "pod mta-0 cannot read all of its keys, so that it may hold old"},
		"it is no milter":         {says("<html>hello</html>"), "pod mta-0 does not say which keys it holds at /keys"},
		"it says nothing of domains": {
			says(`{}`), "pod mta-0 does not say which keys it holds at /keys",
		},
		"it never ends": {
			func(w http.ResponseWriter, _ *http.Request) {
				for range 2 * maxAnswer / 1024 {
					if _, err := w.Write([]byte(strings.Repeat(" ", 1024))); err != nil {
						return
					}
				}
			},
			"pod mta-0 answers with more than 1 MiB at /keys",
		},
		"it sends us elsewhere": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, fmt.Sprintf("http://%s/keys", elsewhere.Addr), http.StatusFound)
			},
			"pod mta-0 answers 302 at ADDR/keys, not which keys it holds",
		},
		"it has no /keys": {http.NotFound, "pod mta-0 answers 404 at ADDR/keys, not which keys it holds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "mta-0", c.answer)
			got := strings.ReplaceAll(strings.Join(Asker{}.Holding(t.Context(), []Signer{s}, "example.org", "old"), ";"), s.Addr.String(), "ADDR")
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAPodThatIsSilentHoldsAndOthersAreHeard(t *testing.T) {
	t.Parallel()
	gone := serve(t, "gone", says(""))
	silent := make(chan struct{})
	defer close(silent)
	signers := []Signer{
		serve(t, "mta-1", says(report("old"))),
		serve(t, "mta-0", says(report("new"))),
		serve(t, "slow", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
		}),
		{Name: "gone", Addr: netip.AddrPortFrom(gone.Addr.Addr(), 1)},
	}
	got := Asker{}.Holding(t.Context(), signers, "example.org", "old")
	want := []string{
		"pod gone does not answer at 127.0.0.1:1",
		"pod mta-1 still holds old",
		"pod slow does not answer at " + signers[2].Addr.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzAnAnswerIsAReportOrRefused(f *testing.F) {
	for _, seed := range []string{report("old"), `{}`, `{"domains":null}`, `{"domains":[{"keys":[{}]}]}`, `[]`, `{"domains":{}}`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parse(body)
		if err != nil && holds(r, "example.org", "old") {
			t.Error("what was refused is believed")
		}
	})
}
