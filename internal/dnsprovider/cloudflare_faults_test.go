// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	theircloudflare "github.com/libdns/cloudflare"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/test/env/cloudflare"
	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

const cloudflareToken = "a-token-of-cloudflare"

// dkim2048 is a record of 410 octets, the length of every RSA key of 2048 bits.
var dkim2048 = "v=DKIM1; k=rsa; p=" + strings.Repeat("MIIBIjANBgkqhkiG", 24) + "IDAQAB=="

var now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func secretsAre(values map[string]string) dnsprovider.SecretReader {
	return func(_ context.Context, ref v1alpha1.SecretKeyRef) ([]byte, error) {
		value, ok := values[ref.Key]
		if !ok {
			return nil, fmt.Errorf("no entry %s", ref.Key)
		}
		return []byte(value), nil
	}
}

func openCloudflare(tb testing.TB, transport http.RoundTripper) dnsprovider.Driver {
	tb.Helper()
	return openCloudflareAccount(tb, transport).Driver
}

func openCloudflareAccount(tb testing.TB, transport http.RoundTripper) *dnsprovider.Account {
	tb.Helper()
	spec := v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.Cloudflare{APITokenSecretRef: v1alpha1.SecretKeyRef{Name: "cf", Key: "token"}}}
	account, err := dnsprovider.Open(tb.Context(), spec, dnsprovider.OpenOptions{
		Secrets: secretsAre(map[string]string{"token": cloudflareToken}), Transport: transport, Now: now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return account
}

// cloudflareScene is how the account is before each probe.
func cloudflareScene(quirk string) *cloudflare.Server {
	s := cloudflare.New(cloudflareToken, "example.org")
	foreign := cloudflare.Record{Name: "example.org", Type: "TXT", Content: `"google-site-verification=1"`, TTL: 3600}
	switch quirk {
	case "cloudflare-spf-over-foreign":
		s.Put("example.org", foreign)
	case "cloudflare-two-at-one-name":
		s.Put("example.org", foreign)
		s.Put("example.org", cloudflare.Record{Name: "example.org", Type: "TXT", Content: `"v=spf1 -all"`, TTL: 3600})
	case "cloudflare-automatic-ttl":
		s.Put("example.org", cloudflare.Record{Name: "auto.example.org", Type: "TXT", Content: `"x"`, TTL: 1})
	case "cloudflare-no-result-info":
		s.NoResultInfo = true
		s.Put("example.org", foreign)
	case "cloudflare-foreign-srv":
		s.Put("example.org", foreign)
		s.Put("example.org", cloudflare.Record{Name: "srv.example.org", Type: "SRV", Content: "0 5060 sip.example.org", TTL: 300})
	case "cloudflare-zone-list-one-page":
		for i := range 44 {
			s.AddZone(fmt.Sprintf("z%02d.example", i))
		}
	}
	return s
}

// A probe that is about the account needs the server as well.
type cloudflareEditor struct {
	editor
	server *cloudflare.Server
	zones  func(context.Context) (int, error)
	ttl    func(ctx context.Context) (time.Duration, error)
}

func theirCloudflare(t *testing.T, quirk string) editor {
	t.Helper()
	s := cloudflareScene(quirk)
	p := &theircloudflare.Provider{APIToken: cloudflareToken, HTTPClient: s.API}
	return cloudflareEditor{
		throughLibdns{p, "example.org."},
		s,
		func(ctx context.Context) (int, error) { zones, err := p.ListZones(ctx); return len(zones), err },
		func(ctx context.Context) (time.Duration, error) {
			records, err := p.GetRecords(ctx, "example.org.")
			if err != nil {
				return 0, err
			}
			return records[0].RR().TTL, nil
		},
	}
}

func ourCloudflare(t *testing.T, quirk string) editor {
	t.Helper()
	s := cloudflareScene(quirk)
	d := openCloudflare(t, s)
	zone := d.Zone("example.org")
	return cloudflareEditor{
		throughOurs{zone},
		s,
		func(ctx context.Context) (int, error) { zones, err := d.Zones(ctx); return len(zones), err },
		func(ctx context.Context) (time.Duration, error) {
			set, err := throughOurs{zone}.read(ctx, "auto.example.org")
			return time.Duration(set.TTL) * time.Second, err
		},
	}
}

var cloudflareFaults = []fault{
	{"cloudflare-long-txt", roundTrip(dkim2048)},
	{"cloudflare-delete-long-txt", removal(dkim2048)},
	{"cloudflare-escaped-quote", roundTrip(`a"b`)},
	{"cloudflare-escaped-backslash", roundTrip(`a\b`)},
	{"cloudflare-quotes-lost", roundTrip(`"q"`)},
	{"cloudflare-lone-quote", roundTrip(`"begins`)},
	{"cloudflare-octets", roundTrip("caf\xc3\xa9 \x01 \xff")},
	{"cloudflare-spf-over-foreign", func(t *testing.T, e editor) string {
		t.Helper()
		// Set is the one call that has a record stand once; of what else stands at the name it knows nothing.
		if l, ok := e.(cloudflareEditor).editor.(throughLibdns); ok {
			if _, err := l.module.SetRecords(t.Context(), l.zone, records(l, "v=spf1 -all")); err != nil {
				return err.Error()
			}
		} else if err := e.add(t.Context(), "example.org", "v=spf1 -all"); err != nil {
			return err.Error()
		}
		if got, err := e.get(t.Context(), "example.org"); err != nil || !slices.Contains(got, "google-site-verification=1") {
			return fmt.Sprintf("the foreign record is gone: %q %v", got, err)
		}
		return ""
	}},
	{"cloudflare-two-at-one-name", func(t *testing.T, e editor) string {
		t.Helper()
		if err := e.replace(t.Context(), "example.org", "v=spf1 -all", "v=spf1 mx -all"); err != nil {
			return err.Error()
		}
		if got, err := e.get(t.Context(), "example.org"); err != nil || !slices.Equal(got, []string{"google-site-verification=1", "v=spf1 mx -all"}) {
			return fmt.Sprintf("stands there: %q %v", got, err)
		}
		return ""
	}},
	{"cloudflare-delete-swallows-429", func(t *testing.T, e editor) string {
		t.Helper()
		if err := e.add(t.Context(), "gone.example.org", "x"); err != nil {
			return err.Error()
		}
		server := e.(cloudflareEditor).server
		server.Break(func(op string, _ int) webapi.Fault {
			if op == "list" {
				return webapi.Throttle
			}
			return webapi.None
		})
		err := e.remove(t.Context(), "gone.example.org", "x")
		if err == nil || errors.Is(err, errNothingDeleted) {
			return fmt.Sprintf("throttled, and Delete says: %v", err)
		}
		return ""
	}},
	{"cloudflare-no-result-info", func(t *testing.T, e editor) string {
		t.Helper()
		if _, err := e.get(t.Context(), "example.org"); err != nil && strings.Contains(err.Error(), "panic") {
			return err.Error()
		}
		return ""
	}},
	{"cloudflare-zone-list-one-page", func(t *testing.T, e editor) string {
		t.Helper()
		if n, err := e.(cloudflareEditor).zones(t.Context()); n != 45 || err != nil {
			return fmt.Sprintf("%d of 45 zones, %v", n, err)
		}
		return ""
	}},
	{"cloudflare-zone-id-kept", func(t *testing.T, e editor) string {
		t.Helper()
		if _, err := e.get(t.Context(), "example.org"); err != nil {
			return err.Error()
		}
		server := e.(cloudflareEditor).server
		server.RemoveZone("example.org")
		server.AddZone("example.org")
		_, first := e.get(t.Context(), "example.org")
		if _, err := e.get(t.Context(), "example.org"); err != nil {
			return fmt.Sprintf("the zone was made anew, and the old id is used for ever: %v, %v", first, err)
		}
		return ""
	}},
	{"cloudflare-lock-over-io", func(t *testing.T, e editor) string {
		t.Helper()
		server := e.(cloudflareEditor).server
		server.BreakNext("zones", webapi.Hang)
		slow, cancel := context.WithCancel(t.Context())
		defer cancel()
		started := make(chan struct{})
		go func() { close(started); _, _ = e.get(slow, "example.org") }()
		<-started
		for server.Calls()["zones"] == 0 {
			time.Sleep(time.Millisecond) //nolint:forbidigo // until the first caller is in its call; no bound is asserted
		}
		impatient, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		answered := make(chan error, 1)
		go func() { _, err := e.get(impatient, "example.org"); answered <- err }()
		select {
		case err := <-answered:
			if err != nil {
				return fmt.Sprintf("a second caller gets: %v", err)
			}
			return ""
		case <-impatient.Done():
			return "a second caller waits for the first one's answer, longer than its own context"
		}
	}},
	{"cloudflare-no-timeout", func(t *testing.T, e editor) (harm string) {
		t.Helper()
		e.(cloudflareEditor).server.Break(func(string, int) webapi.Fault { return webapi.Hang })
		synctest.Test(t, func(*testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			answered := make(chan struct{})
			go func() { defer close(answered); _, _ = e.get(ctx, "example.org") }()
			pass(24 * time.Hour)
			select {
			case <-answered:
			default:
				harm = "a request that is not answered waits for ever"
			}
			cancel()
			<-answered
		})
		return harm
	}},
	{"cloudflare-throttling-untyped", func(t *testing.T, e editor) string {
		t.Helper()
		server := e.(cloudflareEditor).server
		server.RetryAfter(7 * time.Second)
		server.BreakNext("zones", webapi.Throttle)
		_, err := e.get(t.Context(), "example.org")
		var typed *dnsprovider.Error
		if !errors.As(err, &typed) || typed.Reason != dnsprovider.Throttled || typed.RetryAfter != 7*time.Second {
			return fmt.Sprintf("429 with Retry-After is but a text: %v", err)
		}
		return ""
	}},
	{"cloudflare-automatic-ttl", func(t *testing.T, e editor) string {
		t.Helper()
		if ttl, err := e.(cloudflareEditor).ttl(t.Context()); ttl != 300*time.Second || err != nil {
			return fmt.Sprintf("the TTL reads as %v %v", ttl, err)
		}
		return ""
	}},
	{"cloudflare-foreign-srv", func(t *testing.T, e editor) string {
		t.Helper()
		if got, err := e.get(t.Context(), "example.org"); err != nil || len(got) != 1 {
			return fmt.Sprintf("%q %v", got, err)
		}
		return ""
	}},
}

func TestFaultsOfLibdnsCloudflareAreCured(t *testing.T) {
	reproduce(t, "cloudflare", cloudflareFaults, theirCloudflare, ourCloudflare)
}
