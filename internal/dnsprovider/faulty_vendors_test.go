// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/cloudflare"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

var testProvider = dnsprovider.ProviderKey{Kind: "DNSProvider", Namespace: "mail", Name: "p"}

// startQueue runs a queue over a driver, inside a synctest bubble; the account has the driver's own limits.
func startQueue(t *testing.T, account *dnsprovider.Account) *dnsprovider.Queue {
	t.Helper()
	accounts := dnsprovider.NewAccounts()
	accounts.Set(testProvider, account)
	q := dnsprovider.NewQueue(dnsprovider.Options{
		OwnerID: "us", Accounts: accounts, Now: time.Now, //nolint:forbidigo // the time of the bubble
		Jitter: func() float64 { return 0.5 },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	go func() {
		for {
			select {
			case <-q.Wake():
			case <-accounts.Wake():
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return q
}

func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the time of the bubble
	synctest.Wait()
}

// world is a fake vendor with foreign records, as its own copy of the zone tells them.
type world struct {
	api       *webapi.API
	transport http.RoundTripper
	open      func(testing.TB, http.RoundTripper) *dnsprovider.Account
	foreign   []string
	lines     func() []string
	// values are the logical TXT values at a name.
	values func(name dnsrecord.Name) []string
}

func cloudflareWorld() world {
	s := cloudflare.New(cloudflareToken, "example.org")
	for _, content := range []string{`"site=\"1\""`, `bare \ text`, `"` + strings.Repeat("x", 255) + `" "y"`} {
		s.Put("example.org", cloudflare.Record{Name: "example.org", Type: "TXT", Content: content, TTL: 1})
	}
	lines := func() []string {
		var all []string
		for _, r := range s.Records("example.org") {
			all = append(all, fmt.Sprintf("%+v", r))
		}
		return all
	}
	return world{s.API, s, openCloudflareAccount, lines(), lines, func(name dnsrecord.Name) []string {
		var all []string
		for _, r := range s.Records("example.org") {
			if value, err := dnsrecord.ParseTXT(r.Content); err == nil && r.Name == string(name) && strings.HasPrefix(r.Content, `"`) {
				all = append(all, value)
			}
		}
		return all
	}}
}

func route53World() world {
	s := route53.New(accessKeyID, "example.org")
	s.PendingPolls = 2
	s.Put("example.org", route53.Set{Name: "example.org", Type: "TXT", TTL: 3600, Values: []string{`"site=\"1\""`, `"\303\274" "cut"`}})
	lines := func() []string {
		var all []string
		for _, set := range s.Sets("example.org") {
			for _, v := range set.Values {
				all = append(all, fmt.Sprintf("%s %s %d %s", set.Name, set.Type, set.TTL, v))
			}
		}
		return all
	}
	return world{s.API, s, openRoute53Account, lines(), lines, func(name dnsrecord.Name) []string {
		var all []string
		for _, set := range s.Sets("example.org") {
			for _, v := range set.Values {
				if value, err := dnsrecord.ParseTXT(v); err == nil && set.Name == name.FQDN() {
					all = append(all, value)
				}
			}
		}
		return all
	}}
}

// runs is how many seeds each vendor gets: enough to see every fault at every call in each run of the tests. RUNS=10000 is
// the long way.
func runs(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("RUNS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 100
}

func TestWhateverAVendorDoesForeignRecordsStayAndOursCome(t *testing.T) {
	for name, build := range map[string]func() world{"Cloudflare": cloudflareWorld, "Route 53": route53World} {
		t.Run(name, func(t *testing.T) {
			for seed := range runs(t) {
				synctest.Test(t, func(t *testing.T) { survive(t, build(), seed) })
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// survive publishes, changes and removes records while a random part of the calls fails, each in a way of its own.
func survive(t *testing.T, w world, seed uint64) {
	t.Helper()
	random, calls := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	share := random.Float64() * 0.6
	w.api.Break(func(string, int) webapi.Fault {
		if calls.Float64() >= share {
			return webapi.None
		}
		return webapi.Faults()[calls.IntN(len(webapi.Faults()))]
	})
	q := startQueue(t, w.open(t, afterEach(w.transport, func() {
		// Not for one repair: never, whatever the call before did and said.
		for _, name := range w.doubled() {
			t.Errorf("%s holds %q", name, w.values(name))
		}
	})))
	s := dnsprovider.Submission{Owner: dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: "d"}, Provider: testProvider, Zone: "example.org", Domain: "example.org"}
	wish := func(name dnsrecord.Name, kind dnsplan.Kind, value string, ours ...string) dnsplan.Wish {
		return dnsplan.Wish{Name: name, Type: dnsrecord.TXT, Kind: kind, Value: value, TTL: 300, Ours: ours, Adoption: dnsplan.Never}
	}
	first := []dnsplan.Wish{
		wish("example.org", dnsplan.SPF, "v=spf1 -all"), wish("_dmarc.example.org", dnsplan.Exclusive, "v=DMARC1; p=none"),
		wish("s1._domainkey.example.org", dnsplan.Exclusive, dkim2048),
	}
	second := []dnsplan.Wish{
		wish("example.org", dnsplan.SPF, "v=spf1 mx -all", "v=spf1 -all"), wish("_dmarc.example.org", dnsplan.Exclusive, "v=DMARC1; p=reject", "v=DMARC1; p=none"),
		wish("s1._domainkey.example.org", dnsplan.Exclusive, "", dkim2048),
	}
	for _, s.Wishes = range [][]dnsplan.Wish{first, second} {
		q.Submit(s)
		for range 40 {
			pass(time.Duration(random.IntN(20)) * time.Second)
			w.unharmed(t)
		}
	}
	w.api.Break(nil)
	pass(20 * time.Minute) // as long as it may wait after errors that need a person
	w.unharmed(t)
	for name, want := range map[dnsrecord.Name]string{"example.org": "v=spf1 mx -all", "_dmarc.example.org": "v=DMARC1; p=reject", "s1._domainkey.example.org": ""} {
		got := slices.DeleteFunc(w.values(name), func(v string) bool { return !strings.HasPrefix(v, "v=") })
		if want == "" && len(got) == 0 || len(got) == 1 && got[0] == want {
			continue
		}
		r, _ := q.Result(s.Owner)
		t.Errorf("%s holds %q, want %q: %+v", name, got, want, r)
	}
}

// unharmed: every foreign record is as it was, and no name has two records of a kind of which two are none.
func (w world) unharmed(t *testing.T) {
	t.Helper()
	stands := w.lines()
	for _, f := range w.foreign {
		if !slices.Contains(stands, f) {
			t.Fatalf("a foreign record is not as it was: %s\n%q", f, stands)
		}
	}
	for _, name := range w.doubled() {
		t.Fatalf("%s holds %q", name, w.values(name))
	}
}

// doubled are the names with two SPF or two DMARC records, of which receivers take none (RFC 7208 §4.5; RFC 9989 takes one).
func (w world) doubled() []dnsrecord.Name {
	return slices.DeleteFunc([]dnsrecord.Name{"example.org", "_dmarc.example.org"}, func(name dnsrecord.Name) bool {
		return len(slices.DeleteFunc(w.values(name), func(v string) bool { return !strings.HasPrefix(v, "v=") })) < 2
	})
}

// afterEach looks at the world after each request of a driver.
func afterEach(next http.RoundTripper, look func()) http.RoundTripper {
	return transport(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		look()
		return response, err
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What every run looks for is seen where it is.
func TestASecondRecordIsSeen(t *testing.T) {
	for name, w := range map[string]world{"Cloudflare": cloudflareWorld(), "Route 53": route53World()} {
		zone := w.open(t, w.transport).Driver.Zone("example.org")
		add := func(name dnsrecord.Name, value string) {
			k := dnsprovider.Question{Name: name, Type: dnsrecord.TXT}
			seen, err := zone.Read(t.Context(), []dnsprovider.Question{k})
			if err == nil {
				err = errors.Join(zone.Apply(t.Context(), []dnsplan.Change{{Name: name, Type: dnsrecord.TXT, TTL: 300, Add: []string{value}, Prerequisite: seen[k]}})...)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		add("example.org", "v=spf1 -all")
		add("_dmarc.example.org", "v=DMARC1; p=none")
		if got := w.doubled(); len(got) != 0 {
			t.Errorf("%s: one each: %v", name, got)
		}
		add("example.org", "v=spf1 mx -all")
		add("_dmarc.example.org", "v=DMARC1; p=reject")
		if got := w.doubled(); len(got) != 2 {
			t.Errorf("%s: two each: %v", name, got)
		}
	}
}

func TestTheRateOfRoute53IsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := route53.New(accessKeyID)
		server.Now = time.Now //nolint:forbidigo // the time of the bubble
		for i := range 20 {
			server.AddZone(fmt.Sprintf("z%02d.example", i))
		}
		q := startQueue(t, openRoute53Account(t, server))
		for i := range 20 {
			zone := dnsrecord.Name(fmt.Sprintf("z%02d.example", i))
			q.Submit(dnsprovider.Submission{
				Owner: dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: string(zone)}, Provider: testProvider, Zone: zone, Domain: zone,
				Wishes: []dnsplan.Wish{{Name: zone.Child("_dmarc"), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "v=DMARC1; p=none", TTL: 300, Adoption: dnsplan.Never}},
			})
		}
		pass(10 * time.Minute)
		for i := range 20 {
			r, ok := q.Result(dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: fmt.Sprintf("z%02d.example", i)})
			if !ok || !r.Settled() || r.Outcomes[0].Message != "" {
				t.Errorf("zone %d: %+v", i, r)
			}
		}
		// 20 zones at 8 calls each, none of them refused or repeated.
		if calls := server.Calls(); calls[""] > 20*8 {
			t.Errorf("%v", calls)
		}
	})
}

func TestRoute53IsDoneWhenEveryServerHasTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := route53.New(accessKeyID, "example.org")
		server.PendingPolls = 4
		q := startQueue(t, openRoute53Account(t, server))
		owner := dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: "d"}
		q.Submit(dnsprovider.Submission{
			Owner: owner, Provider: testProvider, Zone: "example.org", Domain: "example.org",
			Wishes: []dnsplan.Wish{{Name: "_dmarc.example.org", Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: "v=DMARC1; p=none", TTL: 300, Adoption: dnsplan.Never}},
		})
		pass(35 * time.Second)
		if r, ok := q.Result(owner); ok {
			t.Fatalf("PENDING, and it says: %+v", r)
		}
		pass(time.Minute)
		if r, ok := q.Result(owner); !ok || !r.Settled() {
			t.Errorf("INSYNC, and it says: %+v", r)
		}
		if polls := server.Calls()["poll"]; polls != 5 {
			t.Errorf("%d polls", polls)
		}
	})
}
