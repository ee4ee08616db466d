// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestAuthorDomains(t *testing.T) {
	tests := []struct {
		name, from string
		want       []dnsrecord.Name
	}{
		{"an address alone", "alice@example.org", []dnsrecord.Name{"example.org"}},
		{"a display name", "Alice A. <alice@Example.ORG>", []dnsrecord.Name{"example.org"}},
		{"a quoted name with an address in it", `"bob@evil.example" <alice@example.org>`, []dnsrecord.Name{"example.org"}},
		{"an unquoted name with an address in it", `bob@evil.example <alice@example.org>`, []dnsrecord.Name{"example.org"}},
		{"a quoted local part", `"a@b,c\"<"@example.org`, []dnsrecord.Name{"example.org"}},
		{"comments that nest", `alice(x(y@evil.example)\))@(z)example.org (Alice)`, []dnsrecord.Name{"example.org"}},
		{"an encoded word", "=?utf-8?q?A=2C_B?= <alice@example.org>", []dnsrecord.Name{"example.org"}},
		{"folded", "Alice\r\n <alice@\r\n\texample.org>", []dnsrecord.Name{"example.org"}},
		{"two authors of one domain", "a@example.org, B <b@EXAMPLE.org>", []dnsrecord.Name{"example.org"}},
		{"two domains", "a@example.org, b@example.net", []dnsrecord.Name{"example.org", "example.net"}},
		{"two domains without a comma", "<a@example.org> <b@example.net>", []dnsrecord.Name{"example.org", "example.net"}},
		{"two domains, one inside of the other", "A <a@example.org<b@example.net>", []dnsrecord.Name{"example.org", "example.net"}},
		{"brackets twice", "A <<a@example.org>>", []dnsrecord.Name{"example.org"}},
		{"a group", "Team: a@example.org, b@example.net;", []dnsrecord.Name{"example.org", "example.net"}},
		{"a source route", "<@relay.example,@two.example:alice@example.org>", []dnsrecord.Name{"example.org"}},
		{"U-labels become A-labels", "a@bücher.example", []dnsrecord.Name{"xn--bcher-kva.example"}},
		{"a dot at the end", "a@example.org.", []dnsrecord.Name{"example.org"}},
		{"nothing", "", nil},
		{"a name alone", "Alice", nil},
		{"no domain", "<alice>", nil},
		{"an empty path", "<>", nil},
		{"an empty group", "undisclosed:;", nil},
		{"a domain literal", "alice@[192.0.2.1]", nil},
		{"a host of one label", "root@localhost", nil},
		{"one good and one bad", "a@example.org, b", nil},
		{"a string without end", `"alice@example.org`, nil},
		{"a comment without end", `(alice@example.org`, nil},
		{"two at signs", `alice@evil.example@example.org`, []dnsrecord.Name{"example.org"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AuthorDomains(tt.from)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("domains (-want +got):\n%s", diff)
			}
			if (err != nil) != (tt.want == nil) || err != nil && !errors.Is(err, ErrNoAddress) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func FuzzAuthorDomains(f *testing.F) {
	for _, seed := range []string{
		"Alice <alice@example.org>", `"a\"@b" <a@example.org>, (x(y)) b@example.net`, "g: a@b.example;", "<@a.example:b@c.example>", "\"", "(", "<", "@", "a@b@c.d",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, from string) {
		domains, err := AuthorDomains(from)
		if (err == nil) != (len(domains) > 0) {
			t.Fatalf("%q: %v and %v", from, domains, err)
		}
		for _, d := range domains {
			if again, err := dnsrecord.ParseDomain(d.String()); err != nil || again != d {
				t.Fatalf("%q: %q is no domain in canonical form", from, d)
			}
		}
	})
}
