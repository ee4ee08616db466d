// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// domainsShared is how many MailDomains share a signing Secret. 300 take minutes, most of them for 600 RSA keys.
func domainsShared() int {
	if testing.Short() {
		return 40
	}
	return 300
}

func TestManyDomainsShareOneSigningSecret(t *testing.T) {
	t.Parallel()
	manyDomains := domainsShared()
	b := newBench(t, "mail.example")
	writes := b.countEveryWrite()
	b.provider("dns", func(p *v1alpha1.DNSProvider) { p.Spec.Zones = []v1alpha1.ZoneName{"mail.example"} })
	began := time.Now() //nolint:forbidigo // to be told, not to be judged
	domains := make([]*v1alpha1.MailDomain, manyDomains)
	for i := range domains {
		domains[i] = b.domain(fmt.Sprintf("d%03d.mail.example", i), signsIntoShared, deleting)
	}
	b.awaitAll(manyDomains, v1alpha1.PhaseSigning)
	signing := time.Since(began) //nolint:forbidigo // as above
	b.awaitAll(manyDomains, v1alpha1.PhaseStandby)
	spares := time.Since(began) //nolint:forbidigo // as above
	t.Logf("%d domains: all sign after %s, all have a spare after %s; API writes %v; %d updates and %d reads at the provider",
		manyDomains, signing.Round(time.Second), spares.Round(time.Second), writes.byKind(), b.primary().Updates(), b.primary().SignedQueries())
	if n := len(b.keys()); n != 2*manyDomains {
		t.Errorf("%d keys for %d domains: one signs and one is the spare", n, manyDomains)
	}

	secret := b.signingSecret(domains[0])
	t.Logf("the Secret: %d data keys, %d KiB of data, %d field managers", len(secret.Data), size(secret)>>10, len(secret.ManagedFields))
	for _, d := range domains {
		b.holdsItsOwn(secret, d)
	}
	if len(secret.Data) != 2*manyDomains {
		t.Errorf("%d data keys for %d domains", len(secret.Data), manyDomains)
	}

	leaver, before := domains[1], secret.Data
	writes.reset()
	b.delete(leaver)
	b.awaitGone(leaver)
	t.Logf("one leaves: API writes %v", writes.byKind())
	secret = b.signingSecret(domains[0])
	maps.DeleteFunc(before, func(name string, _ []byte) bool { return strings.HasPrefix(name, leaver.Spec.Domain+".") })
	if !maps.EqualFunc(secret.Data, before, equalBytes) {
		t.Error("when one left, the files of others changed")
	}
	if managers := managersOf(secret); slices.Contains(managers, "maildomain-operator/"+leaver.Spec.Domain) || len(managers) != manyDomains-1 {
		t.Errorf("%d field managers for %d domains; the leaver's is among them: %v", len(managers), manyDomains-1,
			slices.Contains(managers, "maildomain-operator/"+leaver.Spec.Domain))
	}
	// Whoever was not concerned was not written.
	for _, call := range writes.seen() {
		if !strings.Contains(call, leaver.Name) && !strings.HasSuffix(call, "/secrets/mail-signing") && !strings.Contains(call, "/events") && !strings.Contains(call, "/leases") {
			t.Errorf("when one left: %s", call)
		}
	}
}

// awaitAll waits until n domains have a key in the phase.
func (b *bench) awaitAll(n int, phase v1alpha1.KeyPhase) {
	b.Helper()
	deadline := time.After(10 * time.Minute)
	for {
		var list v1alpha1.MailDomainList
		if err := b.List(b.Context(), &list, client.InNamespace(b.namespace)); err != nil {
			b.Fatal(err)
		}
		is := 0
		for _, d := range list.Items {
			ready := meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady)
			if ready && slices.ContainsFunc(d.Status.Keys, func(k v1alpha1.KeyStatus) bool { return k.Phase == phase }) {
				is++
			}
		}
		if is == n {
			return
		}
		select {
		case <-deadline:
			b.Fatalf("%d of %d domains are Ready with a key that is %s", is, n, phase)
		case <-time.After(time.Second):
		}
	}
}

// holdsItsOwn makes sure that the Secret holds exactly the key that the domain's own record proves.
func (b *bench) holdsItsOwn(secret *corev1.Secret, d *v1alpha1.MailDomain) {
	b.Helper()
	domain, err := keydir.Decode(secret.Data, dnsrecord.Name(d.Spec.Domain))
	if err != nil || len(domain.Keys) != 1 || !domain.Required {
		b.Errorf("%s: %+v (%v)", d.Spec.Domain, domain, err)
		return
	}
	key := domain.Keys[0]
	if got := b.txt(key.Selector + "._domainkey." + d.Spec.Domain); !slices.Equal(got, []string{key.Pair.Record().String()}) {
		b.Errorf("%s signs with %s, whose record is %q", d.Spec.Domain, key.Selector, got)
	}
}

func TestASigningSecretThatGrowsTooLargeIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	secret := &corev1.Secret{}
	first := b.domain("example.org", signsIntoShared)
	b.awaitReady(first)
	fill := func(kib int) {
		secret.Name, secret.Namespace = "mail-signing", b.namespace
		edit(b, secret, func(s *corev1.Secret) { s.Data["somebody-elses.bin"] = make([]byte, kib<<10) })
	}
	fill(720)
	edit(b, first, func(d *v1alpha1.MailDomain) { d.Spec.DMARC.Policy = v1alpha1.DMARCQuarantine })
	b.awaitReady(first)
	b.says(first, v1alpha1.ConditionSigningSecretLarge, "True", v1alpha1.ReasonNearSizeLimit, "mail-signing", "700 KiB")

	fill(898)
	second := b.domain("sub.example.org", signsIntoShared)
	c := b.awaitCondition(second, v1alpha1.ConditionKeysReady, "False", v1alpha1.ReasonSigningSecretTooLarge)
	if !holds(c.Message, "mail-signing", "900 KiB", "spec.dkim.signingSecretName") {
		t.Error(c.Message)
	}
	b.holdsItsOwn(b.signingSecret(first), first)

	fill(1)
	edit(b, second, func(d *v1alpha1.MailDomain) { d.Spec.DMARC.Policy = v1alpha1.DMARCQuarantine })
	b.awaitReady(second)
	b.awaitReady(first)
	b.holdsItsOwn(b.signingSecret(second), second)
}

func size(secret *corev1.Secret) int {
	total := 0
	for name, content := range secret.Data {
		total += len(name) + len(content)
	}
	return total
}

func managersOf(secret *corev1.Secret) []string {
	var managers []string
	for _, m := range secret.ManagedFields {
		managers = append(managers, m.Manager)
	}
	return managers
}
