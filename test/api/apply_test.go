// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apply applies a manifest as one manager, without force: a conflict is an error.
func apply(t *testing.T, c client.Client, manager, manifest string) error {
	t.Helper()
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object(t, manifest)), client.FieldOwner(manager))
}

func applyStatus(t *testing.T, c client.Client, manager, manifest string) error {
	t.Helper()
	return c.Status().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object(t, manifest)), client.FieldOwner(manager))
}

func get(t *testing.T, c client.Client, manifest string) *unstructured.Unstructured {
	t.Helper()
	got := object(t, manifest)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
		t.Fatal(err)
	}
	return got
}

func expect(t *testing.T, got *unstructured.Unstructured, want string, path ...string) {
	t.Helper()
	value, _, err := unstructured.NestedString(got.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	if value != want {
		t.Errorf("%v is %q, want %q", path, value, want)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const appliedDomain = `
apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: applied, namespace: default}
`

func TestGitTheOperatorAndTheReportsServiceApplyOneMailDomainWithoutConflict(t *testing.T) {
	c := newClient(t)
	deleteAfter(t, c, object(t, appliedDomain))
	fromGit := appliedDomain + `
spec:
  domain: applied.example
  providerRef: {name: dns}
  dkim: {keys: [{algorithm: RSA}]}
  dmarc: {policy: Reject, aggregateReportsTo: ["mailto:a@applied.example"]}
`
	fromOperator := appliedDomain + `
status:
  zone: applied.example
  conditions: [{type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: "2026-11-23T16:00:00Z", observedGeneration: 1}]
  dmarc: {published: None, goal: Reject}
  records: [{name: _dmarc.applied.example, purpose: DMARC, state: Verified, value: v=DMARC1; p=none}]
`
	fromReports := appliedDomain + `
status:
  dmarc: {evidence: {days: 30, reporters: 4, findings: [{class: OwnUnsigned, source: mail.applied.example, messages: 3}]}}
`
	for range 2 { // the second round changes nothing and must not conflict either
		noError(t, apply(t, c, "git", fromGit))
		noError(t, applyStatus(t, c, "maildomain-operator", fromOperator))
		noError(t, applyStatus(t, c, "maildomain-reports", fromReports))
	}
	got := get(t, c, appliedDomain)
	expect(t, got, "Reject", "spec", "dmarc", "policy")
	expect(t, got, "None", "status", "dmarc", "published")
	if days, _, _ := unstructured.NestedInt64(got.Object, "status", "dmarc", "evidence", "days"); days != 30 {
		t.Errorf("the operator's apply took the reports service's evidence away: days %d", days)
	}
	if got.GetGeneration() != 1 {
		t.Errorf("generation %d: a status write counts as a change of the spec", got.GetGeneration())
	}

	second := appliedDomain + `
status:
  dmarc: {published: Quarantine}
`
	if err := applyStatus(t, c, "somebody", second); !apierrors.IsConflict(err) {
		t.Errorf("a second writer of one field is not told: %v", err)
	}
}

func TestAKeyInGitKeepsTheIntentThatItsMailDomainApplies(t *testing.T) {
	c := newClient(t)
	head := `
apiVersion: maildomain.dev/v1alpha1
kind: DKIMKey
metadata: {name: applied, namespace: default}
`
	deleteAfter(t, c, object(t, head))
	fromGit := head + `spec: {domain: applied.example, selector: s1, algorithm: RSA, providerRef: {name: dns}, privateKeySecretName: old}`
	noError(t, apply(t, c, "git", fromGit))
	noError(t, apply(t, c, "maildomain-operator", head+`spec: {intent: Signing}`))
	noError(t, apply(t, c, "git", fromGit))
	expect(t, get(t, c, head), "Signing", "spec", "intent")
	noError(t, apply(t, c, "maildomain-operator", head+`spec: {intent: Retired}`))
	noError(t, apply(t, c, "git", fromGit))
	expect(t, get(t, c, head), "Retired", "spec", "intent")
}

func TestTwoAppliersAddEachAKeyToOneMailDomain(t *testing.T) {
	c := newClient(t)
	deleteAfter(t, c, object(t, appliedDomain))
	noError(t, apply(t, c, "git", appliedDomain+`spec: {domain: applied.example, providerRef: {name: dns}, dkim: {keys: [{algorithm: RSA}], revokedSelectors: [a]}}`))
	noError(t, apply(t, c, "person", appliedDomain+`spec: {dkim: {keys: [{algorithm: Ed25519}], revokedSelectors: [b]}}`))
	got := get(t, c, appliedDomain)
	for _, list := range []string{"keys", "revokedSelectors"} {
		if items, _, _ := unstructured.NestedFieldNoCopy(got.Object, "spec", "dkim", list); len(items.([]any)) != 2 {
			t.Errorf("%s: %v, want both appliers' items", list, items)
		}
	}
}
