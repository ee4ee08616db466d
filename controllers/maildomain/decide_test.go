// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// signable is a domain that asks for DKIM, whose signing Secret holds this besides.
func signable(others map[string][]byte) observation {
	return observation{
		name:   "example.org",
		domain: &v1alpha1.MailDomain{Spec: v1alpha1.MailDomainSpec{DKIM: &v1alpha1.DKIM{}}},
		secret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{v1alpha1.SecretFinalizer}}, Data: others},
	}
}

func TestADomainThatHasSignedIsRequiredUntilDKIMLeavesTheSpec(t *testing.T) {
	since := metav1.Now()
	for name, c := range map[string]struct {
		change   func(*observation)
		required bool
	}{
		"it has never signed": {func(*observation) {}, false},
		"signers require it":  {func(o *observation) { o.signing.Required = true }, true},
		"one of its keys signed": {func(o *observation) {
			o.keys = []v1alpha1.DKIMKey{{Status: v1alpha1.DKIMKeyStatus{SigningSinceTime: &since}}}
		}, true},
	} {
		seen := signable(nil)
		c.change(&seen)
		if got, err := signingDomain(seen, nil); err != nil || got.Required != c.required {
			t.Errorf("%s: required %v, want %v (%v)", name, got.Required, c.required, err)
		}
	}
	var d decision
	seen := signable(map[string][]byte{keydir.DocumentName("example.org"): []byte("{}")})
	seen.domain.Spec.DKIM = nil
	if d.signingSecret(seen, nil); d.signing == nil || len(d.signing.data) != 0 {
		t.Errorf("without dkim the Secret gets %+v", d.signing)
	}
}

func TestSignersAreToldWhoMaySendAsWhat(t *testing.T) {
	seen := signable(nil)
	seen.domain.Spec.DKIM.SignSubdomains = true
	seen.domain.Spec.DKIM.Senders = &v1alpha1.Senders{Logins: []string{"alice"}, Networks: []v1alpha1.Network{"192.0.2.0/24"}}
	var d decision
	if d.signingSecret(seen, nil); d.signing == nil {
		t.Fatalf("%+v", d.findings)
	}
	got, err := keydir.Decode(d.signing.data, "example.org")
	want := keydir.Domain{
		Domain: "example.org", Subdomains: true,
		Senders: &keydir.Senders{Logins: []string{"alice"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
		t.Errorf("%v want (-), got (+):\n%s", err, diff)
	}
}

func TestASigningSecretThatIsFullTakesNoMore(t *testing.T) {
	for size, fits := range map[int]bool{refuseSize / 2: true, refuseSize: false} {
		var d decision
		d.signingSecret(signable(map[string][]byte{"example.net.json": []byte(strings.Repeat("x", size))}), nil)
		if (d.signing != nil) != fits || (len(d.findings) == 0) != fits {
			t.Errorf("with %d octets of others: %+v, %+v", size, d.signing, d.findings)
		}
	}
}
