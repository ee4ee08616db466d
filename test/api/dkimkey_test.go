// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import "testing"

const dkimKey = `
apiVersion: maildomain.dev/v1alpha1
kind: DKIMKey
metadata: {name: example-org-m20260801r, namespace: default}
spec:
  domain: example.org
  selector: m20260801r
  algorithm: RSA
  providerRef: {name: dns}
`

func TestADKIMKeyIsAcceptedWith(t *testing.T) {
	mustAcceptNew(t, dkimKey, []acceptance{
		{"what is needed alone", `{}`},
		{"3072 bits", spec(`bits: 3072`)},
		{"Ed25519", spec(`algorithm: Ed25519`)},
		{"a key that signs already, of 1024 bits", spec(`bits: 1024, privateKeySecretName: old-key`)},
		{"a key that signs already, of whatever size", spec(`privateKeySecretName: old-key`)},
		{"a selector of one letter", spec(`selector: k`)},
		{"an intent", spec(`intent: Signing`)},
		{"a revocation", spec(`revoked: true`)},
	})
}

func TestADKIMKeyIsRefusedWith(t *testing.T) {
	const (
		noSelector = "a selector is one DNS label: write lower-case letters"
		noBits     = "write bits: 2048, 3072 or 4096; 1024 only together with privateKeySecretName"
	)
	mustRefuseNew(t, dkimKey, []refusal{
		{"no domain", spec(`domain: null`), "spec.domain: Required value"},
		{"a domain of one label", spec(`domain: org`), "a single label is not a mail domain"},
		{"an IPv6 address", spec(`domain: "2001:db8::1"`), "this is an IP address"},
		{"no selector", spec(`selector: ""`), noSelector},
		{"a selector with _domainkey", spec(`selector: m1._domainkey`), noSelector},
		{"a selector with an underscore", spec(`selector: m_1`), noSelector},
		{"a selector in capitals", spec(`selector: M1`), noSelector},
		{"a selector that ends in a hyphen", spec(`selector: m1-`), noSelector},
		{"a selector of 64", spec(`selector: ` + long(64)), "Too long: may not be more than 63"},
		{"an unknown algorithm", spec(`algorithm: ECDSA`), `supported values: "RSA", "Ed25519"`},
		{"1024 bits without a Secret", spec(`bits: 1024`), noBits},
		{"512 bits", spec(`bits: 512, privateKeySecretName: old-key`), noBits},
		{"no bits", spec(`bits: 0`), noBits},
		{"Ed25519 with bits", spec(`algorithm: Ed25519, bits: 2048`), "Ed25519 keys have one size: leave bits out"},
		{"no provider", spec(`providerRef: null`), "spec.providerRef: Required value"},
		{"a Secret's name with a space", spec(`privateKeySecretName: "old key"`), "not the name of an object"},
		{"an unknown intent", spec(`intent: Revoked`), `supported values: "Standby", "Signing", "Retired"`},
	})
}

func TestAChangeOfADKIMKey(t *testing.T) {
	const (
		forward = "spec.intent only goes forward: Standby, Signing, Retired"
		bits    = "bits cannot be changed, set later or removed"
		revoked = "a revoked key stays revoked"
	)
	checkChanges(t, dkimKey, []change{
		{name: "of the domain is refused", after: spec(`domain: example.net`), want: "domain cannot be changed: a key belongs to one domain for ever"},
		{name: "of the selector is refused", after: spec(`selector: m2`), want: "selector cannot be changed: a key stays under its selector for ever"},
		{name: "of the algorithm is refused", after: spec(`algorithm: Ed25519`), want: "algorithm cannot be changed"},
		{name: "of bits is refused", before: spec(`bits: 2048`), after: spec(`bits: 4096`), want: bits},
		{name: "that sets bits later is refused", after: spec(`bits: 2048`), want: bits},
		{name: "that removes bits is refused", before: spec(`bits: 2048`), after: spec(`bits: null`), want: bits},
		{name: "of the provider is accepted", after: spec(`providerRef: {kind: ClusterDNSProvider, name: other}`)},
		{name: "that leaves a short key without its Secret is refused", before: spec(`bits: 1024, privateKeySecretName: old`), after: spec(`privateKeySecretName: null`), want: "1024 only together with privateKeySecretName"},
		{name: "to Signing is accepted", before: spec(`intent: Standby`), after: spec(`intent: Signing`)},
		{name: "from no intent to Signing is accepted", after: spec(`intent: Signing`)},
		{name: "from Signing to Retired is accepted", before: spec(`intent: Signing`), after: spec(`intent: Retired`)},
		{name: "from Standby to Retired is accepted", before: spec(`intent: Standby`), after: spec(`intent: Retired`)},
		{name: "from Signing back to Standby is refused", before: spec(`intent: Signing`), after: spec(`intent: Standby`), want: forward},
		{name: "from Retired back to Standby is refused", before: spec(`intent: Retired`), status: `status: {phase: Retiring}`, after: spec(`intent: Standby`), want: forward},
		{name: "from Retired back to Signing is refused", before: spec(`intent: Retired`), after: spec(`intent: Signing`), want: forward},
		{name: "from Retired back to Signing is refused once the record is emptied", before: spec(`intent: Retired`), status: `status: {phase: Revoked}`, after: spec(`intent: Signing`), want: forward},
		{name: "from Retired back to Signing is accepted while the record stands unchanged", before: spec(`intent: Retired`), status: `status: {phase: Retiring}`, after: spec(`intent: Signing`)},
		{name: "that removes the intent is refused", before: spec(`intent: Retired`), after: spec(`intent: null`), want: "spec.intent belongs to the MailDomain and cannot be removed"},
		{name: "that revokes is accepted", after: spec(`revoked: true`)},
		{name: "that un-revokes is refused", before: spec(`revoked: true`), after: spec(`revoked: false`), want: revoked},
		{name: "that forgets a revocation is refused", before: spec(`revoked: true`), after: spec(`revoked: null`), want: revoked},
		{name: "of the intent of a revoked key is accepted", before: spec(`revoked: true, intent: Signing`), after: spec(`intent: Retired`)},
	})
}
