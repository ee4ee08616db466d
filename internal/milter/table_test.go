// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// selectorsOf are the selectors that sign, by domain.
func selectorsOf(t *Table) map[dnsrecord.Name][]string {
	out := map[dnsrecord.Name][]string{}
	for _, e := range t.Entries() {
		out[e.Domain.Domain] = []string{}
		for _, k := range e.keys {
			out[e.Domain.Domain] = append(out[e.Domain.Domain], k.Selector)
		}
	}
	return out
}

func TestABrokenDomainKeepsItsLastGoodKeysAndHoldsBackNobody(t *testing.T) {
	live := &Live{}
	live.Apply(source(files(t, domain(t, "example.org", key(t, "o1", ed1)), domain(t, "example.net", key(t, "n1", ed1), key(t, "n2", ed2)))), testNow)

	// example.org breaks in the very reading in which n1 of example.net is revoked.
	tree := files(t, domain(t, "example.org", key(t, "o2", ed2)), domain(t, "example.net", key(t, "n2", ed2)))
	tree["example.org.o2.pem"] = &fstest.MapFile{Data: []byte("broken")}
	later := testNow.Add(time.Hour)
	changed := live.Apply(source(tree), later)

	want := map[dnsrecord.Name][]string{"example.org": {"o1"}, "example.net": {"n2"}}
	if diff := cmp.Diff(want, selectorsOf(live.Table())); diff != "" {
		t.Errorf("who signs (-want +got):\n%s", diff)
	}
	if len(changed) != 2 {
		t.Errorf("changes: %v", changed)
	}
	table := live.Table()
	if len(table.Faults) != 1 || table.Faults[0].Subject != "example.org" || table.Blind != "" {
		t.Errorf("faults: %+v, blind %q", table.Faults, table.Blind)
	}
	if e := table.Find("example.org"); e.Fault == "" || e.Unread || e.state() != "stale" || !e.Since.Equal(testNow) {
		t.Errorf("entry: %+v", e)
	}

	// The same again is no change; the repair is one.
	if changed := live.Apply(source(tree), later); len(changed) != 0 {
		t.Errorf("the same reading changes %v", changed)
	}
	last := later.Add(time.Hour)
	changed = live.Apply(source(files(t, domain(t, "example.org", key(t, "o2", ed2)))), last)
	if diff := cmp.Diff(map[dnsrecord.Name][]string{"example.org": {"o2"}}, selectorsOf(live.Table())); diff != "" {
		t.Errorf("after the repair (-want +got):\n%s", diff)
	}
	if len(changed) != 2 || changed[0].Domain != "example.net" || changed[0].Entry != nil {
		t.Errorf("changes: %+v", changed)
	}
	if e := live.Table().Find("example.org"); e.Fault != "" || !e.Since.Equal(last) {
		t.Errorf("entry: %+v", e)
	}
}

func TestADomainThatWasNeverReadMakesItsMailWait(t *testing.T) {
	tree := files(t, domain(t, "example.org", key(t, "s", ed1)), domain(t, "example.net", key(t, "s", ed1)))
	tree["example.org.json"] = &fstest.MapFile{Data: []byte(`{"version":7}`)}
	r := start(t, tree)
	for _, author := range []string{"a@example.org", "a@may.be.example.org"} {
		reply, _ := r.send(t, miltertest.Message{Raw: from(author)})
		if reply.Text != "451 4.7.0 Cannot sign for example.org now; try again later" {
			t.Errorf("%s: %+v", author, reply)
		}
	}
	if n := r.count(t, "messages_total", "tempfail", string(ReasonUnread)); n != 2 {
		t.Errorf("%v messages counted", n)
	}
	if reply, out := r.send(t, miltertest.Message{Raw: from("a@example.net")}); !reply.Accepted || len(verdicts(t, out, nil)) != 1 {
		t.Errorf("another domain: %+v", reply)
	}
}

func TestAMessageOnItsWayKeepsTheTableItBeganWith(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "old", ed1))))
	c := r.dial(t, miltertest.Options{Protocol: miltertest.HeaderLeadSpace})
	fields, body := miltertest.Split(from("a@example.org"))
	if err := c.Begin(netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Envelope(miltertest.Message{}); err != nil {
		t.Fatal(err)
	}
	r.live.Apply(source(files(t, domain(t, "example.org", key(t, "new", ed2)))), testNow)
	for _, f := range fields {
		if err := c.Header(f.Name, f.Value); err != nil {
			t.Fatal(err)
		}
	}
	r.live.Apply(nil, testNow) // Even that there is no table any more changes nothing for it.
	if err := c.Command('N', nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Command('B', body); err != nil {
		t.Fatal(err)
	}
	reply, out, err := c.End(fields, body)
	if err != nil || !reply.Accepted {
		t.Fatalf("%+v %v", reply, err)
	}
	mustVerify(t, out, 1, map[string]int{"old": ed1})

	r.live.Apply(source(files(t, domain(t, "example.org", key(t, "new", ed2)))), testNow)
	_, out, err = c.Send(miltertest.Message{Raw: from("a@example.org")})
	if err != nil {
		t.Fatal(err)
	}
	mustVerify(t, out, 1, map[string]int{"new": ed2})
}

func TestADirectoryThatCannotBeReadForAMomentKeepsItsDomains(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "o", ed1)), domain(t, "example.net", key(t, "old", ed1))))
	unreadable := keydir.Source{Dir: "/keys", Tree: keydir.Tree{Unreadable: &fs.PathError{Op: "open", Path: "/keys", Err: syscall.EMFILE}}}
	// example.net has moved to another directory meanwhile.
	other := keydir.Source{Dir: "/other", Tree: keydir.Read(files(t, domain(t, "example.net", key(t, "new", ed2))))}
	for range 2 {
		r.live.Apply([]keydir.Source{unreadable, other}, testNow)
		if diff := cmp.Diff(map[dnsrecord.Name][]string{"example.org": {"o"}, "example.net": {"new"}}, selectorsOf(r.live.Table())); diff != "" {
			t.Errorf("who signs (-want +got):\n%s", diff)
		}
	}
	_, out := r.send(t, miltertest.Message{Raw: from("a@example.org")})
	mustVerify(t, out, 1, map[string]int{"o": ed1})
	if e := r.live.Table().Find("example.org"); e.state() != "stale" || !strings.Contains(r.Ready(1), "too many open files") {
		t.Errorf("it does not say so: %s, %q", e.state(), r.Ready(1))
	}
	if reply, _ := r.send(t, miltertest.Message{Raw: from("a@may-have-come.example")}); reply.Code() != 451 {
		t.Errorf("a domain that may have come meanwhile: %+v", reply)
	}

	// A directory that is gone takes its domains along.
	r.live.Apply([]keydir.Source{{Dir: "/keys", Tree: keydir.Load("/none/at/all")}, other}, testNow)
	if diff := cmp.Diff(map[dnsrecord.Name][]string{"example.net": {"new"}}, selectorsOf(r.live.Table())); diff != "" {
		t.Errorf("who signs without the directory (-want +got):\n%s", diff)
	}
}

func TestADomainInTwoDirectoriesIsAFault(t *testing.T) {
	live := &Live{}
	a := keydir.Source{Dir: "/a", Tree: keydir.Read(files(t, domain(t, "example.org", key(t, "a", ed1))))}
	b := keydir.Source{Dir: "/b", Tree: keydir.Read(files(t, domain(t, "example.org", key(t, "b", ed2)), domain(t, "example.net", key(t, "n", ed2))))}
	live.Apply([]keydir.Source{a}, testNow)
	live.Apply([]keydir.Source{a, b}, testNow)
	if diff := cmp.Diff(map[dnsrecord.Name][]string{"example.org": {"a"}, "example.net": {"n"}}, selectorsOf(live.Table())); diff != "" {
		t.Errorf("who signs (-want +got):\n%s", diff)
	}
	want := []Fault{{"example.org", "is in /a and in /b: take it out of one"}}
	if diff := cmp.Diff(want, live.Table().Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestSeveralTenantsNeedSenders(t *testing.T) {
	live := &Live{RequireSenders: true}
	listed := domain(t, "listed.example", key(t, "s", ed1))
	listed.Senders = &keydir.Senders{Logins: []string{"alice"}}
	live.Apply(source(files(t, listed, domain(t, "open.example", key(t, "s", ed1)))), testNow)
	if e := live.Table().Find("open.example"); !e.Unread || !strings.Contains(e.Fault, "senders") {
		t.Errorf("open.example: %+v", e)
	}
	if e := live.Table().Find("listed.example"); e.Unread || len(e.keys) != 1 {
		t.Errorf("listed.example: %+v", e)
	}
}

func TestTheSeriesOfKeysThatAreGoneAreDropped(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "old", ed1))))
	r.send(t, miltertest.Message{Raw: from("a@example.org")})
	if n := r.count(t, "signatures_total", "ed25519-sha256", "example.org", "old"); n != 1 {
		t.Fatalf("%v signatures", n)
	}
	r.live.Apply(source(files(t, domain(t, "example.org", key(t, "new", ed2)))), testNow)
	r.cfg.Metrics.Reloaded(r.live.Table())
	if n := r.count(t, "signatures_total", "ed25519-sha256", "example.org", "old"); n != 0 {
		t.Errorf("%v signatures of a key that is gone", n)
	}
	if n := r.count(t, "key_reloads_total", "ok"); n != 1 {
		t.Errorf("%v readings", n)
	}
	if n := r.count(t, "domains", "signing"); n != 1 {
		t.Errorf("%v domains sign", n)
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHTTPSaysHowThingsStand(t *testing.T) {
	tree := files(t, domain(t, "example.org", key(t, "r1", rsa1), key(t, "e1", ed1)))
	now := testNow
	var passed atomic.Int64
	r := start(t, tree, func(c *Config) { c.Now = func() time.Time { return testNow.Add(time.Duration(passed.Load())) } })
	// A connection that was answered means that the listener is up.
	r.dial(t, miltertest.Options{})
	h := r.Handler(r.registry, 1)

	if code, text := get(t, h, "/healthz"); code != 200 || text != "ok\n" {
		t.Errorf("healthz: %d %q", code, text)
	}
	if code, text := get(t, h, "/readyz"); code != 200 || text != "ok\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	if code, text := get(t, r.Handler(r.registry, 2), "/readyz"); code != 503 || !strings.Contains(text, "1 of 2 listeners") {
		t.Errorf("readyz: %d %q", code, text)
	}
	passed.Store(int64(time.Minute))
	now = now.Add(time.Minute)
	if _, text := get(t, h, "/metrics"); !strings.Contains(text, "maildomain_milter_key_table_age_seconds 60\n") || !strings.Contains(text, `maildomain_milter_unsigned_egress_total{reason="no_usable_key"} 0`) {
		t.Errorf("metrics:\n%s", text)
	}

	// One domain breaks: the others are served, and it is told.
	broken := maps.Clone(tree)
	broken["example.org.json"] = &fstest.MapFile{Data: []byte("{")}
	r.live.Apply(source(broken), now)
	if code, text := get(t, h, "/readyz"); code != 200 || !strings.Contains(text, "fault: example.org: example.org.json: not a JSON document") {
		t.Errorf("readyz with a fault: %d %q", code, text)
	}
	code, text := get(t, h, "/keys")
	var report keydir.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil || code != 200 {
		t.Fatalf("keys: %d %v", code, err)
	}
	d := report.Domains[0]
	selectors := []string{}
	for _, k := range d.Keys {
		selectors = append(selectors, k.Selector+" "+k.Algorithm)
		if !k.Since.Equal(testNow) || len(k.PublicKeySHA256) != 64 {
			t.Errorf("key %+v", k)
		}
	}
	if d.Domain != "example.org" || d.State != "stale" || !d.Required || !slices.Equal(selectors, []string{"r1 rsa-sha256", "e1 ed25519-sha256"}) {
		t.Errorf("domain %+v", d)
	}
	if !report.Read.Equal(now) || !report.Time.Equal(now) || strings.Contains(text, "PRIVATE") {
		t.Errorf("report:\n%s", text)
	}

	// Nothing left: not ready, and no domain is shown as signing.
	r.live.Apply(source(fstest.MapFS{}), now)
	if code, text := get(t, h, "/readyz"); code != 503 || !strings.Contains(text, "not ready: /keys: the key directory holds no domain") {
		t.Errorf("readyz without keys: %d %q", code, text)
	}
	if code, _ := get(t, h, "/none"); code != 404 {
		t.Errorf("another path: %d", code)
	}
}
