// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const values = `# About this file.

# Names it.
# @schema {maxLength: 3}
name: ""
replicas: 2 # How many.
# Said once.
log:
  # How much.
  # @schema {enum: [info, debug]}
  level: info
  share: 0.5 # Of all | or none.
# Yours.
# @schema {additionalProperties: {type: string}}
labels: {a: "1"}
on: {}  # Anything.
list: [{a: 1}] # Some.
`

func chart(t *testing.T, values, readme string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"values.yaml": values, "README.md": readme} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSchemaAndTableComeFromTheComments(t *testing.T) {
	dir := chart(t, values, "before\n"+begin+"old\n"+end+"after\n")
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if diff := cmp.Diff("before\n"+begin+
		"| value | default | what it is |\n|---|---|---|\n"+
		"| `name` | `\"\"` | Names it. |\n"+
		"| `replicas` | `2` | How many. |\n"+
		"| `log.level` | `info` | Said once. How much. |\n"+
		"| `log.share` | `0.5` | Of all \\| or none. |\n"+
		"| `labels` | `{a: \"1\"}` | Yours. |\n"+
		"| `on` | `{}` | Anything. |\n"+
		"| `list` | `[{a: 1}]` | Some. |\n"+
		end+"after\n", read("README.md")); diff != "" {
		t.Error("README.md, want (-), got (+):\n" + diff)
	}

	var got map[string]any
	if err := json.Unmarshal([]byte(read("values.schema.json")), &got); err != nil {
		t.Fatal(err)
	}
	if got["additionalProperties"] != false {
		t.Error("a misspelt value is taken")
	}
	properties := got["properties"].(map[string]any)
	delete(properties, "global")
	want := map[string]any{
		"name":     map[string]any{"type": "string", "description": "Names it.", "maxLength": 3.0},
		"replicas": map[string]any{"type": "integer", "description": "How many."},
		"log": map[string]any{"type": "object", "description": "Said once.", "additionalProperties": false, "properties": map[string]any{
			"level": map[string]any{"description": "How much.", "enum": []any{"info", "debug"}},
			"share": map[string]any{"type": "number", "description": "Of all | or none."},
		}},
		"labels": map[string]any{"type": "object", "description": "Yours.", "additionalProperties": map[string]any{"type": "string"}},
		"on":     map[string]any{"type": "object", "description": "Anything."},
		"list":   map[string]any{"type": "array", "description": "Some."},
	}
	if diff := cmp.Diff(want, properties); diff != "" {
		t.Error("values.schema.json, want (-), got (+):\n" + diff)
	}
}

func TestWhatCannotBeExplainedIsNamed(t *testing.T) {
	page := begin + end
	for name, c := range map[string]struct{ values, readme, want string }{
		"a value without a comment":  {"log:\n  level: info\n", page, "log.level has no comment"},
		"keywords that are no YAML":  {"# How.\n# @schema {\nlevel: info\n", page, "level: @schema"},
		"values that are no mapping": {"[]\n", page, "not a mapping"},
		"values that are no YAML":    {"a: b: c\n", page, "values.yaml"},
		"a page without marks":       {"a: b # Why.\n", begin, "README.md: it has no lines"},
	} {
		if err := write(chart(t, c.values, c.readme)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
