// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarc_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestReportURIsArePrintedAsARecordCanHoldThem(t *testing.T) {
	for text, want := range map[string]struct {
		uri, domain, address string
	}{
		"mailto:dmarc@example.org":               {"mailto:dmarc@example.org", "example.org", "dmarc@example.org"},
		"MailTo:DMARC@Example.ORG":               {"mailto:DMARC@example.org", "example.org", "DMARC@example.org"},
		"mailto:a!b@example.org":                 {"mailto:a%21b@example.org", "example.org", "a!b@example.org"},
		"mailto:a%21b@example.org":               {"mailto:a%21b@example.org", "example.org", "a!b@example.org"},
		"mailto:a+b%2Bc@example.org":             {"mailto:a+b+c@example.org", "example.org", "a+b+c@example.org"},
		"mailto:a/b=c%25@example.org":            {"mailto:a%2Fb%3Dc%25@example.org", "example.org", "a/b=c%@example.org"},
		"mailto:dmarc@bücher.example":            {"mailto:dmarc@xn--bcher-kva.example", "xn--bcher-kva.example", "dmarc@xn--bcher-kva.example"},
		"mailto:müller@example.org":              {"mailto:m%C3%BCller@example.org", "example.org", "müller@example.org"},
		"mailto:a@example.org!10m":               {"mailto:a@example.org", "example.org", "a@example.org"},
		"mailto:a@example.org?subject=x;y,z":     {"mailto:a@example.org?subject=x%3By%2Cz", "example.org", "a@example.org"},
		"https://Reports.Example.org":            {"https://reports.example.org", "reports.example.org", ""},
		"HTTPS://example.org:8443/a,b!c;d?e=f g": {"https://example.org:8443/a%2Cb%21c%3Bd?e=f%20g", "example.org", ""},
		"https://example.org/a%2cb":              {"https://example.org/a%2cb", "example.org", ""},
		"https://example.org?x":                  {"https://example.org?x", "example.org", ""},
		"https://example.org/reports!100M":       {"https://example.org/reports", "example.org", ""},
		"https://example.org/reports!m":          {"https://example.org/reports%21m", "example.org", ""},
		"https://example.org/reports!10mm":       {"https://example.org/reports%2110mm", "example.org", ""},
	} {
		uri, err := dmarc.ParseReportURI(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if uri.String() != want.uri || string(uri.Domain()) != want.domain || uri.Address() != want.address {
			t.Errorf("%s: got %s, %s, %s", text, uri, uri.Domain(), uri.Address())
		}
	}
}

func TestReportURIsThatNobodyCanUseAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   `report URI "": is empty: write mailto:ADDRESS`,
		"dmarc@example.org":                  `report URI "dmarc@example.org": is an address without a scheme: write mailto: before it`,
		"http://example.org/":                `report URI "http://example.org/": has neither of the schemes mailto: and https:, and receivers ignore others`,
		"example.org":                        `report URI "example.org": has neither of the schemes mailto: and https:, and receivers ignore others`,
		"mailto:":                            `report URI "mailto:": has no mail address: write mailto:NAME@DOMAIN`,
		"mailto:dmarc":                       `report URI "mailto:dmarc": has no mail address: write mailto:NAME@DOMAIN`,
		"mailto:@example.org":                `report URI "mailto:@example.org": has nothing before the @`,
		"mailto:a@example":                   `report URI "mailto:a@example": domain "example": is a single label: a mail domain has two or more, such as example.org`,
		"mailto:a@[192.0.2.1]":               `report URI "mailto:a@[192.0.2.1]": domain "[192.0.2.1]": is an IP address, not a mail domain: write a name such as example.org`,
		"mailto:a@example.org,b@example.org": `report URI "mailto:a@example.org,b@example.org": has more than one address: write a URI for each`,
		"mailto:a b@example.org":             `report URI "mailto:a b@example.org": has a mailbox name with the character " "`,
		"mailto:a,b@example.org":             `report URI "mailto:a,b@example.org": has a mailbox name with the character ","`,
		"mailto:a%0Ab@example.org":           `report URI "mailto:a%0Ab@example.org": has a mailbox name with the character "\n"`,
		"mailto:a%zz@example.org":            `report URI "mailto:a%zz@example.org": has a "%" without two hexadecimal digits after it`,
		"mailto:a..b@example.org":            `report URI "mailto:a..b@example.org": has a mailbox name with a dot at an end, or with two together`,
		"mailto:%ff@example.org":             `report URI "mailto:%ff@example.org": has a mailbox name that is not valid UTF-8`,
		"https:example.org":                  `report URI "https:example.org": has no host: write https://HOST/PATH`,
		"https:///path":                      `report URI "https:///path": has no host: write https://HOST/PATH`,
		"https://u:p@example.org/":           `report URI "https://u:p@example.org/": has a user name or password: a record is public`,
		"https://example.org:0/":             `report URI "https://example.org:0/": port "0" is not a number from 1 to 65535`,
		"https://example.org/#a":             `report URI "https://example.org/#a": has a fragment (#), which is never sent`,
		"https://example.org/%":              `report URI "https://example.org/%": has a "%" without two hexadecimal digits after it`,
	} {
		if uri, err := dmarc.ParseReportURI(text); err == nil || err.Error() != want {
			t.Errorf("%s: %s\n got  %v\n want %s", text, uri, err, want)
		}
	}
	for _, long := range []string{"mailto:" + strings.Repeat("a", 1024) + "@example.org", "https://example.org/" + strings.Repeat("!", 900)} {
		if _, err := dmarc.ParseReportURI(long); err == nil {
			t.Errorf("%d octets were accepted", len(long))
		}
	}
}

func TestFailureOptionsAreThoseOfTheRFC(t *testing.T) {
	for items, want := range map[string]string{
		"0": "", "1": "", "d:s": "", "S:1:d": "",
		"2":     `failure option "2" is none of 0, 1, d and s`,
		"":      `failure option "" is none of 0, 1, d and s`,
		"d:D":   `failure option d is there twice`,
		"0:d:1": `failure options 0 and 1 exclude each other: 1 covers what 0 asks for`,
	} {
		got := ""
		if _, err := dmarc.ParseFailureOptions(strings.Split(items, ":")); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\n got  %s\n want %s", items, got, want)
		}
	}
	if options, err := dmarc.ParseFailureOptions(nil); err != nil || options != nil {
		t.Errorf("none: %v, %v", options, err)
	}
}

func drawURI(t *rapid.T) dmarc.ReportURI {
	local := "mailto:" + rapid.StringMatching(`[a-zA-Z0-9!#$&'*+/=^_{|}~ü-]{1,20}(\.[a-z,!]{1,3})?`).Draw(t, "local") + "@"
	domain := rapid.StringMatching(`[a-z0-9]{1,5}(\.[a-zü]{2,5}){1,2}`).Draw(t, "domain")
	text := rapid.SampledFrom([]string{
		local + domain,
		"https://" + domain + rapid.StringMatching(`(:[1-9][0-9]{1,3})?(/[ -"$-~]{0,20})?`).Draw(t, "path"),
	}).Draw(t, "uri")
	uri, err := dmarc.ParseReportURI(text)
	if err != nil {
		return "mailto:dmarc@example.org"
	}
	return uri
}

func TestEveryReportURIReadsBackAndFitsInARecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uri := drawURI(t)
		checkURI(t, uri)
	})
}

func checkURI(t interface{ Fatalf(string, ...any) }, uri dmarc.ReportURI) {
	if again, err := dmarc.ParseReportURI(uri.String()); err != nil || again != uri {
		t.Fatalf("%s read as %s, %v", uri, again, err)
	}
	if strings.ContainsAny(uri.String(), ",!; \t\r\n") {
		t.Fatalf("%s cannot stand in a record", uri)
	}
	if domain, err := dnsrecord.ParseDomain(string(uri.Domain())); err != nil || domain != uri.Domain() {
		t.Fatalf("%s has the domain %s, %v", uri, domain, err)
	}
	if at := strings.LastIndexByte(uri.Address(), '@'); uri.Address() != "" && uri.Address()[at+1:] != string(uri.Domain()) {
		t.Fatalf("%s has the address %s", uri, uri.Address())
	}
}

func FuzzParseReportURI(f *testing.F) {
	for _, seed := range []string{"mailto:a@example.org!10m", "https://example.org:1/a,b?c", "mailto:a%21@b.c?d", "mailto:ü@ü.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if uri, err := dmarc.ParseReportURI(text); err == nil {
			checkURI(t, uri)
		}
	})
}
