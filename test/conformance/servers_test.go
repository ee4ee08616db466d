// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package conformance

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/knot"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/netns"
	"github.com/maildomain-operator/maildomain-operator/test/env/powerdns"
)

// The real servers have a network of their own, where port 53 is free.
func TestMain(m *testing.M) {
	os.Exit(netns.Main(func() int { return intercepted(m) }, bind.Resolver, bind.Addresses()...))
}

var (
	knotAddr     = netip.MustParseAddrPort("127.0.54.1:5300")
	powerDNSAddr = netip.MustParseAddrPort("127.0.54.2:5300")
)

// wholeZone is a zone file of its own.
func wholeZone() string {
	head := []string{
		"$ORIGIN " + string(zone) + ".", "$TTL 300",
		"@ IN SOA ns1 hostmaster 1 3600 600 86400 60", "@ IN NS ns1", "ns1 IN A 192.0.2.53",
	}
	return strings.Join(append(head, zoneFile()...), "\n") + "\n"
}

// transferred reads the zone as the server itself has it.
func transferred(addr netip.AddrPort) func(t *testing.T) []record {
	return func(t *testing.T) []record {
		t.Helper()
		rrs, err := nameserver.Transfer(addr, string(zone))
		if err != nil {
			t.Fatal(err)
		}
		var all []record
		for _, rr := range rrs {
			all = append(all, fromRR(rr))
		}
		return all
	}
}

func TestBIND(t *testing.T) {
	world, err := bind.Start(t.Context(), t.TempDir(), []bind.Zone{{Name: string(zone), Records: zoneFile()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, world.Stop()) })
	addr := netip.AddrPortFrom(bind.Primary, 53)
	spec := updates(addr)
	spec.RFC2136.TSIG.KeyName = bind.OperatorKey
	conform(t, subject{column: "BIND", secret: world.Secret, spec: spec, dump: transferred(addr)})
}

func TestKnot(t *testing.T) {
	server, err := knot.Start(t.Context(), t.TempDir(), knotAddr, string(zone), wholeZone(), "operator", tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, server.Stop()) })
	conform(t, subject{column: "Knot", secret: tsigSecret, spec: updates(server.Addr), dump: transferred(server.Addr)})
}

func startPowerDNS(t *testing.T) *powerdns.Server {
	t.Helper()
	server, err := powerdns.Start(t.Context(), t.TempDir(), powerDNSAddr, string(zone), wholeZone(), "operator", tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, server.Stop()) })
	return server
}

func TestPowerDNSByUpdates(t *testing.T) {
	server := startPowerDNS(t)
	conform(t, subject{column: "PowerDNS, RFC 2136", secret: tsigSecret, spec: updates(server.Addr), dump: transferred(server.Addr)})
}

func TestPowerDNSByItsAPI(t *testing.T) {
	server := startPowerDNS(t)
	spec := v1alpha1.DNSProviderSpec{PowerDNS: &v1alpha1.PowerDNS{URL: server.URL, APIKeySecretRef: ref}}
	conform(t, subject{column: "PowerDNS, HTTP API", secret: server.APIKey, spec: spec, dump: transferred(server.Addr)})
}

func stopped(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
