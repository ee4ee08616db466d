// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestTagListsReadAsTheRFCSays(t *testing.T) {
	for list, want := range map[string]dnsrecord.Tags{
		"a=1":                        {{"a", "1"}},
		" a = 1 ;\r\n b=2; ":         {{"a", "1"}, {"b", "2"}},
		"a=;b=":                      {{"a", ""}, {"b", ""}},
		"a=x=y; A=1":                 {{"a", "x=y"}, {"A", "1"}},
		"x_1=two  words and\r\n\t p": {{"x_1", "two  words and\r\n\t p"}},
	} {
		got, err := dnsrecord.ParseTags(list)
		if err != nil {
			t.Errorf("%q: %v", list, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", list, diff)
		}
	}
}

func TestBrokenTagListsAreRefused(t *testing.T) {
	for list, want := range map[string]string{
		"":            "an empty tag stands between two semicolons",
		";":           "an empty tag stands between two semicolons",
		"a=1;;b=2":    "an empty tag stands between two semicolons",
		"a=1;;":       "an empty tag stands between two semicolons",
		"a=1; b":      `"b" is no tag: it has no =`,
		"=1":          `"" is no tag name: a letter, then letters, digits and underscores`,
		"1a=1":        `"1a" is no tag name: a letter, then letters, digits and underscores`,
		"a-b=1":       `"a-b" is no tag name: a letter, then letters, digits and underscores`,
		"a=1; a=2":    "tag a= is there twice",
		"a=\x001":     "tag a= has the octet 0x00, which is not printable ASCII",
		"a=1; b=\xff": "tag b= has the octet 0xff, which is not printable ASCII",
	} {
		if tags, err := dnsrecord.ParseTags(list); err == nil || err.Error() != want {
			t.Errorf("%q: %v\n got  %v\n want %s", list, tags, err, want)
		}
	}
}

func TestATagIsFoundByItsExactName(t *testing.T) {
	tags := dnsrecord.Tags{{"v", "1"}, {"p", ""}}
	if value, found := tags.Get("p"); value != "" || !found {
		t.Errorf("p: %q, %t", value, found)
	}
	if _, found := tags.Get("P"); found {
		t.Error("P was found")
	}
}

func TestEveryTagListReadsBack(t *testing.T) {
	name := rapid.StringMatching(`[A-Za-z][A-Za-z0-9_]{0,5}`)
	value := rapid.StringMatching(`([!-:<-~]([ -:<-~]{0,9}[!-:<-~])?)?`)
	rapid.Check(t, func(t *rapid.T) {
		var want dnsrecord.Tags
		var specs []string
		for _, n := range rapid.SliceOfNDistinct(name, 1, 6, rapid.ID[string]).Draw(t, "names") {
			tag := dnsrecord.Tag{Name: n, Value: value.Draw(t, "value")}
			want = append(want, tag)
			specs = append(specs, rapid.SampledFrom([]string{"", " ", "\r\n\t"}).Draw(t, "blank")+tag.Name+"="+tag.Value)
		}
		got, err := dnsrecord.ParseTags(strings.Join(specs, ";") + rapid.SampledFrom([]string{"", ";", " ; "}).Draw(t, "end"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseTags(f *testing.F) {
	for _, seed := range []string{"v=DKIM1; k=rsa; p=AAAA", "a=1;", "a = b = c", ";;", "a=\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		tags, err := dnsrecord.ParseTags(list)
		if err != nil {
			return
		}
		var specs []string
		for _, tag := range tags {
			specs = append(specs, tag.Name+"="+tag.Value)
		}
		again, err := dnsrecord.ParseTags(strings.Join(specs, "; "))
		if diff := cmp.Diff(tags, again); err != nil || diff != "" {
			t.Fatalf("%q: %v\n%s", list, err, diff)
		}
	})
}
