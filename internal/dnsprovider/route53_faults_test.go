// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	theirroute53 "github.com/libdns/route53"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

const accessKeyID = "AKIAIOSFODNN7EXAMPLE"

func openRoute53(tb testing.TB, transport http.RoundTripper) dnsprovider.Driver {
	tb.Helper()
	return openRoute53Account(tb, transport).Driver
}

func openRoute53Account(tb testing.TB, transport http.RoundTripper) *dnsprovider.Account {
	tb.Helper()
	spec := v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{
		AccessKeyID: accessKeyID, SecretAccessKeySecretRef: &v1alpha1.SecretKeyRef{Name: "aws", Key: "secret"},
	}}
	account, err := dnsprovider.Open(tb.Context(), spec, dnsprovider.OpenOptions{
		Secrets: secretsAre(map[string]string{"secret": "a-secret-access-key"}), Transport: transport, Now: now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return account
}

// route53Scene is how the account is before each probe.
func route53Scene(quirk string) *route53.Server {
	s := route53.New(accessKeyID)
	if quirk == "route53-private-zone-first" {
		s.AddZone("private:example.org")
	}
	s.AddZone("example.org")
	values := []string{`"google-site-verification=1"`}
	switch quirk {
	case "route53-quotes-lost-on-change":
		values = []string{`"\"in quotation marks\""`}
	case "route53-append-twice", "route53-clobbers-others":
		values = append(values, `"v=spf1 -all"`)
	}
	s.Put("example.org", route53.Set{Name: "example.org", Type: "TXT", TTL: 3600, Values: values})
	return s
}

// A probe that counts needs the server as well.
type route53Editor struct {
	editor
	server *route53.Server
}

func theirRoute53(t *testing.T, quirk string) editor {
	t.Helper()
	s := route53Scene(quirk)
	url, stop := s.Listen()
	t.Cleanup(stop)
	t.Setenv("AWS_ENDPOINT_URL_ROUTE_53", url)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	p := &theirroute53.Provider{Region: "us-east-1", AccessKeyId: accessKeyID, SecretAccessKey: "a-secret-access-key", MaxRetries: 1}
	zone := "example.org."
	if quirk == "route53-zone-needs-dot" {
		zone = "example.org"
		return route53Editor{undotted{throughLibdns{p, "example.org."}, p, zone}, s}
	}
	return route53Editor{throughLibdns{p, zone}, s}
}

// undotted names the zone without its last dot, as people do.
type undotted struct {
	throughLibdns
	p    *theirroute53.Provider
	zone string
}

func (u undotted) get(ctx context.Context, _ dnsrecord.Name) ([]string, error) {
	_, err := u.p.GetRecords(ctx, u.zone)
	return nil, err
}

func ourRoute53(t *testing.T, quirk string) editor {
	t.Helper()
	s := route53Scene(quirk)
	return route53Editor{throughOurs{openRoute53(t, s).Zone("example.org")}, s}
}

var route53Faults = []fault{
	{"route53-quotes-lost", roundTrip(`"q"`)},
	{"route53-trailing-quote", roundTrip(`ends in "`)},
	{"route53-quotes-lost-on-change", func(t *testing.T, e editor) string {
		t.Helper()
		if err := e.add(t.Context(), "example.org", "v=spf1 -all"); err != nil {
			return err.Error()
		}
		for _, set := range e.(route53Editor).server.Sets("example.org") {
			if set.Type == "TXT" && !slices.Contains(set.Values, `"\"in quotation marks\""`) {
				return fmt.Sprintf("the foreign record stands as %q now", set.Values)
			}
		}
		return ""
	}},
	{"route53-spf-over-foreign", func(t *testing.T, e editor) string {
		t.Helper()
		if l, ok := e.(route53Editor).editor.(throughLibdns); ok {
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
	{"route53-append-twice", func(t *testing.T, e editor) string {
		t.Helper()
		if err := e.add(t.Context(), "example.org", "v=spf1 -all"); err != nil {
			return "a value that stands already: " + err.Error()
		}
		return ""
	}},
	{"route53-clobbers-others", func(t *testing.T, e editor) string {
		t.Helper()
		// Somebody adds a record between the reading and the change.
		server := e.(route53Editor).server
		once := sync.OnceFunc(func() {
			server.Put("example.org", route53.Set{Name: "example.org", Type: "TXT", TTL: 3600, Values: []string{`"google-site-verification=1"`, `"v=spf1 -all"`, `"somebody was faster"`}})
		})
		server.Before(func(operation string) {
			if operation == "change" {
				once()
			}
		})
		_ = e.remove(t.Context(), "example.org", "v=spf1 -all")
		if got, err := e.get(t.Context(), "example.org"); err != nil || !slices.Contains(got, "somebody was faster") {
			return fmt.Sprintf("a record that was added meanwhile is gone: %q %v", got, err)
		}
		return ""
	}},
	{"route53-ttl-of-others", func(t *testing.T, e editor) string {
		t.Helper()
		if l, ok := e.(route53Editor).editor.(throughLibdns); ok { // as read: a record and its TTL, 0 where it is not known
			if _, err := l.module.AppendRecords(t.Context(), l.zone, []libdns.Record{libdns.TXT{Name: "new", Text: "x"}}); err != nil {
				return err.Error()
			}
		} else if err := e.add(t.Context(), "new.example.org", "x"); err != nil {
			return err.Error()
		}
		for _, set := range e.(route53Editor).server.Sets("example.org") {
			if set.Name == "new.example.org." && set.TTL == 0 {
				return "no TTL is sent as 0: no resolver would keep the record"
			}
		}
		return ""
	}},
	{"route53-absent-delete-writes", func(t *testing.T, e editor) string {
		t.Helper()
		_ = e.remove(t.Context(), "example.org", "not there")
		if n := e.(route53Editor).server.Calls()["change"]; n > 0 {
			return fmt.Sprintf("%d change batches to delete what is not there", n)
		}
		return ""
	}},
	{"route53-zone-needs-dot", func(t *testing.T, e editor) string {
		t.Helper()
		if _, err := e.get(t.Context(), "example.org"); err != nil {
			return err.Error()
		}
		return ""
	}},
	{"route53-private-zone-first", func(t *testing.T, e editor) string {
		t.Helper()
		if got, err := e.get(t.Context(), "example.org"); err != nil || !slices.Contains(got, "google-site-verification=1") {
			return fmt.Sprintf("reads the private zone of that name: %q %v", got, err)
		}
		return ""
	}},
	{"route53-one-call-a-record", func(t *testing.T, e editor) string {
		t.Helper()
		server := e.(route53Editor).server
		const n = 60
		if l, ok := e.(route53Editor).editor.(throughLibdns); ok {
			var records []libdns.Record
			for i := range n {
				records = append(records, libdns.TXT{Name: fmt.Sprintf("s%d._domainkey", i), Text: dkim2048, TTL: time.Minute})
			}
			if _, err := l.module.AppendRecords(t.Context(), l.zone, records); err != nil {
				return err.Error()
			}
		} else {
			var changes []dnsplan.Change
			for i := range n {
				name := dnsrecord.Name(fmt.Sprintf("s%d._domainkey.example.org", i))
				changes = append(changes, dnsplan.Change{Name: name, Type: dnsrecord.TXT, TTL: 60, Add: []string{dkim2048}})
			}
			if err := errors.Join(e.(route53Editor).editor.(throughOurs).zone.Apply(t.Context(), changes)...); err != nil {
				return err.Error()
			}
		}
		if calls := server.Calls(); calls[""] > 5 {
			return fmt.Sprintf("%d calls for %d records: %v", calls[""], n, calls)
		}
		return ""
	}},
}

func TestFaultsOfLibdnsRoute53AreCured(t *testing.T) {
	reproduce(t, "route53", route53Faults, theirRoute53, ourRoute53, "route53-ends-the-process", "route53-first-calls-race")
}

// A profile that is not there ends the process with log.Fatal, so the module runs in one of its own.
func TestLibdnsRoute53EndsTheProcess(t *testing.T) {
	if os.Getenv("END_ME") != "" {
		p := &theirroute53.Provider{Region: "us-east-1", Profile: "there-is-none"}
		_, err := p.GetRecords(t.Context(), "example.org.")
		t.Log("still here:", err)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLibdnsRoute53EndsTheProcess$", "-test.v")
	child.Env = append(os.Environ(), "END_ME=1", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	out, err := child.CombinedOutput()
	if err == nil || strings.Contains(string(out), "still here") || !strings.Contains(string(out), "unable to load AWS SDK config") {
		t.Errorf("libdns/route53 shows no fault: %v\n%s", err, out)
	}
	// Ours says what is wrong.
	t.Setenv("AWS_PROFILE", "there-is-none")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	_, err = dnsprovider.Open(t.Context(), v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{}}, dnsprovider.OpenOptions{AmbientIdentity: true, Now: now})
	var typed *dnsprovider.Error
	if !errors.As(err, &typed) || typed.Reason != dnsprovider.Invalid {
		t.Errorf("our driver: %v", err)
	}
}
