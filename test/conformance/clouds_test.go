// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/azure"
	"github.com/maildomain-operator/maildomain-operator/test/env/clouddns"
	"github.com/maildomain-operator/maildomain-operator/test/env/intercept"
)

// proxy answers for the hosts of modules that let nobody choose their transport.
var proxy *intercept.Proxy

// intercepted runs the tests beside the proxy.
func intercepted(m *testing.M) int {
	dir, err := os.MkdirTemp("", "conformance")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		proxy, err = intercept.Start(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// libdnsSpec is a module with its settings, and a Secret of which every entry is the subject's.
func libdnsSpec(name string, config map[string]v1alpha1.LibdnsValue) v1alpha1.DNSProviderSpec {
	return v1alpha1.DNSProviderSpec{Libdns: &v1alpha1.Libdns{Name: name, Config: config, SecretRef: &v1alpha1.SecretRef{Name: name}}}
}

// The record sets of a zone's foreign records, as an API of sets has them.
type foreignSet struct {
	name   string // relative
	typ    dnsrecord.Type
	ttl    uint32
	values []string
}

func foreignSets(has func(foreign) bool) []*foreignSet {
	sets := map[string]*foreignSet{}
	var all []*foreignSet
	for _, f := range foreignRecords() {
		if !has(f) {
			continue
		}
		name, _ := dnsrecord.Name(f.name).RelativeTo(zone)
		k := name + " " + string(f.typ)
		if sets[k] == nil {
			sets[k] = &foreignSet{name: name, typ: f.typ, ttl: f.ttl}
			all = append(all, sets[k])
		}
		sets[k].values = append(sets[k].values, f.value)
	}
	return all
}

// inJSON: JSON holds no octets beyond UTF-8.
func inJSON(f foreign) bool { return utf8.ValidString(f.value) }

func TestAzureByItsSDK(t *testing.T) {
	server := azure.New("a-secret", string(zone), "other.example")
	for _, set := range foreignSets(inJSON) {
		s := azure.Set{Name: set.name, Type: string(set.typ), Properties: azure.Properties{TTL: int64(set.ttl), Metadata: map[string]string{"by": "others"}}}
		switch set.typ { //nolint:exhaustive // there are no others
		case dnsrecord.TXT:
			for _, v := range set.values {
				s.Properties.TXTRecords = append(s.Properties.TXTRecords, azure.TXT{Value: dnsrecord.SplitTXT(v)})
			}
		case dnsrecord.CNAME:
			s.Properties.CNAMERecord = &azure.CNAME{CNAME: set.values[0]}
		case dnsrecord.NS:
			for _, v := range set.values {
				s.Properties.NSRecords = append(s.Properties.NSRecords, azure.NS{Name: v})
			}
		case dnsrecord.A:
			s.Properties.ARecords = []map[string]any{{"ipv4Address": set.values[0]}}
		case dnsrecord.MX:
			s.Properties.MXRecords = []map[string]any{{"preference": 10, "exchange": set.values[0]}}
		case "SRV":
			s.Properties.SRVRecords = []map[string]any{{"priority": 0, "weight": 5, "port": 5060, "target": set.values[0]}}
		}
		server.Put(string(zone), s)
	}
	server.Put(string(zone), azure.Set{Name: "_25._tcp", Type: "TLSA", Properties: azure.Properties{TTL: 60, TLSARecords: []map[string]any{{"usage": 3}}}})
	conform(t, subject{
		column: azureColumn, secret: "a-secret", experimental: true, transport: server,
		spec: libdnsSpec("azure", map[string]v1alpha1.LibdnsValue{
			"subscription_id": "a-subscription", "resource_group_name": "a-group", "tenant_id": "a-tenant", "client_id": "a-client",
		}),
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for _, set := range server.Sets(string(zone)) {
				r := record{name: zone.Child(strings.TrimPrefix(set.Name, "@")), typ: dnsrecord.Type(set.Type)}
				if len(set.Properties.TXTRecords) == 0 {
					line, err := json.Marshal(set) // with its ETag
					if err != nil {
						t.Fatal(err)
					}
					r.line = string(line)
					all = append(all, r)
				}
				for _, txt := range set.Properties.TXTRecords {
					r.line, r.value = fmt.Sprintf("%s %d %v TXT %q", set.Name, set.Properties.TTL, set.Properties.Metadata, txt.Value), strings.Join(txt.Value, "")
					all = append(all, r)
				}
			}
			return all
		},
	})
	t.Logf("calls: %v", server.Calls())
}

// The unmodified libdns/googleclouddns, which is handed the key of a service account.
func TestGoogleCloudDNSByItsLibdnsModule(t *testing.T) {
	const account = "operator@a-project.iam.gserviceaccount.com"
	server := clouddns.New(account, string(zone), "other.example")
	proxy.Serve("dns.googleapis.com", server)
	proxy.Serve("oauth2.googleapis.com", server)
	for _, set := range foreignSets(func(foreign) bool { return true }) {
		s := clouddns.Set{Name: zone.Child(strings.TrimPrefix(set.name, "@")).FQDN(), Type: string(set.typ), TTL: int64(set.ttl)}
		for _, v := range set.values {
			if set.typ == dnsrecord.TXT {
				v = dnsrecord.FormatTXT(v)
			}
			s.Rrdatas = append(s.Rrdatas, v)
		}
		if set.typ == "SRV" && !strings.HasPrefix(set.name, "_") {
			continue // one of these makes the whole zone unreadable to the module
		}
		server.Put(string(zone), s)
	}
	conform(t, subject{
		column: googleColumn, secret: serviceAccountKey(t, account), experimental: true,
		spec: libdnsSpec("googleclouddns", map[string]v1alpha1.LibdnsValue{"gcp_project": "a-project"}),
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for _, s := range server.Sets(string(zone)) {
				for _, v := range s.Rrdatas {
					r := record{line: fmt.Sprintf("%s %s %d %s", s.Name, s.Type, s.TTL, v), name: dnsrecord.Name(strings.TrimSuffix(s.Name, ".")), typ: dnsrecord.Type(s.Type)}
					if s.Type == "TXT" {
						r.value = parsed(t, v)
					}
					all = append(all, r)
				}
			}
			return all
		},
	})
	t.Logf("calls: %v", server.Calls())
}

// serviceAccountKey is a key as Google gives it out; its address is not where it is sent.
func serviceAccountKey(t *testing.T, account string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "a-project", "private_key_id": "k", "client_email": account, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://evil.example/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
