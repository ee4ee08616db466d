// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/cloudflare"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

const tsigSecret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE="

var ref = v1alpha1.SecretKeyRef{Name: "credentials", Key: "secret"}

// fromRR is a record as it came over the wire.
func fromRR(rr dns.RR) record {
	name := dnsrecord.Name(strings.TrimSuffix(strings.ToLower(rr.Header().Name), "."))
	return record{rr.String(), name, dnsrecord.Type(dns.TypeToString[rr.Header().Rrtype]), logical(rr)}
}

// logical is the value of a record that we may write: the character-strings of a TXT record with nothing between (RFC 6376
// §3.6.2.2), an MX as a zone file has it.
func logical(rr dns.RR) string {
	if mx, ok := rr.(*dns.MX); ok {
		return fmt.Sprintf("%d %s", mx.Preference, mx.Mx)
	}
	txt, ok := rr.(*dns.TXT)
	if !ok {
		return ""
	}
	buf := make([]byte, dns.Len(rr)+16)
	end, err := dns.PackRR(txt, buf, 0, nil, false)
	if err != nil {
		return "not to be packed: " + err.Error()
	}
	var value strings.Builder
	for data := buf[end-int(txt.Hdr.Rdlength) : end]; len(data) > 0; {
		n := int(data[0])
		value.Write(data[1 : 1+n])
		data = data[1+n:]
	}
	return value.String()
}

// parsed reads the zone-file form of a TXT record's data.
func parsed(t *testing.T, content string) string {
	t.Helper()
	rr, err := dns.NewRR(". 0 IN TXT " + content)
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	rr = dns.Copy(rr)
	return logical(rr)
}

func TestCloudflare(t *testing.T) {
	server := cloudflare.New("a-token", string(zone), "other.example")
	for _, f := range foreignRecords() {
		r := cloudflare.Record{Name: f.name, Type: string(f.typ), TTL: int(f.ttl), Content: strings.TrimSuffix(f.value, "."), Comment: "ours"}
		if f.typ == dnsrecord.TXT {
			r.Content = dnsrecord.FormatTXT(f.value)
		}
		server.Put(string(zone), r)
	}
	// Records of before Cloudflare kept quotation marks, with the TTL that it chooses itself.
	server.Put(string(zone), cloudflare.Record{Name: "spf1." + string(zone), Type: "TXT", TTL: 1, Content: `bare "text" \ of old`})
	conform(t, subject{
		column: "Cloudflare (fake)", secret: "a-token", transport: server,
		spec: v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.Cloudflare{APITokenSecretRef: ref}},
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for _, r := range server.Records(string(zone)) {
				line, err := json.Marshal(r) // with its id
				if err != nil {
					t.Fatal(err)
				}
				rec := record{line: string(line), name: dnsrecord.Name(r.Name), typ: dnsrecord.Type(r.Type)}
				if strings.HasPrefix(r.Content, `"`) {
					rec.value = parsed(t, r.Content)
				}
				if r.Priority != nil {
					rec.value = fmt.Sprintf("%d %s", *r.Priority, r.Content)
				}
				all = append(all, rec)
			}
			return all
		},
	})
}

func TestRoute53(t *testing.T) {
	server := route53.New("AKIA", "private:"+string(zone), string(zone), "other.example")
	sets := map[string]*route53.Set{}
	for _, f := range foreignRecords() {
		value := f.value
		if f.typ == dnsrecord.TXT {
			value = toOctal(dnsrecord.FormatTXT(value))
		}
		k := f.name + " " + string(f.typ)
		if sets[k] == nil {
			sets[k] = &route53.Set{Name: f.name, Type: string(f.typ), TTL: int64(f.ttl)}
		}
		sets[k].Values = append(sets[k].Values, value)
	}
	for _, s := range sets {
		server.Put(string(zone), *s)
	}
	conform(t, subject{
		column: "Route 53 (fake)", secret: "a-secret-access-key", transport: server,
		spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{AccessKeyID: "AKIA", SecretAccessKeySecretRef: &ref}},
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for _, s := range server.Sets(string(zone)) {
				for _, v := range s.Values {
					r := record{line: fmt.Sprintf("%s %s %d %s", s.Name, s.Type, s.TTL, v), name: dnsrecord.Name(strings.TrimSuffix(s.Name, ".")), typ: dnsrecord.Type(s.Type)}
					switch s.Type {
					case "TXT":
						r.value = parsed(t, toDecimal(v))
					case "MX":
						r.value = v
					}
					all = append(all, r)
				}
			}
			return all
		},
	})
}

// An escaped backslash, or an octet in digits.
var escape = regexp.MustCompile(`\\(\\|[0-9]{3})`)

// toOctal and toDecimal turn the escapes of zone files into Route 53's, and back.
func toOctal(s string) string   { return rebase(s, 10, `\%03o`) }
func toDecimal(s string) string { return rebase(s, 8, `\%03d`) }

func rebase(s string, base int, format string) string {
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		n, err := strconv.ParseUint(e[1:], base, 8)
		if err != nil {
			return e
		}
		return fmt.Sprintf(format, n)
	})
}

func TestNameServerInTheProcess(t *testing.T) {
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{
		Keys: []nameserver.Key{{Name: "operator", Secret: tsigSecret, Allow: func(_ string, rrtype uint16) bool { return rrtype == dns.TypeTXT || rrtype == dns.TypeMX }}},
		Sites: []nameserver.Site{{
			Zone: string(zone), Addrs: []string{"127.0.0.3"}, Records: strings.Join(zoneFile(), "\n") + "\n",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), world.Port())
	conform(t, subject{
		column: "name server of the tests", secret: tsigSecret, spec: updates(addr),
		dump: func(t *testing.T) []record {
			t.Helper()
			var all []record
			for line := range strings.Lines(world.Zone(string(zone)).Dump()) {
				rr, err := dns.NewRR(line)
				if err != nil {
					t.Fatal(err)
				}
				if rr != nil {
					all = append(all, fromRR(rr))
				}
			}
			return all
		},
	})
}

// updates is a server that takes them from the key "operator".
func updates(addr netip.AddrPort) v1alpha1.DNSProviderSpec {
	return v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{Server: addr.String(), TSIG: &v1alpha1.TSIG{KeyName: "operator", SecretRef: ref}}}
}
