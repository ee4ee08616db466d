// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestWhoPermitsReports(t *testing.T) {
	for title, c := range map[string]struct {
		domain, destination dnsrecord.Name
		dns                 names
		want                bool
	}{
		"the domain itself":                {"example.org", "example.org", "", true},
		"nothing is said":                  {"example.org", "reports.test", "", false},
		"it says so":                       {"example.org", "reports.test", "example.org._report._dmarc.reports.test TXT v=DMARC1;", true},
		"and where to, in fact":            {"example.org", "reports.test", "example.org._report._dmarc.reports.test TXT v=DMARC1; rua=mailto:a@reports.test", true},
		"something else stands there":      {"example.org", "reports.test", "example.org._report._dmarc.reports.test TXT v=spf1 -all", false},
		"of another domain":                {"example.org", "reports.test", "example.net._report._dmarc.reports.test TXT v=DMARC1", false},
		"below, in the same organization":  {"example.org", "mail.example.org", "_dmarc.example.org TXT v=DMARC1; p=none", true},
		"above, in the same organization":  {"mail.example.org", "example.org", "_dmarc.example.org TXT v=DMARC1; p=none", true},
		"beside, in the same organization": {"a.example.org", "b.example.org", "_dmarc.example.org TXT v=DMARC1; p=none", true},
		"beside, and nobody says whose":    {"a.example.org", "b.example.org", "", false},
		"both of a public suffix": {
			"a.bank", "b.bank", "_dmarc.bank TXT v=DMARC1; p=reject; psd=y\n_dmarc.a.bank TXT v=DMARC1; p=none\n_dmarc.b.bank TXT v=DMARC1; p=none", false,
		},
		"a part that is an organization of its own": {
			"a.example.org", "example.org", "_dmarc.a.example.org TXT v=DMARC1; p=none; psd=n\n_dmarc.example.org TXT v=DMARC1; p=none", false,
		},
		"two records say nothing": {
			"a.example.org", "b.example.org", "_dmarc.example.org TXT v=DMARC1; p=none\n_dmarc.example.org TXT v=DMARC1; p=reject", false,
		},
		"of a long name the last seven labels count": {
			"a.b.c.d.e.f.g.h.example.org", "example.org", "_dmarc.c.d.e.f.g.h.example.org TXT v=DMARC1; psd=n\n_dmarc.example.org TXT v=DMARC1; p=none", true,
		},
		"a name too long to hold the record": {
			dnsrecord.Name(strings.Repeat("a123456789.", 20) + "org"), "reports.test", "", false,
		},
	} {
		t.Run(title, func(t *testing.T) {
			got, err := Permits(t.Context(), c.dns, c.domain, c.destination)
			if err != nil || got != c.want {
				t.Errorf("permits %v, %v", got, err)
			}
		})
	}
	for _, silent := range []names{
		"example.org._report._dmarc.reports.test TXT SILENT", "_dmarc.example.org TXT SILENT", "_dmarc.reports.test TXT SILENT",
	} {
		if permits, err := Permits(t.Context(), silent, "example.org", "reports.test"); permits || err == nil {
			t.Errorf("%s: permits %v, %v", silent, permits, err)
		}
	}
}
