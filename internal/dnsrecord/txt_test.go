// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord/recordtest"
)

func TestTXTDataReadsAsItsFixturesSay(t *testing.T) {
	for _, c := range recordtest.Raw(t, "testdata/txt/*.txt") {
		t.Run(c.Name, func(t *testing.T) {
			value, err := dnsrecord.ParseTXT(c.Fields["zone"])
			c.Check(t, dnsrecord.FormatTXT(value), err)
		})
	}
}

func TestTXTDataGoesOverLinesOnlyInParentheses(t *testing.T) {
	value, err := dnsrecord.ParseTXT("(\n  \"v=DKIM1; \" ; the version\n\t\"p=\"\r\n)\n")
	if err != nil || value != "v=DKIM1; p=" {
		t.Errorf("got %q, %v", value, err)
	}
	if value, err := dnsrecord.ParseTXT("\"a\"\n\"b\""); err == nil {
		t.Errorf("two records read as one: %q", value)
	}
}

func TestCharacterStringsHoldAtMost255Octets(t *testing.T) {
	for length, want := range map[int][]int{0: {0}, 1: {1}, 255: {255}, 256: {255, 1}, 510: {255, 255}, 511: {255, 255, 1}} {
		var got []int
		for _, part := range dnsrecord.SplitTXT(strings.Repeat("x", length)) {
			got = append(got, len(part))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d octets (-want +got):\n%s", length, diff)
		}
	}
}

func TestTXTDataLongerThanARecordIsRefused(t *testing.T) {
	longest := dnsrecord.FormatTXT(strings.Repeat("\x00", dnsrecord.MaxTXT))
	if value, err := dnsrecord.ParseTXT(longest); err != nil || len(value) != dnsrecord.MaxTXT {
		t.Errorf("the longest: %d octets, %v", len(value), err)
	}
	for _, long := range []string{strings.Repeat("x", dnsrecord.MaxTXT+1), strings.Repeat(" ", 1<<20)} {
		if _, err := dnsrecord.ParseTXT(long); err == nil {
			t.Errorf("%d octets were accepted", len(long))
		}
	}
}

func TestAnyOctetSurvivesTheZoneFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := string(rapid.SliceOfN(rapid.Byte(), 0, 1000).Draw(t, "value"))
		if joined := dnsrecord.JoinTXT(dnsrecord.SplitTXT(value)); joined != value {
			t.Fatalf("%q was joined as %q", value, joined)
		}
		shown := dnsrecord.FormatTXT(value)
		if strings.Trim(shown, "\n") != shown || strings.ContainsFunc(shown, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q is not printable", shown)
		}
		if read, err := dnsrecord.ParseTXT(shown); err != nil || read != value {
			t.Fatalf("%q was shown as %s and read as %q, %v", value, shown, read, err)
		}
	})
}

func FuzzParseTXT(f *testing.F) {
	for _, c := range recordtest.Raw(f, "testdata/txt/*.txt") {
		f.Add(c.Fields["zone"])
	}
	f.Fuzz(func(t *testing.T, presentation string) {
		value, err := dnsrecord.ParseTXT(presentation)
		if err != nil {
			return
		}
		if again, err := dnsrecord.ParseTXT(dnsrecord.FormatTXT(value)); err != nil || again != value {
			t.Fatalf("%q read as %q, then %q, %v", presentation, value, again, err)
		}
	})
}
