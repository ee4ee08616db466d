// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package resolver_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/resolver"
)

func TestLookupTXTWalksFromTheRoot(t *testing.T) {
	long := strings.Repeat("k", 200)
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{Sites: []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3"}, Records: `sel._domainkey IN TXT "` + long + `" "` + long + `"
alias IN CNAME there.example.net.
loop IN CNAME loop`},
		{Zone: "example.net", Addrs: []string{"127.0.0.4"}, Records: `there IN TXT "found"`},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	r := resolver.Resolver{Roots: world.Roots(), Port: world.Port()}

	for name, want := range map[string][]string{
		"sel._domainkey.example.org": {long + long},
		"alias.example.org":          {"found"},
		"THERE.example.net.":         {"found"},
	} {
		got, err := r.LookupTXT(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	for name, notFound := range map[string]bool{"nothing.example.org": true, "example.org": true, "loop.example.org": false} {
		_, err := r.LookupTXT(t.Context(), name)
		var dnsError *net.DNSError
		if !errors.As(err, &dnsError) || dnsError.IsNotFound != notFound {
			t.Errorf("%s: %v, want a *net.DNSError with IsNotFound %t", name, err, notFound)
		}
	}
}
