// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package dnsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libdns/libdns"
	theirpowerdns "github.com/libdns/powerdns"
	theirrfc2136 "github.com/libdns/rfc2136"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/knot"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/powerdns"
)

const (
	tsigSecret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE="
	realZone   = `$ORIGIN example.org.
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.53
@ TXT "google-site-verification=1"
quoted TXT "in \"quotation marks\"; gr\195\188n"
*.wild TXT "from the wildcard"
`
)

// servers counts those that were started: each has an address of its own.
var servers atomic.Uint32

func nextAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 55, byte(servers.Add(1))}), 5300)
}

// serverEditor edits the zone of a real server.
type serverEditor struct {
	editor
	addr netip.AddrPort
	// bulk adds n DKIM keys at once; elsewhere writes to a zone that the server does not have.
	bulk      func(ctx context.Context, n int) error
	elsewhere func(ctx context.Context) error
}

// raw is what the server holds at a name, a record a line, to the last octet.
func (e serverEditor) raw(t *testing.T, name dnsrecord.Name) []string {
	t.Helper()
	rrs, err := nameserver.Transfer(e.addr, "example.org")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, rr := range rrs {
		if rr.Header().Name == name.FQDN() {
			lines = append(lines, rr.String())
		}
	}
	slices.Sort(lines)
	return lines
}

func theirs(m module, addr netip.AddrPort) serverEditor {
	return serverEditor{
		throughLibdns{m, "example.org."},
		addr,
		func(ctx context.Context, n int) error {
			var records []libdns.Record
			for i := range n {
				records = append(records, libdns.TXT{Name: fmt.Sprintf("s%d._domainkey", i), Text: dkim2048, TTL: time.Minute})
			}
			_, err := m.AppendRecords(ctx, "example.org.", records)
			return err
		},
		func(ctx context.Context) error {
			_, err := m.AppendRecords(ctx, "example.net.", []libdns.Record{libdns.TXT{Name: "a", Text: "b"}})
			return err
		},
	}
}

func ours(t *testing.T, spec v1alpha1.DNSProviderSpec, secret string, addr netip.AddrPort) serverEditor {
	t.Helper()
	account, err := dnsprovider.Open(t.Context(), spec, dnsprovider.OpenOptions{
		Secrets: secretsAre(map[string]string{"secret": secret}), Now: time.Now, //nolint:forbidigo // TSIG compares with the server's own clock
	})
	if err != nil {
		t.Fatal(err)
	}
	zone := account.Driver.Zone("example.org")
	return serverEditor{
		throughOurs{zone},
		addr,
		func(ctx context.Context, n int) error {
			var changes []dnsplan.Change
			for i := range n {
				name := dnsrecord.Name(fmt.Sprintf("s%d._domainkey.example.org", i))
				changes = append(changes, dnsplan.Change{Name: name, Type: dnsrecord.TXT, TTL: 60, Add: []string{dkim2048}})
			}
			return errors.Join(zone.Apply(ctx, changes)...)
		},
		func(ctx context.Context) error {
			return throughOurs{account.Driver.Zone("example.net")}.add(ctx, "a.example.net", "b")
		},
	}
}

var secretRef = v1alpha1.SecretKeyRef{Name: "credentials", Key: "secret"}

func startKnot(t *testing.T) netip.AddrPort {
	t.Helper()
	server, err := knot.Start(t.Context(), t.TempDir(), nextAddr(), "example.org", realZone, "operator", tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server.Stop) })
	return server.Addr
}

func startPowerDNS(t *testing.T) *powerdns.Server {
	t.Helper()
	server, err := powerdns.Start(t.Context(), t.TempDir(), nextAddr(), "example.org", realZone, "operator", tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server.Stop) })
	return server
}

func stop(t *testing.T, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Error(err)
	}
}

func readsExactly(name dnsrecord.Name, want string) func(*testing.T, editor) string {
	return func(t *testing.T, e editor) string {
		t.Helper()
		if got, err := e.get(t.Context(), name); err != nil || !slices.Equal(got, []string{want}) {
			return fmt.Sprintf("reads %q %v, and %q stands there", got, err, want)
		}
		return ""
	}
}

// changesBeside adds a record beside a foreign one and changes it.
func changesBeside(name dnsrecord.Name) func(*testing.T, editor) string {
	return func(t *testing.T, e editor) string {
		t.Helper()
		foreign := e.(serverEditor).raw(t, name)
		if err := e.add(t.Context(), name, "v=spf1 -all"); err != nil {
			return err.Error()
		}
		if err := e.replace(t.Context(), name, "v=spf1 -all", "v=spf1 mx -all"); err != nil {
			return err.Error()
		}
		if got := e.(serverEditor).raw(t, name); len(got) != 2 || !slices.Contains(got, foreign[0]) {
			return fmt.Sprintf("%q is %q now", foreign, got)
		}
		return ""
	}
}

func deletesWhatIsAbsent(t *testing.T, e editor) string {
	t.Helper()
	if err := e.remove(t.Context(), "nothing.example.org", "not there"); err == nil {
		return "says that it deleted a record that was not there"
	}
	return ""
}

func TestFaultsOfLibdnsRFC2136AreCured(t *testing.T) {
	faults := []fault{
		{"rfc2136-escaped-text", readsExactly("quoted.example.org", `in "quotation marks"; grün`)},
		{"rfc2136-foreign-changed", changesBeside("quoted.example.org")},
		{"rfc2136-cut-by-character", roundTrip(strings.Repeat("ü", 200))},
		{"rfc2136-absent-deleted", deletesWhatIsAbsent},
		{"rfc2136-message-too-large", func(t *testing.T, e editor) string {
			t.Helper()
			if err := e.(serverEditor).bulk(t.Context(), 300); err != nil {
				return "300 DKIM keys: " + err.Error()
			}
			return ""
		}},
		{"rfc2136-wrong-zone", func(t *testing.T, e editor) string {
			t.Helper()
			err := e.(serverEditor).elsewhere(t.Context())
			var typed *dnsprovider.Error
			if !errors.As(err, &typed) || typed.Reason != dnsprovider.ZoneNotFound {
				return fmt.Sprintf("of a zone that is not there it says: %v", err)
			}
			return ""
		}},
	}
	reproduce(t, "rfc2136", faults, func(t *testing.T, _ string) editor {
		t.Helper()
		addr := startKnot(t)
		return theirs(&theirrfc2136.Provider{Server: addr.String(), KeyName: "operator", KeyAlg: "hmac-sha256", Key: tsigSecret}, addr)
	}, func(t *testing.T, _ string) editor {
		t.Helper()
		addr := startKnot(t)
		spec := v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{Server: addr.String(), TSIG: &v1alpha1.TSIG{KeyName: "operator", SecretRef: secretRef}}}
		return ours(t, spec, tsigSecret, addr)
	}, "rfc2136-transfer-ignores-context")
}

func TestFaultsOfLibdnsPowerDNSAreCured(t *testing.T) {
	faults := []fault{
		{"powerdns-quotes-kept", readsExactly("example.org", "google-site-verification=1")},
		{"powerdns-escaped-text", readsExactly("quoted.example.org", `in "quotation marks"; grün`)},
		{"powerdns-absent-deleted", deletesWhatIsAbsent},
		{"powerdns-empty-delete", func(t *testing.T, e editor) string {
			t.Helper()
			// Without a value, Delete means all values: so says libdns.
			err := e.remove(t.Context(), "*.wild.example.org", "")
			if err == nil && len(e.(serverEditor).raw(t, "*.wild.example.org")) > 0 {
				return "says that it deleted, and the record stands"
			}
			return ""
		}},
	}
	reproduce(t, "powerdns", faults, func(t *testing.T, _ string) editor {
		t.Helper()
		server := startPowerDNS(t)
		return theirs(&theirpowerdns.Provider{ServerURL: server.URL, APIToken: server.APIKey}, server.Addr)
	}, func(t *testing.T, _ string) editor {
		t.Helper()
		server := startPowerDNS(t)
		return ours(t, powerDNSSpec(server), server.APIKey, server.Addr)
	}, "powerdns-append-races")
}

func powerDNSSpec(server *powerdns.Server) v1alpha1.DNSProviderSpec {
	return v1alpha1.DNSProviderSpec{PowerDNS: &v1alpha1.PowerDNS{URL: server.URL, APIKeySecretRef: secretRef}}
}

// The API knows whole record sets alone, so two writers at one name overwrite each other. Ours are one: the queue has one
// worker for each zone of an account, whatever number of objects write.
func TestAppendsOfLibdnsPowerDNSRaceAndOursDoNot(t *testing.T) {
	const writers = 20
	server := startPowerDNS(t)
	p := &theirpowerdns.Provider{ServerURL: server.URL, APIToken: server.APIKey}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, _ = p.AppendRecords(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: "race", Text: fmt.Sprint("writer ", i), TTL: time.Minute}})
		})
	}
	wg.Wait()
	kept := len(theirs(p, server.Addr).raw(t, "race.example.org"))
	t.Logf("libdns/powerdns kept %d of %d", kept, writers)
	if kept == writers {
		t.Error("the unmodified libdns module shows no fault: is it cured there?")
	}

	account, err := dnsprovider.Open(t.Context(), powerDNSSpec(server), dnsprovider.OpenOptions{
		Secrets: secretsAre(map[string]string{"secret": server.APIKey}), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	accounts := dnsprovider.NewAccounts()
	key := dnsprovider.ProviderKey{Kind: "DNSProvider", Namespace: "mail", Name: "p"}
	accounts.Set(key, account)
	q := dnsprovider.NewQueue(dnsprovider.Options{OwnerID: "us", Accounts: accounts, Now: time.Now}) //nolint:forbidigo // it waits for real servers
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	defer func() { cancel(); <-done }()
	for i := range writers {
		wg.Go(func() {
			q.Submit(dnsprovider.Submission{
				Owner: dnsprovider.Owner{Kind: "DKIMKey", Namespace: "mail", Name: fmt.Sprint("key", i)}, Provider: key, Zone: "example.org", Domain: "example.org",
				Wishes: []dnsplan.Wish{{
					Name: dnsrecord.Name(fmt.Sprintf("s%d._domainkey.example.org", i)), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive,
					Value: dkim2048, TTL: 60, Adoption: dnsplan.Never,
				}},
			})
		})
	}
	wg.Wait()
	patience, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	for settled := 0; settled < writers; {
		select {
		case <-q.Wake():
		case <-patience.Done():
			t.Fatalf("%d of %d are in place", settled, writers)
		}
		settled = 0
		for i := range writers {
			if r, ok := q.Result(dnsprovider.Owner{Kind: "DKIMKey", Namespace: "mail", Name: fmt.Sprint("key", i)}); ok && r.Settled() {
				settled++
			}
		}
	}
	// One marker lists all of them: it is the one name that every writer changes.
	if marker := theirs(p, server.Addr).raw(t, "_maildomain.example.org"); len(marker) != 1 {
		t.Errorf("markers: %q", marker)
	}
}

func TestPowerDNSSaysWhatIsWrong(t *testing.T) {
	server := startPowerDNS(t)
	for name, c := range map[string]struct {
		key    string
		zones  []dnsrecord.Name
		reason dnsprovider.Reason
	}{
		"all is well":      {server.APIKey, []dnsrecord.Name{"example.org"}, ""},
		"the account only": {server.APIKey, nil, ""},
		"another API key":  {"wrong", []dnsrecord.Name{"example.org"}, dnsprovider.Unauthorized},
		"another zone":     {server.APIKey, []dnsrecord.Name{"example.net"}, dnsprovider.ZoneNotFound},
	} {
		account, err := dnsprovider.Open(t.Context(), powerDNSSpec(server), dnsprovider.OpenOptions{Secrets: secretsAre(map[string]string{"secret": c.key}), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		err = account.Driver.Check(t.Context(), c.zones)
		var typed *dnsprovider.Error
		if c.reason == "" && err != nil || c.reason != "" && (!errors.As(err, &typed) || typed.Reason != c.reason || strings.Contains(err.Error(), server.APIKey)) {
			t.Errorf("%s: %v", name, err)
		}
		if zones, err := account.Driver.Zones(t.Context()); c.reason == "" && (err != nil || !slices.Equal(zones, []dnsrecord.Name{"example.org"})) {
			t.Errorf("zones: %v %v", zones, err)
		}
	}
}

func TestPowerDNSKeepsEveryOctetAndEveryNeighbour(t *testing.T) {
	server := startPowerDNS(t)
	e := ours(t, powerDNSSpec(server), server.APIKey, server.Addr)
	foreign := e.raw(t, "quoted.example.org")
	for _, value := range []string{`"`, `\`, `\101 " "`, "ü\x00\xff", ";", strings.Repeat("é", 300)} {
		if harm := roundTripAt(t, e, "quoted.example.org", value); harm != "" {
			t.Error(harm)
		}
		if got := e.raw(t, "quoted.example.org"); !slices.Equal(got, foreign) {
			t.Fatalf("%q is %q now", foreign, got)
		}
	}
}

// roundTripAt adds a value beside others, reads it and removes it.
func roundTripAt(t *testing.T, e editor, name dnsrecord.Name, value string) string {
	t.Helper()
	if err := e.add(t.Context(), name, value); err != nil {
		return err.Error()
	}
	if got, err := e.get(t.Context(), name); err != nil || !slices.Contains(got, value) {
		return fmt.Sprintf("wrote %q, read %q %v", value, got, err)
	}
	if err := e.remove(t.Context(), name, value); err != nil {
		return err.Error()
	}
	return ""
}
