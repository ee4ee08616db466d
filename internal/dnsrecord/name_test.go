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

func TestNamesBecomeLowerCaseALabels(t *testing.T) {
	for text, want := range map[string]dnsrecord.Name{
		".":                            "",
		"org":                          "org",
		"Example.ORG":                  "example.org",
		"example.org.":                 "example.org",
		"_DMARC.example.org":           "_dmarc.example.org",
		"m1._domainkey.example.org":    "m1._domainkey.example.org",
		"*._domainkey.example.org":     "*._domainkey.example.org",
		"0/25.2.0.192.in-addr.arpa":    "0/25.2.0.192.in-addr.arpa",
		"-a-.example":                  "-a-.example",
		"r3---sn.example":              "r3---sn.example",
		"bücher.example":               "xn--bcher-kva.example",
		"BÜCHER.example":               "xn--bcher-kva.example",
		"b\u0075\u0308cher.example":    "xn--bcher-kva.example",
		"straße.example":               "xn--strae-oqa.example",
		"XN--BCHER-KVA.example":        "xn--bcher-kva.example",
		"_dmarc.bücher.example":        "_dmarc.xn--bcher-kva.example",
		"*.bücher.example":             "*.xn--bcher-kva.example",
		"例え。テスト":                       "xn--r8jz45g.xn--zckzah",
		strings.Repeat("a", 63) + ".b": dnsrecord.Name(strings.Repeat("a", 63) + ".b"),
	} {
		got, err := dnsrecord.ParseName(text)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestBrokenNamesAreRefused(t *testing.T) {
	long := strings.Repeat("a", 63) + "."
	for text, want := range map[string]string{
		"":                              `name "": is empty`,
		"..":                            `name "..": has an empty label: two dots follow each other, or a dot comes first`,
		".org":                          `name ".org": has an empty label: two dots follow each other, or a dot comes first`,
		"a..org":                        `name "a..org": has an empty label: two dots follow each other, or a dot comes first`,
		"a b.org":                       `name "a b.org": label "a b" has the character " ", which may not stand there`,
		"a\\.b.org":                     `name "a\\.b.org": label "a\\" has the character "\\", which may not stand there`,
		"a.*.org":                       `name "a.*.org": label "*" has the character "*", which may not stand there`,
		"a*.org":                        `name "a*.org": label "a*" has the character "*", which may not stand there`,
		"a\x00.org":                     `name "a\x00.org": label "a\x00" has the character "\x00", which may not stand there`,
		"\xff.org":                      `name "\xff.org": is not valid UTF-8`,
		"xn--a.org":                     `name "xn--a.org": is not a valid internationalised name (RFC 5890)`,
		"xn--example-.org":              `name "xn--example-.org": is not a valid internationalised name (RFC 5890)`,
		"℀.org":                         `name "\u2100.org": is not a valid internationalised name (RFC 5890)`,
		"a" + long + "org":              `name "` + "a" + long[:63] + `"…: label "` + "a" + long[:63] + `" is longer than 63 octets`,
		long + long + long + long + "a": `name "` + long + `"…: is longer than 253 octets`,
		strings.Repeat("ü", 1000):       `name "` + strings.Repeat(`\u00fc`, 32) + `"…: is longer than 253 octets`,
	} {
		if name, err := dnsrecord.ParseName(text); err == nil || err.Error() != want {
			t.Errorf("%q: %q\n got  %v\n want %s", text, name, err, want)
		}
	}
}

func TestMailDomainsAreExplainedWhenTheyAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                     `domain "": is empty: write the part after the @ of your addresses, such as example.org`,
		".":                    `domain ".": is empty: write the part after the @ of your addresses, such as example.org`,
		"example":              `domain "example": is a single label: a mail domain has two or more, such as example.org`,
		"192.0.2.1":            `domain "192.0.2.1": is an IP address, not a mail domain: write a name such as example.org`,
		"[192.0.2.1]":          `domain "[192.0.2.1]": is an IP address, not a mail domain: write a name such as example.org`,
		"2001:db8::1":          `domain "2001:db8::1": is an IP address, not a mail domain: write a name such as example.org`,
		"192.0.2":              `domain "192.0.2": ends in the number "2", as an IP address does: write a name such as example.org`,
		"a@example.org":        `domain "a@example.org": is a mail address: write only the part after the @`,
		"https://example.org/": `domain "https://example.org/": is a URL: write the domain alone, such as example.org`,
		"*.example.org":        `domain "*.example.org": a wildcard is not a mail domain: name each domain`,
		"_dmarc.example.org":   `domain "_dmarc.example.org": label "_dmarc" has an underscore, which a mail domain cannot have (RFC 5321 §2.3.5)`,
		"-a.example.org":       `domain "-a.example.org": label "-a" begins or ends with a hyphen (RFC 5321 §4.1.2)`,
		"a-.example.org":       `domain "a-.example.org": label "a-" begins or ends with a hyphen (RFC 5321 §4.1.2)`,
		"0/25.example.org":     `domain "0/25.example.org": label "0/25" has the character "/", which may not stand there`,
		"example.org,":         `domain "example.org,": label "org," has the character ",", which may not stand there`,
		"my example.org":       `domain "my example.org": label "my example" has the character " ", which may not stand there`,
		"a..example.org":       `domain "a..example.org": has an empty label: two dots follow each other, or a dot comes first`,
		"xn--a.example":        `domain "xn--a.example": is not a valid internationalised name (RFC 5890)`,
	} {
		if name, err := dnsrecord.ParseDomain(text); err == nil || err.Error() != want {
			t.Errorf("%q: %q\n got  %v\n want %s", text, name, err, want)
		}
	}
}

func TestMailDomainsBecomeLowerCaseALabels(t *testing.T) {
	for text, want := range map[string]dnsrecord.Name{
		"Example.org.":     "example.org",
		"mail.example.org": "mail.example.org",
		"Bücher.Example":   "xn--bcher-kva.example",
		"3com.example":     "3com.example",
		"ab--c.example":    "ab--c.example",
		"example.xn--p1ai": "example.xn--p1ai",
	} {
		if got, err := dnsrecord.ParseDomain(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestANameShowsAllItsForms(t *testing.T) {
	name := dnsrecord.Name("m1._domainkey.xn--bcher-kva.example")
	if got := name.FQDN(); got != "m1._domainkey.xn--bcher-kva.example." {
		t.Error(got)
	}
	if got := name.Unicode(); got != "m1._domainkey.bücher.example" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"m1", "_domainkey", "xn--bcher-kva", "example"}, name.Labels()); diff != "" {
		t.Error(diff)
	}
	if got := name.Parent(); got != "_domainkey.xn--bcher-kva.example" {
		t.Error(got)
	}
	if got := dnsrecord.Name("example.org").Child("M1._domainkey"); got != "m1._domainkey.example.org" {
		t.Error(got)
	}
	// Not decodable, but a server may answer it: shown as it is.
	if got := dnsrecord.Name("xn--a.example").Unicode(); got != "xn--a.example" {
		t.Error(got)
	}
}

func TestTheRootIsItsOwnParentAndAZoneOfEverything(t *testing.T) {
	var root dnsrecord.Name
	if !root.IsRoot() || root.FQDN() != "." || root.String() != "." || root.Unicode() != "." || root.Labels() != nil || root.Parent() != root {
		t.Error("the root is not the root")
	}
	if root.Child("org") != "org" || !dnsrecord.Name("org").In(root) || dnsrecord.Name("org").Parent() != root {
		t.Error("the root has no children")
	}
}

func TestANameIsInAZoneByWholeLabels(t *testing.T) {
	for _, c := range []struct {
		name, zone dnsrecord.Name
		relative   string
		in         bool
	}{
		{"example.org", "example.org", "@", true},
		{"_dmarc.example.org", "example.org", "_dmarc", true},
		{"a.b.example.org", "example.org", "a.b", true},
		{"badexample.org", "example.org", "", false},
		{"org", "example.org", "", false},
		{"example.org", "", "example.org", true},
		{"", "", "@", true},
		{"", "org", "", false},
	} {
		relative, in := c.name.RelativeTo(c.zone)
		if relative != c.relative || in != c.in || c.name.In(c.zone) != c.in {
			t.Errorf("%s in %s: %q, %t, %t", c.name, c.zone, relative, in, c.name.In(c.zone))
		}
	}
}

func TestEveryNameReadsBackInEachOfItsForms(t *testing.T) {
	label := rapid.OneOf(rapid.StringMatching(`[a-z0-9_-]{1,12}`), rapid.StringMatching(`[a-zäöüßéøłж中あअ]{1,10}`))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(label, 1, 6).Draw(t, "labels"), ".")
		name, err := dnsrecord.ParseName(text)
		if err != nil {
			t.Skip(err)
		}
		for _, form := range []string{name.String(), name.FQDN(), name.Unicode(), strings.ToUpper(name.String())} {
			if again, err := dnsrecord.ParseName(form); err != nil || again != name {
				t.Fatalf("%s: %s read as %s, %v", text, form, again, err)
			}
		}
		if again := name.Parent().Child(name.Labels()[0]); again != name {
			t.Fatalf("%s came back as %s", name, again)
		}
		for zone := name; !zone.IsRoot(); zone = zone.Parent() {
			relative, in := name.RelativeTo(zone)
			if relative == "@" {
				relative = ""
			}
			if !in || zone.Child(relative) != name {
				t.Fatalf("%s in %s: %q, %t", name, zone, relative, in)
			}
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"example.org.", "_dmarc.bücher.example", "*.a", "xn--bcher-kva", "xn--a", "。", "℀.a", "\xff", "ａ．b", "أهلا.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := dnsrecord.ParseName(text)
		domain, domainErr := dnsrecord.ParseDomain(text)
		if domainErr == nil && (err != nil || domain != name) {
			t.Fatalf("%q is the domain %s but the name %s, %v", text, domain, name, err)
		}
		if err != nil {
			return
		}
		if len(name) > dnsrecord.MaxName {
			t.Fatalf("%q has %d octets", text, len(name))
		}
		for _, form := range []string{name.FQDN(), name.Unicode()} {
			if again, err := dnsrecord.ParseName(form); err != nil || again != name {
				t.Fatalf("%q read as %s, then %s as %s, %v", text, name, form, again, err)
			}
		}
	})
}
