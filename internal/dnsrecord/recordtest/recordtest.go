// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package recordtest reads the fixtures of the record formats: one file a case, its name a sentence, so that ls testdata
// is the specification.
//
// A fixture is a few lines of "key: value":
//
//	why:    the source, or why this matters
//	zone:   the record as a zone file shows it, or
//	value:  the record as one logical string
//	want:   what we print for it, or
//	error:  why we refuse it
//
// Other keys belong to the package that reads the fixture.
package recordtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Case is one fixture.
type Case struct {
	// Name is the name of the file without its extension, hyphens as blanks: a sentence.
	Name string
	// Text is the whole file.
	Text string
	// Value is the logical value of the record.
	Value string
	// Fields are all lines by key.
	Fields map[string]string
}

// Cases reads the fixtures that match the pattern; a pattern that matches none is a failure.
func Cases(tb testing.TB, pattern string) []Case {
	tb.Helper()
	cases := Raw(tb, pattern)
	for i, c := range cases {
		zone, found := c.Fields["zone"]
		if !found {
			continue
		}
		value, err := dnsrecord.ParseTXT(zone)
		if err != nil {
			tb.Fatalf("%s: %v", c.Name, err)
		}
		cases[i].Value = value
	}
	return cases
}

// Raw is Cases for fixtures whose zone line may be broken: Value stays empty.
func Raw(tb testing.TB, pattern string) []Case {
	tb.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no fixture matches %s: %v", pattern, err)
	}
	cases := make([]Case, 0, len(paths))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		c := parse(string(text))
		c.Name = strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), "-", " ")
		cases = append(cases, c)
	}
	return cases
}

func parse(text string) Case {
	c := Case{Text: text, Fields: map[string]string{}}
	for line := range strings.Lines(text) {
		if key, value, found := strings.Cut(line, ":"); found && !strings.HasPrefix(line, "-") {
			c.Fields[key] = strings.TrimSpace(value)
		}
	}
	c.Value = c.Fields["value"]
	return c
}

// Check fails the test unless got and err are what the fixture wants.
func (c Case) Check(t *testing.T, got string, err error) {
	t.Helper()
	message := ""
	if err != nil {
		message = err.Error()
	}
	if message != c.Fields["error"] {
		t.Fatalf("error\n  got:  %s\n  want: %s", message, c.Fields["error"])
	}
	if err == nil && got != c.Fields["want"] {
		t.Fatalf("printed\n  got:  %s\n  want: %s", got, c.Fields["want"])
	}
}
