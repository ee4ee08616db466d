// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring holds what is promised to whoever watches the operator with Prometheus: every metric is documented,
// every alert asks for metrics that exist, fires when it should, and has a page that says what to do.
package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/controllers/metrics"
)

const (
	root     = "../.."
	rules    = root + "/config/prometheus/rules.yaml"
	runbooks = "docs/runbooks"
	website  = "https://github.com/maildomain-operator/maildomain-operator/blob/main/"
)

// rule is one alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// alerts are those of the PrometheusRule.
func alerts(t *testing.T) []rule {
	t.Helper()
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, rules), &object); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range object.Spec.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("no alert in %s", rules)
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryAlertHasAPageAndEveryPageAnAlert(t *testing.T) {
	overview := string(read(t, filepath.Join(root, "docs/metrics.md")))
	var want []string
	for _, a := range alerts(t) {
		page := runbooks + "/" + a.Alert + ".md"
		want = append(want, a.Alert+".md")
		if a.Annotations["runbook_url"] != website+page {
			t.Errorf("%s: runbook_url is %s, want %s", a.Alert, a.Annotations["runbook_url"], website+page)
		}
		if text := string(read(t, filepath.Join(root, page))); !strings.HasPrefix(text, "# "+a.Alert+"\n") {
			t.Errorf("%s does not begin with the alert's name", page)
		}
		if row := "| [" + a.Alert + "](runbooks/" + a.Alert + ".md) | " + a.Labels["severity"] + " |"; !strings.Contains(overview, row) {
			t.Errorf("docs/metrics.md lacks a row %s", row)
		}
		for _, annotation := range []string{"summary", "description"} {
			if !strings.Contains(a.Annotations[annotation], "$labels.domain") && annotation == "summary" || a.Annotations[annotation] == "" {
				t.Errorf("%s: its %s does not name the domain: %q", a.Alert, annotation, a.Annotations[annotation])
			}
		}
	}
	var got []string
	entries, err := os.ReadDir(filepath.Join(root, runbooks))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-) and pages (+) differ:\n%s", diff)
	}
}

// exported are the names of the operator's own metrics, sorted.
func exported() []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		(&metrics.Collector{}).Describe(descriptions)
	}()
	var names []string
	for d := range descriptions {
		names = append(names, regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1])
	}
	slices.Sort(names)
	return names
}

func TestAlertsAskForMetricsThatExist(t *testing.T) {
	for _, a := range alerts(t) {
		asked := regexp.MustCompile(`maildomain_[a-z_]+`).FindAllString(a.Expr, -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for no metric of ours", a.Alert)
		}
		for _, name := range asked {
			if !slices.Contains(exported(), name) {
				t.Errorf("%s asks for %s, which nobody exports", a.Alert, name)
			}
		}
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(maildomain_[a-z_]+)` \\|").FindAllSubmatch(read(t, filepath.Join(root, "docs/metrics.md")), -1) {
		documented = append(documented, string(row[1]))
	}
	slices.Sort(documented)
	if diff := cmp.Diff(exported(), documented); diff != "" {
		t.Errorf("exported (-) and documented in docs/metrics.md (+):\n%s", diff)
	}
}
