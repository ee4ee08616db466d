// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

const providersFile = "../../docs/providers/README.md"

// providersPage is docs/providers/README.md as the registry has it.
func providersPage() string {
	var b strings.Builder
	b.WriteString(`# DNS providers

How to use one: [Cloudflare](cloudflare.md), [Route 53](route53.md), [RFC 2136](rfc2136.md), [PowerDNS](powerdns.md),
[others by libdns](libdns.md). What each has passed: [conformance.md](conformance.md). This page is made from the registry; a test fails if it is not current.

| field | provider | credentials | minimum TTL | limits kept | against a second writer | tested with |
|---|---|---|---|---|---|---|
`)
	for _, d := range dnsprovider.Descriptions() {
		if !d.BuiltIn {
			continue
		}
		ttl := "any"
		if d.MinimumTTL > 0 {
			ttl = fmt.Sprintf("%d s", d.MinimumTTL)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", d.Name, d.Title, d.Needs, ttl, d.Limits, d.Fence, d.Tested)
	}
	b.WriteString(modulesPage())
	b.WriteString(`
## Faults cured

Each was found in the provider's libdns module and is reproduced by a test that runs the unmodified module; the same
probe passes through our driver.
`)
	for _, d := range dnsprovider.Descriptions() {
		if len(d.Quirks) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n| quirk | what the module does | what we do |\n|---|---|---|\n", d.Title)
		for _, q := range d.Quirks {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", q.Name, q.Fault, q.Cure)
		}
	}
	return b.String()
}

// modulesPage are the libdns modules.
func modulesPage() string {
	var b, refused strings.Builder
	b.WriteString(`
## libdns modules

Reached by ` + "`libdns: {name, config, secretRef}`" + `: [how, and what is left to you](libdns.md). All are experimental.

| name | provider | version | fields | minimum TTL | its faults, and what becomes of them | module run against |
|---|---|---|---|---|---|---|
`)
	for _, m := range dnsprovider.ModuleDescriptions() {
		if m.Refused != "" {
			fmt.Fprintf(&refused, "| `%s` | %s | %s |\n", m.Name, m.Title, m.Refused)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %d s | %s | %s |\n", m.Name, m.Title, m.Version, m.Takes, m.MinimumTTL, m.Faults, m.Tested)
	}
	b.WriteString("\nThese compile, and are left out:\n\n| name | provider | because |\n|---|---|---|\n" + refused.String())
	return b.String()
}

func TestThePageOfProvidersIsCurrent(t *testing.T) {
	want := providersPage()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(providersFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(providersFile)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the registry has (%v): run UPDATE=1 go test -run %s ./internal/dnsprovider", providersFile, err, t.Name())
	}
}

func TestEveryProviderIsDescribed(t *testing.T) {
	for _, d := range dnsprovider.Descriptions() {
		if d.Title == "" || d.Needs == "" || d.Limits == "" || d.Fence == "" || d.Tested == "" {
			t.Errorf("%s: %+v", d.Name, d)
		}
	}
	for _, m := range dnsprovider.ModuleDescriptions() {
		if m.Title == "" || m.Version == "" || m.Refused == "" && (m.Faults == "" || m.MinimumTTL == 0) {
			t.Errorf("%s: %+v", m.Name, m)
		}
	}
}
