// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// promtool runs it in a folder that has the alerts as rules.yaml, and the tests beside them.
func promtool(t *testing.T, change func(rules string) string, args ...string) (string, error) {
	t.Helper()
	program, err := process.Find("promtool", "prometheus")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec any `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, rules), &object); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{"rules.yaml": change(string(spec)), "rules_test.yaml": string(read(t, "testdata/rules_test.yaml"))}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), program, args...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	return string(out), err
}

func asTheyAre(rules string) string { return rules }

func TestPrometheusTakesTheRules(t *testing.T) {
	if out, err := promtool(t, asTheyAre, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	if out, err := promtool(t, asTheyAre, "test", "rules", "rules_test.yaml"); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	// Each change makes an alert wrong in a way that the tests must see.
	for from, to := range map[string]string{
		"(maildomain_mail_held) == 1":           "(maildomain_mail_held) == 0",
		"(maildomain_dkim_key_record_verified)": "(maildomain_dkim_key_record_verified) * 0",
		`{phase="Signing"}`:                     `{phase=~"Signing|Publishing"}`,
		"> 3600":                                "> 1800",
		"> 200 * 24 * 3600":                     "> 190 * 24 * 3600",
		"for: 5m":                               "for: 15m",
	} {
		changed := func(rules string) string {
			if !strings.Contains(rules, from) {
				t.Errorf("%q is not in the rules any more", from)
			}
			return strings.ReplaceAll(rules, from, to)
		}
		if out, err := promtool(t, changed, "test", "rules", "rules_test.yaml"); err == nil {
			t.Errorf("with %q in place of %q every test passes:\n%s", to, from, out)
		}
	}
}

// Every expression of the dashboard becomes a recording rule, with Grafana's variables filled in, so that promtool reads it.
func TestPrometheusTakesTheQuestionsOfTheDashboard(t *testing.T) {
	filled := strings.NewReplacer("$__rate_interval", "5m", "$namespace", "team-a", "$domain", ".*")
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var records []record
	for _, p := range dashboard(t) {
		for i, target := range p.Targets {
			records = append(records, record{fmt.Sprintf("panel_%d_%d", p.ID, i), filled.Replace(target.Expr)})
		}
	}
	questions := func(records []record) func(string) string {
		return func(string) string {
			text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": records}}})
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	if out, err := promtool(t, questions(records), "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	records[0].Expr += " or"
	if out, err := promtool(t, questions(records), "check", "rules", "rules.yaml"); err == nil {
		t.Errorf("half an expression was taken: the check above proves nothing\n%s", out)
	}
}
