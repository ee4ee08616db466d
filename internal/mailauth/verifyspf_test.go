// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v3"
)

// suite is one part of the openspf.org test suite for RFC 7208.
type suite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               any // one result, or several of which any will do
	}
	ZoneData map[string][]map[string]any
}

// Where we differ from the suite, and why.
var suiteDifferences = map[string]string{
	"a-colon-domain":            slashes,
	"a-colon-domain-ip4mapped":  slashes,
	"mx-colon-domain":           slashes,
	"mx-colon-domain-ip4mapped": slashes,
	"p-macro-multiple":          "%{p} is always unknown: RFC 7208 §7.3 says not to use it, and it costs a lookup of somebody else's choice",
}

const slashes = "the library takes no / in the name of a host, and no host has one"

func TestOpenSPFSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/spf/rfc7208-tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, document := range strings.Split(string(text), "\n---\n")[1:] {
		var s suite
		if err := yaml.Unmarshal([]byte(document), &s); err != nil {
			t.Fatal(err)
		}
		z := s.zone(t)
		for _, name := range slices.Sorted(maps.Keys(s.Tests)) {
			test := s.Tests[name]
			t.Run(s.Description+"/"+name, func(t *testing.T) {
				ran++
				e := Envelope{Client: addrOf(t, test.Host), HELO: test.Helo, MailFrom: strings.Trim(test.MailFrom, "<>")}
				got := judgeSPF(t.Context(), z, e)[0]
				want := fmt.Sprint(test.Result)
				if why, differs := suiteDifferences[name]; differs {
					if slices.Contains(strings.Fields(strings.Trim(want, "[]")), string(got.Result)) {
						t.Errorf("agrees by now: %s", why)
					}
					return
				}
				if !slices.Contains(strings.Fields(strings.Trim(want, "[]")), string(got.Result)) {
					t.Errorf("got %s (%s), want %s", got.Result, got.Reason, want)
				}
			})
		}
	}
	if ran < 150 {
		t.Errorf("%d tests ran", ran)
	}
}

// zone is the DNS of a part. A record of type SPF stands for one of TXT where there is none.
func (s suite) zone(tb testing.TB) zone {
	tb.Helper()
	z := zone{failing: map[string]bool{}}
	for name, records := range s.ZoneData {
		// TXT: NONE is no record; a timeout beside a TXT record is that of a type that nobody asks for any more.
		hasTXT := slices.ContainsFunc(records, func(r map[string]any) bool { return r["TXT"] != nil && r["TXT"] != "NONE" })
		noTXT := slices.ContainsFunc(records, func(r map[string]any) bool { return r["TXT"] == "NONE" })
		for _, record := range records {
			for kind, value := range record {
				if value != "NONE" && (kind != "TIMEOUT" || !hasTXT) {
					z = z.with(tb, dns.Fqdn(name), kind, value, hasTXT || noTXT)
				}
			}
		}
	}
	return z
}

func (z zone) with(tb testing.TB, name, kind string, value any, hasTXT bool) zone {
	tb.Helper()
	list, _ := value.([]any)
	if list == nil {
		list = []any{value}
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	header := func(t uint16) dns.RR_Header { return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET} }
	switch kind {
	case "TIMEOUT", "SERVFAIL", "CNAMELOOP":
		z.failing[dns.CanonicalName(name)] = true
	case "SPF", "TXT":
		if kind == "TXT" || !hasTXT {
			z.records = append(z.records, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: texts})
		}
	case "A":
		for _, text := range texts {
			z.records = append(z.records, &dns.A{Hdr: header(dns.TypeA), A: addrOf(tb, text).AsSlice()})
		}
	case "AAAA":
		for _, text := range texts {
			z.records = append(z.records, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: addrOf(tb, text).AsSlice()})
		}
	case "MX":
		z.records = append(z.records, &dns.MX{Hdr: header(dns.TypeMX), Mx: texts[1]})
	case "PTR":
		z.records = append(z.records, &dns.PTR{Hdr: header(dns.TypePTR), Ptr: dns.Fqdn(texts[0])})
	case "CNAME":
		z.records = append(z.records, &dns.CNAME{Hdr: header(dns.TypeCNAME), Target: dns.Fqdn(texts[0])})
	default:
		tb.Fatalf("%s has a record of type %s", name, kind)
	}
	return z
}
