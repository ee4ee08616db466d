// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chartvalues writes what a chart says about its values from the one place where they are explained, the comments
// of values.yaml: values.schema.json, by which Helm refuses a misspelt or misshapen value, and the table in README.md.
//
//	chartvalues CHART
//
// The comment above a value, or behind it, is its description. The type is that of the default. A line "@schema" holds
// more, as a YAML mapping of JSON Schema keywords:
//
//	# How much is written to the log.
//	# @schema {enum: [debug, info, error]}
//	logLevel: info
//
// A mapping takes the members that it has and no others, unless additionalProperties says otherwise.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	if len(os.Args) != 2 {
		fail(errors.New("usage: chartvalues CHART"))
	}
	if err := write(os.Args[1]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "chartvalues:", err)
	os.Exit(1)
}

func write(folder string) error {
	chart, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer chart.Close()
	data, err := chart.ReadFile("values.yaml")
	if err != nil {
		return err
	}
	values, err := parse(data)
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	var schema bytes.Buffer
	enc := json.NewEncoder(&schema)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(document(values)); err != nil {
		return err
	}
	page, err := chart.ReadFile("README.md")
	if err != nil {
		return err
	}
	if page, err = between(page, table(values)); err != nil {
		return fmt.Errorf("README.md: %w", err)
	}
	return errors.Join(chart.WriteFile("values.schema.json", schema.Bytes(), 0o644), chart.WriteFile("README.md", page, 0o644))
}

// A value of the chart, with what its comment says.
type value struct {
	name     string
	text     string         // in one line
	keywords map[string]any // of JSON Schema, from the @schema line
	node     *yaml.Node     // the default
	children []value        // of a mapping whose members the chart names
}

// parse reads values.yaml. The error names the value.
func parse(data []byte) ([]value, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping")
	}
	return members(doc.Content[0], "")
}

func members(mapping *yaml.Node, path string) ([]value, error) {
	var out []value
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		v := value{name: key.Value, node: node}
		var err error
		if v.text, v.keywords, err = explain(key.HeadComment + "\n" + key.LineComment + "\n" + node.LineComment); err != nil {
			return nil, fmt.Errorf("%s%s: %w", path, v.name, err)
		}
		if _, free := v.keywords["additionalProperties"]; !free && node.Kind == yaml.MappingNode && len(node.Content) > 0 {
			if v.children, err = members(node, path+v.name+"."); err != nil {
				return nil, err
			}
		} else if v.text == "" {
			return nil, fmt.Errorf("%s%s has no comment that says what it is for", path, v.name)
		}
		out = append(out, v)
	}
	return out, nil
}

// explain parts a comment into the words for people and the keywords for Helm.
func explain(comment string) (text string, keywords map[string]any, err error) {
	var words []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		if schema, ok := strings.CutPrefix(line, "@schema "); ok {
			if err := yaml.Unmarshal([]byte(schema), &keywords); err != nil {
				return "", nil, fmt.Errorf("@schema: %w", err)
			}
			continue
		}
		words = append(words, line)
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " "), keywords, nil
}

// document is the JSON Schema of all values.
func document(values []value) map[string]any {
	out := closed(values)
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = "Written by make generate from values.yaml"
	out["properties"].(map[string]any)["global"] = map[string]any{
		"type": "object", "description": "Helm sets it for a chart that depends on this one.",
	}
	return out
}

// closed is an object that has these members and no others.
func closed(values []value) map[string]any {
	properties := map[string]any{}
	for _, v := range values {
		properties[v.name] = v.schema()
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func (v value) schema() map[string]any {
	out := map[string]any{"type": kinds[v.node.ShortTag()]}
	if len(v.children) > 0 {
		out = closed(v.children)
	}
	if v.text != "" {
		out["description"] = v.text
	}
	maps.Copy(out, v.keywords)
	if _, enumerated := v.keywords["enum"]; enumerated {
		delete(out, "type")
	}
	return out
}

var kinds = map[string]string{
	"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean", "!!seq": "array", "!!map": "object",
}

// table is the part of README.md that lists the values, in the order of values.yaml.
func table(values []value) string {
	var b strings.Builder
	b.WriteString("| value | default | what it is |\n|---|---|---|\n")
	rows(&b, "", "", values)
	return b.String()
}

// rows prints the leaves: what is said of a mapping stands before what is said of its first member.
func rows(b *strings.Builder, path, above string, values []value) {
	for _, v := range values {
		text := strings.TrimSpace(above + " " + v.text)
		above = ""
		if len(v.children) > 0 {
			rows(b, path+v.name+".", text, v.children)
			continue
		}
		fmt.Fprintf(b, "| `%s%s` | `%s` | %s |\n", path, v.name, fallback(v.node), strings.ReplaceAll(text, "|", `\|`))
	}
}

// fallback is a default as one types it in one line.
func fallback(node *yaml.Node) string {
	inline(node)
	text, err := yaml.Marshal(node)
	if err != nil {
		return node.Value
	}
	return strings.TrimSpace(string(text))
}

func inline(node *yaml.Node) {
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	if node.Kind != yaml.ScalarNode {
		node.Style = yaml.FlowStyle
	}
	for _, n := range node.Content {
		inline(n)
	}
}

const begin, end = "<!-- values: written by make generate from values.yaml -->\n", "<!-- end of values -->\n"

// between puts text between the two marks of a page.
func between(page []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, ends := bytes.Cut(rest, []byte(end))
	if !ok || !ends {
		return nil, fmt.Errorf("it has no lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return bytes.Join([][]byte{before, []byte(begin), []byte(text), []byte(end), after}, nil), nil
}
