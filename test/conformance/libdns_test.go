// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/linode"
)

// linodeRecord is a foreign record as Linode has it; false for what it cannot hold.
func linodeRecord(f foreign) (linode.Record, bool) {
	name, _ := dnsrecord.Name(f.name).RelativeTo(zone)
	r := linode.Record{Type: string(f.typ), Name: strings.TrimPrefix(name, "@"), Target: strings.TrimSuffix(f.value, "."), TTL: int(f.ttl)}
	switch f.typ { //nolint:exhaustive // the others are as they are
	case dnsrecord.TXT:
		r.Target = f.value // JSON holds no octets beyond UTF-8, and the API no control characters
		return r, utf8.ValidString(f.value) && !strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' || c == 0x7f })
	case dnsrecord.MX:
		r.Priority, r.Target = 10, strings.TrimPrefix(r.Target, "10 ")
	case "SRV":
		service, protocol := "sip", "tcp"
		r.Name, r.Service, r.Protocol = "", &service, &protocol
		r.Priority, r.Weight, r.Port, r.Target = 0, 5, 5060, "sip.acme.example"
		return r, strings.HasPrefix(name, "_")
	}
	return r, true
}

// The unmodified libdns/linode, through the operator's adapter.
func TestLinodeByItsLibdnsModule(t *testing.T) {
	server := linode.New("a-token", string(zone), "other.example")
	for _, f := range foreignRecords() {
		if r, ok := linodeRecord(f); ok {
			server.Put(string(zone), r)
		}
	}
	url, stop := server.Listen()
	defer stop()
	conform(t, subject{
		column: linodeColumn, secret: "a-token", experimental: true,
		spec: v1alpha1.DNSProviderSpec{Libdns: &v1alpha1.Libdns{
			Name: "linode", Config: map[string]v1alpha1.LibdnsValue{"api_url": v1alpha1.LibdnsValue(url)}, SecretRef: &v1alpha1.SecretRef{Name: "linode"},
		}},
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for _, r := range server.Records(string(zone)) {
				line, err := json.Marshal(r) // with its id
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, record{string(line), zone.Child(r.Name), dnsrecord.Type(r.Type), r.Target})
			}
			return all
		},
	})
	t.Logf("calls: %v", server.Calls())
}
