// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"fmt"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
)

// The zone, which is the domain, too, and the namespace of the manager that dies between two writes.
const (
	cutOff          = "cutoff.example"
	cutOffNamespace = "cutoff"
)

// TestAManagerThatDiesBetweenDNSAndStatusFindsItsOwnAgain: the SPF record of a
// domain is long done when the manager writes the marker for its new keys, and
// dies before any status tells of that. The next one must not take the marker,
// which is newer than what all objects remember, for that of a stranger.
func TestAManagerThatDiesBetweenDNSAndStatusFindsItsOwnAgain(t *testing.T) {
	e := get(t)
	if err := e.Provider(t.Context(), cutOffNamespace, "bind", bind.Primary, e.DNS.Secret); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: cutoff, namespace: %s}
spec:
  domain: %s
  providerRef: {name: bind}
  spf: {mechanisms: [mx]}
`, cutOffNamespace, cutOff)
	e.kubectlApply(t, manifest)
	e.mailDomain(t, cutOffNamespace, "cutoff", "Ready", ready)

	e.kubectlApply(t, manifest+"  dkim: {signingSecretName: cutoff-signing}\n")
	if e.afterWrite(t, []string{cutOff}, patience, 0) == 0 {
		t.Fatal("BIND was never asked to write the key's record")
	}
	e.tell(t, "BIND took a write; $ kill -9 %d", e.Manager.PID())
	e.Manager.Kill()
	if err := e.StartManager(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := e.mailDomain(t, cutOffNamespace, "cutoff", "Ready and signing", func(d *v1alpha1.MailDomain) bool {
		return ready(d) && signs(d, v1alpha1.AlgorithmRSA) && atRest(d)
	})
	e.tell(t, "%s", describe(d))
}
