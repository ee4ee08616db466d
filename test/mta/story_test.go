// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// A story is a file of testdata, in the form of package txtar: what is told, settings, and messages each with what is expected.
//
//	Why this is so.
//	-- settings --
//	by: submission | internet | sendmail       the way into the MTA; submission
//	login: alice@strict.example                of submission; user@acme.example
//	keys: missing                              the milter has no key tree
//	dkim: bad | revoked | missing | expired    how the sender from the Internet signed; not at all
//	only: direct postfix sendmail              who plays the MTA; all of them
//	-- MAIL FROM:<user@acme.example> SMTPUTF8 --
//	From: …
//	-- expect --
//	reply: 250                       how the reply begins
//	signed: acme.example             by both keys, and every verifier agrees; or: nobody
//	header: ^Authentication-Results: a field that has to be there
//	text: …                          what has to be in the message; absent: what may not be
//
// In a message, ${repeat 1200 x} and ${octets c3a4} stand for what a text file cannot hold.
type story struct {
	name     string
	settings map[string]string
	messages []message
}

// message is one of a connection.
type message struct {
	sender string // without < and >
	utf8   bool
	text   []byte // lines end with CRLF
	expect []expectation
}

type expectation struct{ word, value string }

// one is the value of a word that stands at most once.
func (m message) one(word string) string {
	for _, e := range m.expect {
		if e.word == word {
			return e.value
		}
	}
	return ""
}

// stories are all files of testdata.
func stories(t *testing.T) []story {
	t.Helper()
	files, err := filepath.Glob("testdata/*.testcase")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories:", err)
	}
	var all []story
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseStory(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		s.name = strings.TrimSuffix(filepath.Base(file), ".testcase")
		all = append(all, s)
	}
	return all
}

var (
	settingWords = []string{"by", "login", "keys", "dkim", "only"}
	expectWords  = []string{"reply", "signed", "header", "text", "absent"}
	mailFrom     = regexp.MustCompile(`^MAIL FROM:<(.*)>( SMTPUTF8)?$`)
)

func parseStory(text []byte) (story, error) {
	archive := txtar.Parse(text)
	s := story{settings: map[string]string{"by": "submission", "only": "direct postfix sendmail"}}
	if len(archive.Comment) == 0 {
		return s, fmt.Errorf("the story does not say why")
	}
	for _, part := range archive.Files {
		if envelope := mailFrom.FindStringSubmatch(part.Name); envelope != nil {
			raw, err := expand(string(part.Data))
			if err != nil {
				return s, err
			}
			s.messages = append(s.messages, message{sender: envelope[1], utf8: envelope[2] != "", text: []byte(raw)})
			continue
		}
		for line := range strings.Lines(string(part.Data)) {
			word, value, found := strings.Cut(strings.TrimSpace(line), ": ")
			switch {
			case found && part.Name == "settings" && slices.Contains(settingWords, word):
				s.settings[word] = value
			case found && part.Name == "expect" && slices.Contains(expectWords, word) && len(s.messages) > 0:
				m := &s.messages[len(s.messages)-1]
				m.expect = append(m.expect, expectation{word, value})
			default:
				return s, fmt.Errorf("%q in %q is not understood", line, part.Name)
			}
		}
	}
	for _, m := range s.messages {
		if m.one("reply") == "" {
			return s, fmt.Errorf("nothing is expected of the message of <%s>", m.sender)
		}
	}
	if len(s.messages) == 0 {
		return s, fmt.Errorf("the story has no message")
	}
	return s, nil
}

var variable = regexp.MustCompile(`\$\{(repeat|octets) ([^}]*)\}`)

// expand puts in what a text file cannot hold, and ends lines as SMTP does.
func expand(text string) (string, error) {
	var failed error
	text = variable.ReplaceAllStringFunc(text, func(found string) string {
		parts := variable.FindStringSubmatch(found)
		if parts[1] == "octets" {
			octets, err := hex.DecodeString(parts[2])
			if err != nil {
				failed = fmt.Errorf("%s: %w", found, err)
			}
			return string(octets)
		}
		count, what, _ := strings.Cut(parts[2], " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			failed = fmt.Errorf("%s: %w", found, err)
		}
		return strings.Repeat(what, n)
	})
	return strings.ReplaceAll(text, "\n", "\r\n"), failed
}
