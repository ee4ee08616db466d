// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/cloudflare"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

// vendor is a fake with our driver before it.
type vendor struct {
	name   string
	api    *webapi.API
	driver dnsprovider.Driver
	secret string
}

func vendors(tb testing.TB) []vendor {
	tb.Helper()
	cf, r53 := cloudflare.New(cloudflareToken, "example.org"), route53.New(accessKeyID, "example.org")
	return []vendor{
		{"Cloudflare", cf.API, openCloudflare(tb, cf), cloudflareToken},
		{"Route 53", r53.API, openRoute53(tb, r53), "a-secret-access-key"},
	}
}

func TestVendorsKeepEveryOctet(t *testing.T) {
	for _, v := range vendors(t) {
		e := throughOurs{v.driver.Zone("example.org")}
		t.Run(v.name, func(t *testing.T) {
			octets := rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 700), func(b []byte) string { return string(b) })
			special := rapid.SampledFrom([]string{`"`, `\`, `\\"`, `" "`, `\101`, `\303\274`, "ü", " ", ";", "\x00\xff", strings.Repeat("é", 130)})
			rapid.Check(t, func(rt *rapid.T) {
				value, foreign := rapid.OneOf(octets, special).Draw(rt, "value"), rapid.OneOf(octets, special).Draw(rt, "foreign")
				if value == foreign || 4*len(value) > 2000 || 4*len(foreign) > 2000 { // Cloudflare's limit, escaped
					return
				}
				name := dnsrecord.Name("octets.example.org")
				stand := func(want ...string) {
					slices.Sort(want)
					if got, err := e.get(t.Context(), name); err != nil || !slices.Equal(got, want) {
						rt.Fatalf("read %q %v, want %q", got, err, want)
					}
				}
				check := func(err error) {
					if err != nil {
						rt.Fatal(err)
					}
				}
				check(e.add(t.Context(), name, foreign))
				check(e.add(t.Context(), name, value))
				stand(value, foreign)
				check(e.remove(t.Context(), name, value))
				stand(foreign)
				check(e.remove(t.Context(), name, foreign))
				stand()
			})
		})
	}
}

func TestEachFaultOfAVendorIsAnErrorInFewWords(t *testing.T) {
	want := map[webapi.Fault][]dnsprovider.Reason{
		webapi.Throttle: {dnsprovider.Throttled}, webapi.Unavailable: {dnsprovider.Unreachable}, webapi.Reset: {dnsprovider.Unreachable},
		webapi.LoseReply: {dnsprovider.Unreachable}, webapi.Truncate: {dnsprovider.Unreachable},
		webapi.Garble: {dnsprovider.Unknown, dnsprovider.Unreachable},
	}
	for _, v := range vendors(t) {
		e := throughOurs{v.driver.Zone("example.org")}
		for fault, reasons := range want {
			v.api.Break(func(string, int) webapi.Fault { return fault })
			_, first := e.get(t.Context(), "a.example.org")
			_, again := e.get(t.Context(), "a.example.org")
			var typed *dnsprovider.Error
			switch {
			case !errors.As(first, &typed) || !slices.Contains(reasons, typed.Reason) || !typed.Temporary():
				t.Errorf("%s, fault %d: %v", v.name, fault, first)
			case strings.Contains(first.Error(), v.secret) || len(first.Error()) > 200:
				t.Errorf("%s, fault %d: not fit for a status: %v", v.name, fault, first)
			case again == nil || first.Error() != again.Error():
				t.Errorf("%s, fault %d: each time other words: %v, %v", v.name, fault, first, again)
			}
		}
	}
}

func TestWrongCredentialsAreNamed(t *testing.T) {
	for name, d := range map[string]dnsprovider.Driver{
		"Cloudflare": openCloudflare(t, cloudflare.New("another", "example.org")),
		"Route 53":   openRoute53(t, route53.New("ANOTHER", "example.org")),
	} {
		for _, zones := range [][]dnsrecord.Name{nil, {"example.org"}} {
			err := d.Check(t.Context(), zones)
			var typed *dnsprovider.Error
			if !errors.As(err, &typed) || typed.Reason != dnsprovider.Unauthorized || typed.Temporary() {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestAZoneThatTheVendorDoesNotHaveIsNamed(t *testing.T) {
	for _, v := range vendors(t) {
		err := v.driver.Check(t.Context(), []dnsrecord.Name{"example.net"})
		var typed *dnsprovider.Error
		if !errors.As(err, &typed) || typed.Reason != dnsprovider.ZoneNotFound || !strings.Contains(err.Error(), "example.net") {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

// selectors are n changes that add DKIM keys.
func selectors(n int) []dnsplan.Change {
	var changes []dnsplan.Change
	for i := range n {
		name := dnsrecord.Name(fmt.Sprintf("s%03d._domainkey.example.org", i))
		changes = append(changes, dnsplan.Change{Name: name, Type: dnsrecord.TXT, TTL: 300, Add: []string{dkim2048}})
	}
	return changes
}

func TestOneBadRecordHoldsUpNoOther(t *testing.T) {
	for _, v := range vendors(t) {
		changes := selectors(100)
		changes[37].TTL = 1 << 31 // neither takes it
		if v.name == "Route 53" {
			changes[37].Add = []string{strings.Repeat("x", 5000)}
		}
		errs := v.driver.Zone("example.org").Apply(t.Context(), changes)
		for i, err := range errs {
			if (err != nil) != (i == 37) {
				t.Errorf("%s: change %d: %v", v.name, i, err)
			}
		}
		if calls := v.api.Calls()[""]; calls > 20 {
			t.Errorf("%s: %d calls", v.name, calls)
		}
	}
}

func TestAThrottledVendorIsLeftAlone(t *testing.T) {
	for _, v := range vendors(t) {
		zone := v.driver.Zone("example.org")
		if _, err := (throughOurs{zone}).get(t.Context(), "a.example.org"); err != nil {
			t.Fatal(err)
		}
		v.api.ResetCalls()
		v.api.Break(func(op string, _ int) webapi.Fault {
			if op == "change" || op == "batch" {
				return webapi.Throttle
			}
			return webapi.None
		})
		for i, err := range zone.Apply(t.Context(), selectors(250)) {
			var typed *dnsprovider.Error
			if !errors.As(err, &typed) || typed.Reason != dnsprovider.Throttled {
				t.Fatalf("%s: change %d: %v", v.name, i, err)
			}
		}
		// 250 keys are two batches at Cloudflare and four at Route 53. The first says that it is too much.
		if calls := v.api.Calls(); calls["change"]+calls["batch"] != 1 {
			t.Errorf("%s: %v", v.name, calls)
		}
	}
}

func TestRoute53BatchesAreAsLargeAsTheyMayBe(t *testing.T) {
	server := route53.New(accessKeyID, "example.org")
	changes := selectors(300)
	if err := errors.Join(openRoute53(t, server).Zone("example.org").Apply(t.Context(), changes)...); err != nil {
		t.Fatal(err)
	}
	batches := server.Batches()
	perBatch := route53.MaxCharacters / len(dnsrecord.FormatTXT(dkim2048))
	if want := (300 + perBatch - 1) / perBatch; len(batches) != want {
		t.Errorf("%d batches, want %d: %v", len(batches), want, batches)
	}
}

func TestRoute53ReadsNeighboursTogetherAndJumpsOverTheRest(t *testing.T) {
	server := route53.New(accessKeyID, "example.org")
	for i := range 2000 {
		server.Put("example.org", route53.Set{Name: fmt.Sprintf("h%04d.example.org", i), Type: "A", TTL: 60, Values: []string{"192.0.2.1"}})
	}
	server.Put("example.org", route53.Set{Name: "_dmarc.h1900.example.org", Type: "TXT", TTL: 60, Values: []string{`"there"`}})
	zone := openRoute53(t, server).Zone("example.org")
	ask := func(names ...dnsrecord.Name) map[dnsprovider.Question]dnsrecord.Set {
		var questions []dnsprovider.Question
		for _, n := range names {
			questions = append(questions, dnsprovider.Question{Name: n, Type: dnsrecord.TXT})
		}
		server.ResetCalls()
		seen, err := zone.Read(t.Context(), questions)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			if _, ok := seen[q]; !ok {
				t.Errorf("%s is not answered", q.Name)
			}
		}
		return seen
	}
	seen := ask("_dmarc.h0001.example.org", "_dmarc.h0002.example.org", "_dmarc.h1900.example.org", "zzz.example.org")
	if got := seen[dnsprovider.Question{Name: "_dmarc.h1900.example.org", Type: dnsrecord.TXT}]; !got.Has("there") {
		t.Errorf("read %v", got)
	}
	if calls := server.Calls()["list"]; calls > 3 {
		t.Errorf("%d lists for four names of 2001", calls)
	}
	if ask("*.h1000.example.org"); server.Calls()["list"] > 3 {
		t.Errorf("%v for a wildcard", server.Calls())
	}
}

func TestAListThatChangesWhileItIsReadIsNoAnswer(t *testing.T) {
	server := cloudflare.New(cloudflareToken, "example.org")
	server.PageLimit = 2
	var ids []string
	for i := range 5 {
		ids = append(ids, server.Put("example.org", cloudflare.Record{Name: fmt.Sprintf("n%d.example.org", i), Type: "TXT", Content: `"x"`, TTL: 300}))
	}
	n := 0
	server.Before(func(operation string) { // somebody adds a record before each page
		if n++; operation == "list" {
			server.Put("example.org", cloudflare.Record{Name: fmt.Sprintf("new%d.example.org", n), Type: "TXT", Content: `"x"`, TTL: 300})
		}
	})
	zone := openCloudflare(t, server).Zone("example.org")
	_, err := (throughOurs{zone}).get(t.Context(), "n4.example.org")
	var typed *dnsprovider.Error
	if !errors.As(err, &typed) || !typed.Temporary() || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("%d records, and the answer is %v", len(ids), err)
	}
	server.Before(nil)
	if got, err := (throughOurs{zone}).get(t.Context(), "n4.example.org"); err != nil || len(got) != 1 {
		t.Errorf("when it stands still: %q %v", got, err)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	server := cloudflare.New(cloudflareToken, "example.org")
	server.RetryAfter(1000 * time.Hour)
	server.BreakNext("", webapi.Throttle)
	_, err := (throughOurs{openCloudflare(t, server).Zone("example.org")}).get(t.Context(), "a.example.org")
	var typed *dnsprovider.Error
	if !errors.As(err, &typed) || typed.RetryAfter != time.Hour {
		t.Errorf("%v %v", err, typed.RetryAfter)
	}
}
