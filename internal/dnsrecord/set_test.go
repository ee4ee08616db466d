// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestSetsAreComparedWithoutOrder(t *testing.T) {
	set := dnsrecord.Set{Values: []string{"b", "a", "a"}}
	for _, c := range []struct {
		values []string
		same   bool
	}{
		{[]string{"a", "b", "a"}, true},
		{[]string{"a", "b"}, false},
		{[]string{"a", "b", "b"}, false},
		{nil, false},
	} {
		if set.SameValues(dnsrecord.Set{Values: c.values}) != c.same {
			t.Errorf("%q: want %t", c.values, c.same)
		}
	}
	if set.Values[0] != "b" {
		t.Error("comparing sorted the values")
	}
	if !set.Has("a") || set.Has("c") {
		t.Error("Has finds the wrong values")
	}
}

func TestForeignTextInAMessageIsShortAndASCII(t *testing.T) {
	for _, text := range []string{"", "a\nb\x00", "\u202etxt", strings.Repeat("ü", 1000), strings.Repeat("\xff", 1000)} {
		quoted := dnsrecord.Quote(text)
		if len(quoted) > 400 || !utf8.ValidString(quoted) || strings.ContainsAny(quoted, "\n\x00\u202e") {
			t.Errorf("%q was quoted as %s", text, quoted)
		}
	}
}
