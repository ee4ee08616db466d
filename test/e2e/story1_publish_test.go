// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

// acme is the domain of the stories about mail.
const acme = "acme.example"

// foreign is what others keep in every zone: texts with every octet that is hard to copy, beside addresses.
var foreign = []string{
	`@ 7 TXT "site-verification=abc; \"quoted\" back\\slash" " and a second string "`,
	`@ 7 TXT "MS=ms12345678"`,
	`@ 7 TXT "\000\127\200\255" "` + strings.Repeat("x", 255) + `" ""`,
	`@ MX 10 mail`,
	`mail A 192.0.2.25`,
	`mail TXT "not ours either"`,
	`old._domainkey TXT "v=DKIM1; k=rsa; p="`,
	`www CNAME mail`,
}

// zones are all that the stories need.
func zones() []bind.Zone {
	names := slices.Concat([]string{acme, cutOff}, troubleZones(), stormZones())
	var all []bind.Zone
	for _, name := range names {
		all = append(all, bind.Zone{Name: name, Records: foreign})
	}
	return all
}

// acmeManifest asks for all that a domain can have.
const acmeManifest = `apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: acme, namespace: mail}
spec:
  domain: acme.example
  providerRef: {kind: DNSProvider, name: bind}
  dkim:
    keys:
    - {algorithm: RSA, bits: 2048}
    - {algorithm: Ed25519}
    signingSecretName: mail-signing
  spf:
    mechanisms: [mx, "ip4:192.0.2.0/24"]
    all: SoftFail
    heloNames: [mta.acme.example]
  dmarc:
    policy: Quarantine
    aggregateReportsTo: ["mailto:dmarc@acme.example"]
`

// acmeZone is the zone as it was before the operator first saw it.
var acmeZone struct {
	once   sync.Once
	before []string
}

// readyAcme returns the domain when it is Ready, both of its keys sign, and both of its spares stand by: nothing more is to be written then.
func readyAcme(t *testing.T) (*environment, *v1alpha1.MailDomain) {
	t.Helper()
	e := get(t)
	acmeZone.once.Do(func() {
		before, err := bind.Transfer(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		acmeZone.before = before
		e.kubectlApply(t, acmeManifest)
	})
	d := e.mailDomain(t, site.Namespace, "acme", "Ready and signing", func(d *v1alpha1.MailDomain) bool {
		return ready(d) && signs(d, v1alpha1.AlgorithmRSA, v1alpha1.AlgorithmEd25519) && atRest(d) && len(d.Status.Keys) == 4
	})
	e.tell(t, "$ kubectl -n mail describe maildomain acme\n%s", describe(d))
	return e, d
}

func TestAMailDomainIsPublishedByBINDAndNothingElseInItsZoneChanges(t *testing.T) {
	e, d := readyAcme(t)
	for _, record := range d.Status.Records {
		out, err := bind.Dig(t.Context(), bind.Primary, "+short", "TXT", record.Name)
		if err != nil {
			t.Fatal(err)
		}
		e.tell(t, "$ dig @%s +short TXT %s\n%s", bind.Primary, record.Name, out)
		if !slices.Contains(texts(out), record.Value) {
			t.Errorf("BIND answers for %s (%s) %q, and not %q", record.Name, record.Purpose, texts(out), record.Value)
		}
	}

	after, err := bind.Transfer(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	var kept, ours []string
	for _, line := range after {
		if slices.Contains(acmeZone.before, line) {
			kept = append(kept, line)
		} else {
			ours = append(ours, line)
		}
	}
	e.tell(t, "$ dig @%s AXFR %s   (new lines)\n%s", bind.Primary, acme, strings.Join(ours, "\n"))
	if diff := cmp.Diff(acmeZone.before, kept); diff != "" {
		t.Errorf("records of others changed (-before +after):\n%s", diff)
	}
	// Each new record is one that the status knows, or the marker.
	for _, line := range ours {
		fields := strings.Fields(line)
		name, text := strings.TrimSuffix(fields[0], "."), texts(strings.Join(fields[4:], " "))
		known := slices.ContainsFunc(d.Status.Records, func(r v1alpha1.RecordStatus) bool {
			return r.Name == name && len(text) == 1 && r.Value == text[0]
		})
		if fields[3] != "TXT" || (!known && name != "_maildomain."+acme) {
			t.Errorf("nobody accounts for %s", line)
		}
	}
}
