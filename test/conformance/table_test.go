// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

const tableFile = "../../docs/providers/conformance.md"

// columns of the table: those of `make test`, then those of `make test-integration`.
var columns = []string{
	"Cloudflare (fake)", "Route 53 (fake)", linodeColumn, azureColumn, googleColumn, "name server of the tests",
	"BIND", "Knot", "PowerDNS, RFC 2136", "PowerDNS, HTTP API",
}

// Providers by their libdns modules, which are experimental.
const (
	linodeColumn = "libdns: linode (fake)"
	azureColumn  = "libdns: azure (fake)"
	googleColumn = "libdns: googleclouddns (fake)"
)

const preamble = `# What every provider has passed

One suite (` + "`test/conformance`" + `) runs each of these through the operator's queue: a record is published, changed and
removed, or must not be written at all. After every step the provider's own copy of the zone is compared with what it was:
every foreign record is there, octet by octet, with its TTL; ours says exactly what was asked for; nothing else came or went.

The fakes keep the limits and the manners of the real API. The other servers are real, from Debian's packages.
"left" is a record that the operator leaves to a person, because the libdns module is [experimental](libdns.md): nothing is
written there. A test fails if this table is not what the suite finds.

`

// table is what the docs must say if every example passes everywhere.
func table() string {
	var b strings.Builder
	b.WriteString(preamble)
	fmt.Fprintf(&b, "| case | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, e := range append(slices.Clone(examples), rivals) {
		fmt.Fprintf(&b, "| %s |", e.name)
		for _, column := range columns {
			verdict := "✓"
			if strings.HasPrefix(column, "libdns: ") && e.left() {
				verdict = "left"
			}
			fmt.Fprintf(&b, " %s |", verdict)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// left tells whether an experimental provider leaves the example's record to a person.
func (e example) left() bool {
	first := e.steps(e.domain())[0]
	return first.want == dnsplan.InPlace && shared(first.wishes[0])
}

// report prints the subject's column: a provider that fails an example fails the test, so the table never claims more.
func report(t *testing.T, column string, passed map[string]bool) {
	t.Helper()
	for _, e := range append(slices.Clone(examples), rivals) {
		verdict := "passed"
		if !passed[e.name] {
			verdict = "FAILED"
		}
		t.Logf("%-32s %-26s %s", e.name, column, verdict)
	}
}

func TestTheTableInTheDocsIsCurrent(t *testing.T) {
	want := table()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(tableFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the suite has: run UPDATE=1 go test -run %s ./test/conformance", tableFile, t.Name())
	}
}
