// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// A domain is held by one MailDomain: the others are told, write nothing, and take over when it is gone.
func TestADomainIsHeldByOneMailDomain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	elsewhere := makeNamespace(t, b.Client)
	b.others = []string{elsewhere}
	b.restart(nothing)
	p := b.provider("dns")
	first := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Name = "acme" })
	b.settled(first)
	before := b.live(first)

	second := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Name, d.Spec.Domain = "second", "Example.ORG" // the same, spelt otherwise
		d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"}
	})
	tenant := b.inNamespace(elsewhere)
	tenant.provider("dns", func(o *v1alpha1.DNSProvider) { o.Spec = p.Spec })
	third := tenant.domain("example.org", func(d *v1alpha1.MailDomain) { d.Name = "third" })
	stray := tenant.key("example.org", "stray")
	for _, o := range []client.Object{second, third, stray} {
		b.awaitCondition(o, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed)
		b.says(o, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDomainClaimed, "example.org", "delete one of the two")
		b.awaitSaid(o, v1alpha1.ReasonDomainClaimed, "example.org", "delete one of the two")
	}
	b.says(second, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed, "acme", "in this namespace")
	for _, o := range []client.Object{third, stray} {
		message := meta.FindStatusCondition(conditionsOf(o), v1alpha1.ConditionReady).Message
		if strings.Contains(message, b.namespace) || strings.Contains(message, "acme") {
			t.Errorf("%s is told of what another tenant has: %s", o.GetName(), message)
		}
	}
	b.rounds()
	b.stillLive(first, before)
	for _, o := range []client.Object{second, third, stray} {
		b.once(o, v1alpha1.ReasonDomainClaimed)
	}
	for _, d := range []*v1alpha1.MailDomain{second, third} {
		if err := b.Get(b.Context(), client.ObjectKey{Namespace: d.Namespace, Name: d.SigningSecret()}, &corev1.Secret{}); err == nil {
			t.Errorf("%s has a signing Secret", d.Name)
		}
	}

	b.delete(second)
	b.awaitGone(second)
	b.delete(stray)
	b.delete(first) // Retain: its records stay, and are the next one's
	b.awaitGone(first)
	b.awaitReady(third)
}

// A ClusterDNSProvider serves the namespaces and domains that it is granted to.
func TestADomainThatIsNotGrantedIsNotPublished(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "sub.example.net", "notexample.net")
	label := "test/" + b.namespace
	shared := b.clusterProvider(label, "example.org", "*.example.net")
	use := func(d *v1alpha1.MailDomain) {
		d.Spec.ProviderRef = v1alpha1.ProviderRef{Kind: v1alpha1.ProviderKindClusterDNSProvider, Name: shared.Name}
	}
	granted, below, other := b.domain("example.org", use), b.domain("sub.example.net", use), b.domain("notexample.net", use)
	untouched := map[*v1alpha1.MailDomain]string{}
	for _, d := range []*v1alpha1.MailDomain{granted, below, other} {
		untouched[d] = b.world.Zone(d.Spec.Domain).Dump()
		b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProviderNotGranted)
		b.says(d, v1alpha1.ConditionProviderReady, metav1.ConditionFalse, v1alpha1.ReasonProviderNotGranted, shared.Name, d.Spec.Domain, b.namespace, "spec.grants")
		b.awaitSaid(d, v1alpha1.ReasonProviderNotGranted, "does not grant")
	}
	mark := func(value string) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}}
		edit(b, ns, func(ns *corev1.Namespace) {
			if ns.Labels == nil {
				ns.Labels = map[string]string{}
			}
			ns.Labels[label] = value
		})
	}
	mark("yes")
	b.settled(granted)
	b.settled(below)
	before := b.live(granted)

	mark("no") // the grant is taken back: what is live stays
	b.awaitCondition(granted, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProviderNotGranted)
	edit(b, granted, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	b.rounds()
	b.stillLive(granted, before)
	b.sameZone("notexample.net", untouched[other])
	b.once(other, v1alpha1.ReasonProviderNotGranted)

	edit(b, shared, func(p *v1alpha1.ClusterDNSProvider) { p.Spec.Grants = nil })
	mark("yes")
	b.rounds()
	b.says(other, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProviderNotGranted)
	b.stillLive(granted, before)
	edit(b, shared, func(p *v1alpha1.ClusterDNSProvider) {
		p.Spec.Grants = []v1alpha1.Grant{{Domains: []v1alpha1.GrantedDomain{"example.org", "*.example.net", "notexample.net"}}}
	})
	for _, d := range []*v1alpha1.MailDomain{granted, below, other} {
		b.awaitReady(d)
	}
}

// clusterProvider makes a ClusterDNSProvider for the test's primary, with a grant for namespaces that have a label.
func (b *bench) clusterProvider(label string, domains ...v1alpha1.GrantedDomain) *v1alpha1.ClusterDNSProvider {
	b.Helper()
	b.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "shared", Namespace: b.settings.Providers.OperatorNamespace},
		StringData: map[string]string{"tsig": tsigSecret},
	})
	shared := &v1alpha1.ClusterDNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: "shared-" + b.namespace},
		Spec: v1alpha1.ClusterDNSProviderSpec{DNSProviderSpec: *b.provider("own").Spec.DeepCopy(), Grants: []v1alpha1.Grant{{
			NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{label: "yes"}}, Domains: domains,
		}}},
	}
	shared.Spec.RFC2136.TSIG.SecretRef.Name = "shared"
	b.create(shared)
	return shared
}

// Anybody may say that a domain is theirs, and show it to themselves. Who was granted it takes it from one whose keys the
// world never saw, and from nobody else.
func TestASquatterMakesWayForWhoIsGrantedTheDomain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	elsewhere := makeNamespace(t, b.Client)
	b.others = []string{elsewhere}
	b.restart(nothing)
	tenant := b.inNamespace(elsewhere)
	own := startWorld(t, "op", "example.org") // that nobody delegates to
	at := fmt.Sprintf("127.0.0.3:%d", own.Port())
	tenant.provider("squat", func(p *v1alpha1.DNSProvider) {
		p.Spec.RFC2136.Server, p.Spec.Verification = at, &v1alpha1.Verification{Nameservers: []v1alpha1.Nameserver{at}}
	})
	squatter := tenant.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.ProviderRef.Name = "squat" })
	tenant.provider("dns")
	honest := tenant.domain("example.net")
	b.settled(squatter) // it sees what it shows to itself
	b.settled(honest)
	before := b.live(honest)

	shared := b.clusterProvider("test/"+b.namespace, "example.org", "example.net")
	edit(b, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}}, func(ns *corev1.Namespace) {
		ns.Labels = map[string]string{"test/" + b.namespace: "yes"}
	})
	use := func(d *v1alpha1.MailDomain) {
		d.Spec.ProviderRef = v1alpha1.ProviderRef{Kind: v1alpha1.ProviderKindClusterDNSProvider, Name: shared.Name}
	}
	granted, late := b.domain("example.org", use), b.domain("example.net", use)
	b.settled(granted)
	b.awaitCondition(squatter, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed)
	b.says(squatter, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed, "in another namespace")
	b.awaitCondition(late, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed)
	b.stillLive(honest, before)

	after, squats := b.live(granted), own.Zone("example.org").Dump()
	edit(b, squatter, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	b.restart(nothing) // whoever comes first now
	b.awaitReady(granted)
	b.rounds()
	b.awaitCondition(squatter, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed)
	b.once(squatter, v1alpha1.ReasonDomainClaimed)
	b.stillLive(granted, after)
	if now := own.Zone("example.org").Dump(); now != squats {
		t.Errorf("the squatter has gone on, from\n%s\nto\n%s", squats, now)
	}
}
