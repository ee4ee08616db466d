// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// judgeNow is when all messages of the fixtures are judged.
var judgeNow = time.Date(2026, 8, 1, 4, 0, 0, 0, time.UTC)

// TestVerdicts: each file below testdata/verdict is one message, what the DNS holds, and what we write about it.
//
//	-- why --       the source, or why this matters
//	-- envelope --  client, HELO, MAIL FROM
//	-- dns --       as in a zone file; a name with FAIL has nobody who answers
//	-- message --   with LF
//	-- want --      the value of Authentication-Results, with LF
//
// UPDATE=1 writes the last part; read what it wrote.
func TestVerdicts(t *testing.T) {
	paths, err := filepath.Glob("testdata/verdict/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, path := range paths {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".txt"), "-", " "), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			head, want, found := strings.Cut(string(text), "-- want --\n")
			if !found {
				t.Fatal("no -- want --")
			}
			part := parts(head)
			message := strings.ReplaceAll(part["message"], "\n", "\r\n")
			v := judge(t, parseEnvelope(t, part["envelope"]), message, parseZone(t, part["dns"]))
			got := strings.ReplaceAll(AuthResults("mx.example.net", v), "\r\n", "\n") + "\n"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(path, []byte(head+"-- want --\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

// parts splits a fixture at its "-- name --" lines.
func parts(text string) map[string]string {
	out := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if title, found := strings.CutPrefix(line, "-- "); found && strings.HasSuffix(title, " --\n") {
			name = strings.TrimSuffix(title, " --\n")
			continue
		}
		out[name] += line
	}
	return out
}

func parseEnvelope(tb testing.TB, text string) Envelope {
	tb.Helper()
	words := strings.Fields(text)
	if len(words) != 3 {
		tb.Fatalf("an envelope is client, HELO and MAIL FROM: %q", text)
	}
	e := Envelope{HELO: words[1], MailFrom: strings.Trim(words[2], "<>")}
	if words[0] != "-" {
		var err error
		if e.Client, err = netip.ParseAddr(words[0]); err != nil {
			tb.Fatal(err)
		}
	}
	return e
}

// judge judges a message, whose body comes in odd pieces.
func judge(tb testing.TB, e Envelope, message string, dns Resolver) Verdict {
	tb.Helper()
	return judgeIn(tb, e, message, dns, 7)
}

func judgeIn(tb testing.TB, e Envelope, message string, dns Resolver, chunk int) Verdict {
	tb.Helper()
	j := NewJudgement(e)
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	for _, f := range split(header) {
		j.Header(f.name, []byte(f.value))
	}
	for len(body) > 0 {
		n := min(chunk, len(body))
		j.Body([]byte(body[:n]))
		body = body[n:]
	}
	return j.Verdict(tb.Context(), dns, judgeNow)
}

// split takes a header apart.
func split(header string) []rawField {
	var fields []rawField
	for line := range strings.SplitSeq(header, "\r\n") {
		if len(fields) > 0 && line != "" && strings.ContainsRune(" \t", rune(line[0])) {
			fields[len(fields)-1].value += "\r\n" + line
			continue
		}
		if name, value, found := strings.Cut(line, ":"); found {
			fields = append(fields, rawField{name, value})
		}
	}
	return fields
}
