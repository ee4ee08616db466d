// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"testing"
)

const mailDomain = `
apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: example-org, namespace: default}
spec:
  domain: example.org
  providerRef: {name: dns}
`

func spec(field string) string { return "spec: {" + field + "}" }

func TestAMailDomainIsAcceptedWith(t *testing.T) {
	mustAcceptNew(t, mailDomain, []acceptance{
		{"a domain and a provider alone", `{}`},
		{"a sub-domain", spec(`domain: mail.example.co.uk`)},
		{"a U-label", spec(`domain: bücher.example`)},
		{"a U-label of another script", spec(`domain: пример.рф`)},
		{"an A-label", spec(`domain: xn--bcher-kva.example`)},
		{"capital letters", spec(`domain: Example.ORG`)},
		{"a digit in front", spec(`domain: 3com.com`)},
		{"a label of 63", spec(`domain: a23456789012345678901234567890123456789012345678901234567890123.example`)},
		{"a cluster provider", spec(`providerRef: {kind: ClusterDNSProvider, name: cloudflare}`)},
		{"dkim as it comes", spec(`dkim: {}`)},
		{"both algorithms", spec(`dkim: {keys: [{algorithm: RSA, bits: 3072}, {algorithm: Ed25519}]}`)},
		{"RSA of 4096 bits", spec(`dkim: {keys: [{algorithm: RSA, bits: 4096}]}`)},
		{"a prefix", spec(`dkim: {selectors: {prefix: mail-}}`)},
		{"a ring", spec(`dkim: {selectors: {ring: [mdo1, mdo2, mdo3]}}`)},
		{"signing formats", spec(`dkim: {signingFormats: [OpenDKIM, Rspamd], signingSecretName: mail-signing}`)},
		{"signers", spec(`dkim: {signers: {podSelector: {matchLabels: {app.kubernetes.io/name: postfix}, matchExpressions: [{key: tier, operator: In, values: [edge]}]}}}`)},
		{"every pod as a signer", spec(`dkim: {signers: {podSelector: {}}}`)},
		{"senders", spec(`dkim: {senders: {logins: [alice, bob@example.org], networks: [192.0.2.0/24, "2001:db8::/32"]}}`)},
		{"sub-domains", spec(`dkim: {signSubdomains: true}, dmarc: {policy: None, dkimAlignment: Relaxed}`)},
		{"revoked selectors", spec(`dkim: {revokedSelectors: [m20260801r]}`)},
		{"a schedule and its time zone", spec(`dkim: {rotation: {schedule: "0 4 1 */3 *", timeZone: America/Argentina/Buenos_Aires}}`)},
		{"a schedule with names, lists and ranges", spec(`dkim: {rotation: {schedule: "0,30 4-6/2 1,15 JAN-mar,10 MON-fri"}}`)},
		{"an interval", spec(`dkim: {rotation: {interval: 2160h}}`)},
		{"an interval as Go prints it", spec(`dkim: {rotation: {interval: 2160h0m0s}}`)},
		{"overlap and tombstone at their floors", spec(`dkim: {rotation: {overlap: 120h, tombstone: 48h}}`)},
		{"short times where they are allowed", spec(`dkim: {rotation: {allowShortOverlap: true, overlap: 1s, tombstone: 500ms, interval: 1.5s}}`)},
		{"every mechanism", spec(`spf: {mechanisms: [a, mx, "a:mail.example.org", "a/24", "a//64", "a/24//64", "mx:example.net/24//64", "ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip6:2001:db8::1", "IP6:2001:db8::/32", "include:_spf.example.net", "exists:%{i}._spf.example.org", "?include:%{ir}.%{v}.arpa", "~a"], all: Fail}`)},
		{"SPF that lets nobody send", spec(`spf: {all: Fail}`)},
		{"HELO names", spec(`spf: {heloNames: [mail.example.org, mx1.example.net]}`)},
		{"a policy alone", spec(`dmarc: {policy: None}`)},
		{"every field of DMARC", spec(`dmarc: {policy: Reject, subdomainPolicy: Quarantine, nonexistentSubdomainPolicy: Reject, testing: true, dkimAlignment: Strict, spfAlignment: Relaxed, aggregateReportsTo: ["mailto:dmarc@example.org", "https://reports.example.net/dmarc?d=example.org"], failureReportsTo: ["mailto:a%21b@example.org"], failureOptions: ["1", d, s], ownNetworks: ["192.0.2.0/24"], rollout: {mode: Automatic, minimumStage: 720h, listUsers: false}}`)},
		{"a rollout as it comes", spec(`dmarc: {policy: Reject, rollout: {}}`)},
		{"parked", spec(`parked: {}`)},
		{"parked with all", spec(`parked: {nullMX: true, aggregateReportsTo: ["mailto:dmarc@example.net"]}`)},
		{"all policies", spec(`adoptionPolicy: Identical, deletionPolicy: Delete, suspend: true`)},
	})
}

func TestAMailDomainIsRefusedWith(t *testing.T) {
	const (
		noDomain    = "not a mail domain: write labels of letters, digits and inner hyphens"
		noSelector  = "a selector is one DNS label: write lower-case letters"
		noSchedule  = "not a schedule: write five fields"
		noMechanism = "not an SPF mechanism: write one of a, a:host, mx"
		noReport    = "a report address is a URI: write mailto:dmarc@example.org or https://example.org/dmarc"
		noNetwork   = "write a network as address/prefix length, such as 192.0.2.0/24"
		noDuration  = "write a duration in hours, minutes and seconds, such as 336h (14 days)"
		noTimeZone  = "not a time zone: write a name of the IANA database"
	)
	cases := []refusal{
		{"no domain", spec(`domain: null`), "spec.domain: Required value"},
		{"an empty domain", spec(`domain: ""`), "a single label is not a mail domain: write the whole name, such as example.org"},
		{"a single label", spec(`domain: localhost`), "a single label is not a mail domain: write the whole name, such as example.org"},
		{"an IPv4 address", spec(`domain: 192.0.2.1`), "this is an IP address, not a mail domain"},
		{"an address literal", spec(`domain: "[192.0.2.1]"`), noDomain},
		{"a final dot", spec(`domain: example.org.`), noDomain},
		{"an empty label", spec(`domain: example..org`), noDomain},
		{"an underscore", spec(`domain: _dmarc.example.org`), noDomain},
		{"a wildcard", spec(`domain: "*.example.org"`), noDomain},
		{"an address", spec(`domain: me@example.org`), noDomain},
		{"a URL", spec(`domain: https://example.org`), noDomain},
		{"a space", spec(`domain: "example. org"`), noDomain},
		{"a hyphen in front", spec(`domain: -example.org`), noDomain},
		{"a numeric top level", spec(`domain: example.123`), noDomain},
		{"a full-width dot", spec(`domain: bücher。example.org`), noDomain},
		{"a label of 64", spec(`domain: a234567890123456789012345678901234567890123456789012345678901234.example`), noDomain},
		{"no provider", spec(`providerRef: null`), "spec.providerRef: Required value"},
		{"a provider without a name", spec(`providerRef: {name: null}`), "spec.providerRef.name: Required value"},
		{"a provider of another kind", spec(`providerRef: {kind: Secret}`), `supported values: "DNSProvider", "ClusterDNSProvider"`},
		{"a provider's name with a slash", spec(`providerRef: {name: mail/dns}`), "not the name of an object: write lower-case letters"},
		{"a name that is too long", "metadata: {name: " + long(201) + "}", "write a metadata.name of 200 characters or less"},

		{"no RSA key", spec(`dkim: {keys: [{algorithm: Ed25519}]}`), "an RSA key is needed: several large receivers fail mail that is signed with Ed25519 only"},
		{"two keys of an algorithm", spec(`dkim: {keys: [{algorithm: RSA, bits: 2048}, {algorithm: RSA, bits: 4096}]}`), "Duplicate value"},
		{"an unknown algorithm", spec(`dkim: {keys: [{algorithm: RSA}, {algorithm: DSA}]}`), `supported values: "RSA", "Ed25519"`},
		{"RSA of 1024 bits", spec(`dkim: {keys: [{algorithm: RSA, bits: 1024}]}`), "write 2048, 3072 or 4096: smaller RSA keys are not trusted any more"},
		{"RSA of an odd size", spec(`dkim: {keys: [{algorithm: RSA, bits: 2049}]}`), "write 2048, 3072 or 4096"},
		{"Ed25519 with bits", spec(`dkim: {keys: [{algorithm: RSA}, {algorithm: Ed25519, bits: 2048}]}`), "Ed25519 keys have one size: leave bits out"},
		{"prefix and ring", spec(`dkim: {selectors: {prefix: m, ring: [a, b, c]}}`), "write either prefix (new names, with the date) or ring"},
		{"a prefix with a dot", spec(`dkim: {selectors: {prefix: m.x}}`), "a prefix is the beginning of a DNS label"},
		{"a ring of two", spec(`dkim: {selectors: {ring: [a, b]}}`), "a ring needs three selectors or more"},
		{"a ring with one selector twice", spec(`dkim: {selectors: {ring: [a, b, a]}}`), "a selector stands twice in the ring"},
		{"a ring with a name that is no label", spec(`dkim: {selectors: {ring: [a, b, c.d]}}`), noSelector},
		{"an unknown signing format", spec(`dkim: {signingFormats: [Exim]}`), `supported values: "OpenDKIM", "Rspamd"`},
		{"signers without a selector", spec(`dkim: {signers: {}}`), "podSelector: Required value"},
		{"a label selector that is none", spec(`dkim: {signers: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}`), "In and NotIn need values"},
		{"a label value that is none", spec(`dkim: {signers: {podSelector: {matchLabels: {a: "b c"}}}}`), "not the value of a label"},
		{"a label name that is none", spec(`dkim: {signers: {podSelector: {matchExpressions: [{key: "a b", operator: Exists}]}}}`), "not the name of a label"},
		{"an address as a network", spec(`dkim: {senders: {networks: [192.0.2.1]}}`), noNetwork},
		{"a name as a network", spec(`dkim: {senders: {networks: [mail.example.org]}}`), noNetwork},
		{"a prefix length that is none", spec(`dkim: {senders: {networks: [192.0.2.0/33]}}`), noNetwork},
		{"an empty login", spec(`dkim: {senders: {logins: [""]}}`), "logins[0]"},
		{"sub-domains under strict alignment", spec(`dkim: {signSubdomains: true}, dmarc: {policy: None, dkimAlignment: Strict}`), "remove dkim.signSubdomains and write a MailDomain for each sub-domain that sends"},
		{"a revoked selector with its domain", spec(`dkim: {revokedSelectors: [m1._domainkey.example.org]}`), noSelector},
		{"a revoked selector in capitals", spec(`dkim: {revokedSelectors: [M1]}`), noSelector},

		{"a word as a schedule", spec(`dkim: {rotation: {schedule: quarterly}}`), noSchedule},
		{"six fields", spec(`dkim: {rotation: {schedule: "0 0 4 1 * *"}}`), noSchedule},
		{"minute 60", spec(`dkim: {rotation: {schedule: "60 4 1 * *"}}`), noSchedule},
		{"month 13", spec(`dkim: {rotation: {schedule: "0 4 1 13 *"}}`), noSchedule},
		{"a time zone inside the schedule", spec(`dkim: {rotation: {schedule: "TZ=UTC 0 4 1 * *"}}`), noSchedule},
		{"a schedule by name", spec(`dkim: {rotation: {schedule: "@monthly"}}`), noSchedule},
		{"step 0", spec(`dkim: {rotation: {schedule: "*/0 4 1 * *"}}`), noSchedule},
		{"@every", spec(`dkim: {rotation: {schedule: "@every 2160h"}}`), noSchedule},
		{"schedule and interval", spec(`dkim: {rotation: {schedule: "0 4 1 * *", interval: 720h}}`), "write either schedule (at these times) or interval"},
		{"a time zone without a schedule", spec(`dkim: {rotation: {timeZone: UTC}}`), "timeZone says how to read schedule: add a schedule"},
		{"a time zone that is none", spec(`dkim: {rotation: {schedule: "0 4 1 * *", timeZone: "+02:00"}}`), noTimeZone},
		{"the local time zone", spec(`dkim: {rotation: {schedule: "0 4 1 * *", timeZone: Local}}`), noTimeZone},
		{"an interval in days", spec(`dkim: {rotation: {interval: 90d}}`), noDuration},
		{"an interval below a day", spec(`dkim: {rotation: {interval: 1h}}`), "interval must be 24h or longer"},
		{"no interval at all", spec(`dkim: {rotation: {allowShortOverlap: true, interval: 0s}}`), "interval must be 24h or longer"},
		{"a short overlap", spec(`dkim: {rotation: {overlap: 119h59m59s}}`), "overlap must be 120h (5 days) or longer"},
		{"a negative overlap", spec(`dkim: {rotation: {overlap: -336h}}`), noDuration},
		{"a short tombstone", spec(`dkim: {rotation: {tombstone: 47h}}`), "tombstone must be 48h or longer"},
		{"a duration that no clock can hold", spec(`dkim: {rotation: {overlap: 9999999h}}`), noDuration},
		{"an empty duration", spec(`dkim: {rotation: {interval: ""}}`), noDuration},

		{"ptr", spec(`spf: {mechanisms: [mx, ptr]}`), "ptr must not be used (RFC 7208 section 5.5): write the networks with ip4: or ip6:"},
		{"ptr of a domain", spec(`spf: {mechanisms: ["?ptr:example.org"]}`), "ptr must not be used"},
		{"+all", spec(`spf: {mechanisms: [mx, "+all"]}`), "leave all out of the mechanisms: it comes last and is written as spf.all"},
		{"-all among the mechanisms", spec(`spf: {mechanisms: ["-ALL"]}`), "leave all out of the mechanisms"},
		{"Pass for all", spec(`spf: {all: Pass}`), `supported values: "Fail", "SoftFail", "Neutral"`},
		{"redirect", spec(`spf: {mechanisms: ["redirect=_spf.example.net"]}`), "in place of redirect=example.net write include:example.net"},
		{"a whole record", spec(`spf: {mechanisms: ["v=spf1 mx ~all"]}`), "a full record (v=spf1 ...) is written as its single mechanisms"},
		{"an unknown mechanism", spec(`spf: {mechanisms: ["ipv4:192.0.2.1"]}`), noMechanism},
		{"two mechanisms in one item", spec(`spf: {mechanisms: ["mx a"]}`), noMechanism},
		{"an IPv4 prefix of 0", spec(`spf: {mechanisms: ["ip4:0.0.0.0/0"]}`), "a prefix length of 0 lets every address send as this domain"},
		{"an IPv6 prefix of 0", spec(`spf: {mechanisms: ["a:example.org/24//0"]}`), "a prefix length of 0 lets every address send as this domain"},
		{"an IPv4 prefix of 33", spec(`spf: {mechanisms: ["mx/33"]}`), noMechanism},
		{"include without a domain", spec(`spf: {mechanisms: [include]}`), noMechanism},
		{"an IPv6 address in ip4", spec(`spf: {mechanisms: ["ip4:2001:db8::1"]}`), "ip4: takes an IPv4 address or network: write ip4:192.0.2.1"},
		{"a broken address in ip4", spec(`spf: {mechanisms: ["ip4:192.0.2.256"]}`), "ip4: takes an IPv4 address"},
		{"an IPv4 address in ip6", spec(`spf: {mechanisms: ["ip6:192.0.2.1"]}`), "ip6: takes an IPv6 address or network"},
		{"a HELO name of one label", spec(`spf: {heloNames: [mail]}`), "a single label is not a mail domain"},

		{"DMARC without a policy", spec(`dmarc: {}`), "spec.dmarc.policy: Required value"},
		{"a policy in small letters", spec(`dmarc: {policy: reject}`), `supported values: "None", "Quarantine", "Reject"`},
		{"a bare report address", spec(`dmarc: {policy: None, aggregateReportsTo: [dmarc@example.org]}`), noReport},
		{"a report address over http", spec(`dmarc: {policy: None, aggregateReportsTo: ["http://example.org/"]}`), noReport},
		{"a report address without a host", spec(`dmarc: {policy: None, aggregateReportsTo: ["https:///x"]}`), noReport},
		{"a report address with a password", spec(`dmarc: {policy: None, aggregateReportsTo: ["https://a:b@example.org/"]}`), noReport},
		{"two report addresses in one item", spec(`dmarc: {policy: None, failureReportsTo: ["mailto:a@example.org,mailto:b@example.org"]}`), noReport},
		{"a size limit after the address", spec(`dmarc: {policy: None, aggregateReportsTo: ["mailto:a@example.org!10m"]}`), "a size limit after the address (!10m) is not part of DMARC any more"},
		{"an unknown failure option", spec(`dmarc: {policy: None, failureOptions: [x]}`), `supported values: "0", "1", "d", "s"`},
		{"failure options 0 and 1", spec(`dmarc: {policy: None, failureOptions: ["0", "1"]}`), "0 (if everything fails) and 1 (if anything fails) exclude each other"},
		{"an address as an own network", spec(`dmarc: {policy: None, ownNetworks: [192.0.2.1]}`), noNetwork},
		{"a stage of a week", spec(`dmarc: {policy: None, rollout: {minimumStage: 168h}}`), "minimumStage must be 720h (30 days) or longer"},
		{"an unknown adoption policy", spec(`adoptionPolicy: Sometimes`), `supported values: "Never", "Identical", "Always"`},
		{"an unknown deletion policy", spec(`deletionPolicy: Orphan`), `supported values: "Retain", "Delete"`},
		{"a parked report address that is none", spec(`parked: {aggregateReportsTo: [dmarc]}`), noReport},
	}
	for _, other := range []string{`dkim: {}`, `spf: {}`, `dmarc: {policy: None}`} {
		cases = append(cases, refusal{"parked and " + other, spec(`parked: {}, ` + other), "parked means that the domain sends no mail: remove dkim, spf and dmarc, or remove parked"})
	}
	mustRefuseNew(t, mailDomain, cases)
}

func TestAChangeOfAMailDomain(t *testing.T) {
	checkChanges(t, mailDomain, []change{
		{name: "of the domain is refused", after: spec(`domain: example.net`), want: "domain cannot be changed: delete this MailDomain and write a new one"},
		{name: "of the domain's letters is refused", after: spec(`domain: EXAMPLE.org`), want: "domain cannot be changed"},
		{name: "of the provider is accepted", after: spec(`providerRef: {kind: ClusterDNSProvider, name: other}`)},
		{name: "that takes dkim away is accepted", before: spec(`dkim: {}`), after: spec(`dkim: null`)},
		{name: "of a key's size is accepted", before: spec(`dkim: {keys: [{algorithm: RSA}]}`), after: spec(`dkim: {keys: [{algorithm: RSA, bits: 4096}]}`)},
		{name: "from a schedule to an interval is accepted", before: spec(`dkim: {rotation: {schedule: "0 4 1 * *"}}`), after: spec(`dkim: {rotation: {schedule: null, interval: 720h}}`)},
		{name: "to parked is accepted", before: spec(`spf: {}`), after: spec(`spf: null, parked: {}`)},
	})
}

func long(n int) string { return fmt.Sprintf("a%0*d", n-1, 0) }
