// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

// disagreements are changes to a message after which some verifiers judge otherwise than the RFC has it. docs/verifiers.md
// says why, and how many of these messages each of them refuses.
var disagreements = []struct {
	name    string // as the page has it
	change  func(message []byte) []byte
	against []string // say fail
}{
	{
		name:    "VT and FF at the ends of a field's value",
		change:  func(m []byte) []byte { return append([]byte("Subject: \v x \f\r\n"), m...) },
		against: []string{"python3-dkim", "Mail::DKIM", "opendkim"},
	},
	{
		name:    "a CR alone in the body",
		change:  func(m []byte) []byte { return append(bytes.Clone(m), "Hel\rlo.\r\n"...) },
		against: []string{"opendkim"},
	},
	{
		name:    "a last line of white space without CRLF",
		change:  func(m []byte) []byte { return append(bytes.Clone(m), "Hello.\r\n  "...) },
		against: []string{"python3-dkim"},
	},
}

// ofEach is how many messages of each change are judged.
const ofEach = 100

// TestVerifiersDifferWhereTheRFCDecides: messages of the corpus, changed in each way on which verifiers differ. Who differs
// does so on every one of them, and the page has the counts; UPDATE_DOCS=1 writes them.
func TestVerifiersDifferWhereTheRFCDecides(t *testing.T) {
	t.Parallel()
	w := get(t)
	random := oddity{rand.New(rand.NewPCG(6376, 8))}
	var raw [][]byte
	for _, d := range disagreements {
		for range ofEach {
			raw = append(raw, d.change(random.message()))
		}
	}
	good := w.sign(t, raw, random)
	table := [][]string{{"messages"}, {"---"}}
	for _, d := range disagreements {
		table = append(table, []string{fmt.Sprintf("%d with %s", ofEach, d.name)})
	}
	for _, v := range verifiers.All() {
		verdicts, err := v.JudgeAll(t.Context(), w.dns(), good)
		if err != nil {
			t.Fatal(err)
		}
		table[0], table[1] = append(table[0], v.Name), append(table[1], "---")
		for i, d := range disagreements {
			want, refused := verifiers.Pass, 0
			if slices.Contains(d.against, v.Name) {
				want = verifiers.Fail
			}
			for j := range ofEach {
				n := i*ofEach + j
				if err := agree(v, verdicts[n], acme, want); err != nil {
					t.Errorf("%s: %v", d.name, err)
				}
				if agree(v, verdicts[n], acme, verifiers.Fail) == nil {
					refused++
				}
			}
			table[i+2] = append(table[i+2], fmt.Sprint(refused))
		}
	}
	pageHas(t, table)
}

// pageHas compares the counts with those of docs/verifiers.md.
func pageHas(t *testing.T, table [][]string) {
	t.Helper()
	var rows strings.Builder
	for _, cells := range table {
		rows.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	const begin, end = "<!-- refused: written by UPDATE_DOCS=1 make test-integration -->\n", "<!-- end -->"
	page := filepath.Join("..", "..", "docs", "verifiers.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("docs/verifiers.md has no table of counts")
	}
	want := before + begin + rows.String() + end + after
	switch {
	case want == string(text):
	case os.Getenv("UPDATE_DOCS") == "":
		t.Errorf("docs/verifiers.md has other counts: set UPDATE_DOCS=1\n%s", &rows)
	default:
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
