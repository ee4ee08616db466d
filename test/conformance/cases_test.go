// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// zone holds the records of all cases, each at and below a name of its own.
const zone = dnsrecord.Name("acme.example")

// foreign is one record of somebody else. TXT has its logical value, other types the zone-file form.
type foreign struct {
	name  string // relative to the case's domain, "@" for the domain
	typ   dnsrecord.Type
	ttl   uint32
	value string
}

// step is what the operator wants next, and what should come of it.
type step struct {
	wishes []dnsplan.Wish
	want   dnsplan.OutcomeState
}

// example is one case of the suite.
type example struct {
	name    string // as the table in docs has it
	label   string // its domain is <label>.acme.example
	foreign []foreign
	steps   func(domain dnsrecord.Name) []step
}

func (e example) domain() dnsrecord.Name { return zone.Child(e.label) }

// lifeOf is one record that is published, changed and removed.
func lifeOf(kind dnsplan.Kind, name string, values ...string) func(dnsrecord.Name) []step {
	return func(domain dnsrecord.Name) []step {
		wish := dnsplan.Wish{Name: domain.Child(name), Type: dnsrecord.TXT, Kind: kind, TTL: 600, Adoption: dnsplan.Never}
		var steps []step
		for _, v := range values {
			wish.Value = v
			steps = append(steps, step{[]dnsplan.Wish{wish}, dnsplan.InPlace})
		}
		wish.Value = ""
		return append(steps, step{[]dnsplan.Wish{wish}, dnsplan.Absent})
	}
}

// refused is one record that must not be written.
func refused(kind dnsplan.Kind, name, value string) func(dnsrecord.Name) []step {
	return func(domain dnsrecord.Name) []step {
		wish := dnsplan.Wish{Name: domain.Child(name), Type: dnsrecord.TXT, Kind: kind, Value: value, TTL: 600, Adoption: dnsplan.Never}
		return []step{{[]dnsplan.Wish{wish}, dnsplan.Conflict}}
	}
}

// of has the steps with records of another type.
func of(t dnsrecord.Type, steps func(dnsrecord.Name) []step) func(dnsrecord.Name) []step {
	return func(domain dnsrecord.Name) []step {
		all := steps(domain)
		for _, s := range all {
			for i := range s.wishes {
				s.wishes[i].Type = t
			}
		}
		return all
	}
}

// key is a DKIM record whose public key has so many characters in base64.
func key(characters int) string {
	return "v=DKIM1; k=rsa; p=" + strings.Repeat("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", characters/32+1)[:characters]
}

const (
	rsa2048  = 392 // SubjectPublicKeyInfo in base64
	rsa4096  = 736
	revoked  = "v=DKIM1; k=rsa; p="
	ed25519  = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	none     = "v=DMARC1; p=none; rua=mailto:dmarc@acme.example"
	rejected = "v=DMARC1; p=reject; rua=mailto:dmarc@acme.example,mailto:x@y.example!10m"
)

// neighbours are what others keep at an apex: everything that a careless client breaks.
var neighbours = []string{
	`in "quotation" marks \ and; more`,
	strings.Repeat("0123456789", 100),
	`"quoted"`, `back\slash`, `semi;colon; and; more`, "grüße, 世界", `trailing "`, ` blanks around `,
	`spf2.0/pra ?all`, `google-site-verification=abc`, `a" "b`, `\\"\\"`, "a\ttab", `(paren) @ $ORIGIN`, `MS=ms12345678`,
	strings.Repeat("é", 200), `{"json": "yes"}`, "\x00\x7f\xff", `\065\101`, `v=spf10 is no SPF record`,
}

func beside(n int) []foreign {
	var all []foreign
	for _, v := range neighbours[:n] {
		all = append(all, foreign{"@", dnsrecord.TXT, 3600, v})
	}
	return all
}

var spf = lifeOf(dnsplan.SPF, "", "v=spf1 mx -all", "v=spf1 mx include:_spf.mail.example -all")

var examples = []example{
	{"DKIM key, RSA 2048", "rsa2048", nil, lifeOf(dnsplan.Exclusive, "s1._domainkey", key(rsa2048), revoked)},
	{"DKIM key, RSA 4096", "rsa4096", nil, lifeOf(dnsplan.Exclusive, "s1._domainkey", key(rsa4096), revoked)},
	{"DKIM key, Ed25519", "ed25519", nil, lifeOf(dnsplan.Exclusive, "s1._domainkey", ed25519, revoked)},
	{"40 DKIM keys at once", "forty", nil, func(domain dnsrecord.Name) []step {
		var in, out []dnsplan.Wish
		for i := range 40 {
			w := dnsplan.Wish{Name: domain.Child(fmt.Sprintf("s%02d._domainkey", i)), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, TTL: 600, Adoption: dnsplan.Never}
			out = append(out, w)
			w.Value = key(rsa2048)
			in = append(in, w)
		}
		return []step{{in, dnsplan.InPlace}, {out, dnsplan.Absent}}
	}},
	{"SPF alone", "spf0", nil, spf},
	{"SPF beside 1 foreign TXT", "spf1", beside(1), spf},
	{"SPF beside 2 foreign TXT", "spf2", beside(2), spf},
	{"SPF beside 20 foreign TXT", "spf20", beside(20), spf},
	{"two SPF records of others", "spfspf", []foreign{
		{"@", dnsrecord.TXT, 3600, "v=spf1 -all"}, {"@", dnsrecord.TXT, 3600, "v=spf1 ~all"},
	}, refused(dnsplan.SPF, "", "v=spf1 mx -all")},
	{"_dmarc", "dmarc", nil, lifeOf(dnsplan.Exclusive, "_dmarc", none, rejected)},
	{"_dmarc of others", "theirs", []foreign{{"_dmarc", dnsrecord.TXT, 3600, none}}, refused(dnsplan.Exclusive, "_dmarc", rejected)},
	{"CNAME at the name", "cname", []foreign{{"_dmarc", dnsrecord.CNAME, 3600, "elsewhere.acme.example."}}, refused(dnsplan.Exclusive, "_dmarc", none)},
	{"below a foreign wildcard", "wild", []foreign{{"*", dnsrecord.TXT, 3600, "from the wildcard"}}, lifeOf(dnsplan.Exclusive, "_dmarc", none, rejected)},
	{"the same as a foreign wildcard", "same", []foreign{{"*", dnsrecord.TXT, 600, none}}, lifeOf(dnsplan.Exclusive, "_dmarc", none)},
	{"below a wildcard CNAME", "star", []foreign{{"*", dnsrecord.CNAME, 3600, "elsewhere.acme.example."}}, lifeOf(dnsplan.Exclusive, "_dmarc", none)},
	{"a wildcard of ours", "parked", nil, lifeOf(dnsplan.Exclusive, "*._domainkey", "v=DKIM1; p=")},
	{"a null MX", "nomail", nil, of(dnsrecord.MX, lifeOf(dnsplan.Exclusive, "", "0 ."))},
	{"a null MX where an MX stands", "mail", []foreign{{"@", dnsrecord.MX, 3600, "10 mail.acme.example."}}, of(dnsrecord.MX, refused(dnsplan.Exclusive, "", "0 ."))},
	{"a sub-zone of others", "cut", []foreign{{"sub", dnsrecord.NS, 3600, "ns1.elsewhere.example."}}, refused(dnsplan.Exclusive, "_dmarc.sub", none)},
}
