// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/maildomain-operator/maildomain-operator/internal/dnslookup"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
)

const operations = "../../docs/milter-operations.md"

// TestTheDocumentationListsEveryFlagAndMetric: UPDATE_DOCS=1 writes the two tables.
func TestTheDocumentationListsEveryFlagAndMetric(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	want := section(t, section(t, string(text), "flags", flagTable()), "metrics", metricTable())
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatalf("%s is not what the program says: UPDATE_DOCS=1 go test ./cmd/milter", operations)
	}
	if err := os.WriteFile(operations, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// section replaces what stands between the marks of a name.
func section(t *testing.T, text, name, table string) string {
	t.Helper()
	marks := regexp.MustCompile(`(?s)(<!-- ` + name + `: .*? -->\n).*?(<!-- end -->)`)
	if !marks.MatchString(text) {
		t.Fatalf("%s has no section for %s", operations, name)
	}
	return marks.ReplaceAllStringFunc(text, func(old string) string {
		parts := marks.FindStringSubmatch(old)
		return parts[1] + table + parts[2]
	})
}

func flagTable() string {
	var o options
	flags := pflag.NewFlagSet("milter", pflag.ContinueOnError)
	o.flags(flags)
	b := &strings.Builder{}
	b.WriteString("| setting | unless given | what it says |\n|---|---|---|\n")
	flags.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		standard := f.DefValue
		if standard != "" && standard != "[]" {
			standard = "`" + standard + "`"
		} else {
			standard = ""
		}
		fmt.Fprintf(b, "| `--%s` | %s | %s |\n", f.Name, standard, strings.ReplaceAll(f.Usage, "|", `\|`))
	})
	return b.String()
}

func metricTable() string {
	registry := &noting{Registry: prometheus.NewRegistry()}
	milter.NewMetrics(registry, milter.Policy{}, &milter.Live{}, time.Now)
	registerDNS(registry, &dnslookup.Resolver{}) // of a milter that verifies
	slices.Sort(registry.rows)
	return "| metric | labels | value |\n|---|---|---|\n" + strings.Join(registry.rows, "")
}

// noting writes down what is registered.
type noting struct {
	*prometheus.Registry

	rows []string
}

// description is how client_golang prints a Desc; it has no other way to read one.
var description = regexp.MustCompile(`^Desc\{fqName: "(.*?)", help: "(.*?)", .*variableLabels: \{(.*?)\}\}$`)

func (n *noting) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		descs := make(chan *prometheus.Desc, 10)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			m := description.FindStringSubmatch(d.String())
			if m == nil {
				panic("unknown form: " + d.String())
			}
			labels := ""
			if m[3] != "" {
				labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "`"
			}
			n.rows = append(n.rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, m[2]))
		}
	}
	n.Registry.MustRegister(all...)
}

// TestTheFileOfTheDocumentationIsOne: what stands there as /etc/milter.yaml starts a milter.
func TestTheFileOfTheDocumentationIsOne(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	file, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s shows no file", operations)
	}
	o, _, err := configured(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.settle(); err != nil {
		t.Error(err)
	}
}
