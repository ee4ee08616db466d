// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

func nothing(*world) {}

func bothAlgorithms(d *v1alpha1.DKIM) {
	d.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
}

func rsaAlone(d *v1alpha1.MailDomain) { d.Spec.DKIM.Keys = d.Spec.DKIM.Keys[:1] }

func longerKeys(d *v1alpha1.MailDomain) { d.Spec.DKIM.Keys[0].Bits = 3072 }

func inARing(d *v1alpha1.DKIM) {
	d.Selectors = &v1alpha1.Selectors{Ring: []v1alpha1.SelectorName{"one", "two", "three"}}
}

// holds has a person write that a provider has the zone of a site, and its controller find it ready.
func (w *world) holds(at site) {
	w.Helper()
	p := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: at.provider}}
	there := w.store.Get(w.Context(), client.ObjectKeyFromObject(p), p) == nil
	p.Spec = v1alpha1.DNSProviderSpec{
		Zones:        []string{at.apex.String()},
		Verification: &v1alpha1.Verification{Mode: v1alpha1.VerificationNone}, // nobody looks for the zone; our names look for records all the same
	}
	write := w.create
	if there {
		write = w.update
	}
	write(p)
	p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", ObservedGeneration: p.Generation}}
	if err := w.store.Status().Update(w.Context(), p); err != nil {
		w.Fatal(err)
	}
	w.operator.wakeEverything()
}

// loses has a person delete the provider of a site.
func (w *world) loses(at site) {
	w.Helper()
	w.delete(&v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: at.provider}})
	w.operator.wakeEverything()
}

// domainComes has a person write a MailDomain, and the provider.
func (w *world) domainComes(name string, change func(*v1alpha1.DKIM)) {
	w.Helper()
	w.holds(home)
	d := &v1alpha1.MailDomain{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MailDomainSpec{
			Domain: zoneName, ProviderRef: v1alpha1.ProviderRef{Name: "dns"},
			DKIM: &v1alpha1.DKIM{SigningSecretName: "signing", Rotation: &v1alpha1.Rotation{
				Overlap: &metav1.Duration{Duration: overlap}, Tombstone: &metav1.Duration{Duration: grave},
			}},
			SPF:   &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"mx"}},
			DMARC: &v1alpha1.DMARC{Policy: v1alpha1.DMARCNone},
		},
	}
	change(d.Spec.DKIM)
	w.create(d)
}

// revoke has a person name the RSA keys of these phases as known to others.
func (w *world) revoke(phases ...v1alpha1.KeyPhase) {
	w.edit(func(d *v1alpha1.MailDomain) {
		for _, phase := range phases {
			for _, k := range w.inPhase(phase) {
				d.Spec.DKIM.RevokedSelectors = append(d.Spec.DKIM.RevokedSelectors, k.Spec.Selector)
			}
		}
	})
}

// lose has a person destroy a private key, whatever protects it.
func (w *world) lose(name string) {
	var s corev1.Secret
	if err := w.store.Get(w.Context(), named(name), &s); err != nil {
		w.Fatal(err)
	}
	s.Finalizers = nil
	if err := w.store.Update(w.Context(), &s); err != nil {
		w.Fatal(err)
	}
	w.story.forgets(name)
	w.delete(&s)
}

func (w *world) leave(policy v1alpha1.DeletionPolicy) {
	w.edit(func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = policy })
	w.delete(w.domain())
}

// moves has a person name another site in the specs.
func (w *world) moves(to site) {
	w.holds(to)
	w.edit(func(d *v1alpha1.MailDomain) { d.Spec.ProviderRef.Name = to.provider })
}

// keyComes has a person write a DKIMKey that no MailDomain asks for.
func (w *world) keyComes() {
	w.Helper()
	w.holds(home)
	w.create(&v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alone"},
		Spec: v1alpha1.DKIMKeySpec{
			Domain: zoneName, Selector: "alone", Algorithm: v1alpha1.AlgorithmRSA, ProviderRef: v1alpha1.ProviderRef{Name: home.provider},
		},
	})
}

// keyMoves has a person name another provider in it.
func (w *world) keyMoves(to site) {
	w.Helper()
	w.holds(to)
	var k v1alpha1.DKIMKey
	if err := w.store.Get(w.Context(), named("alone"), &k); err != nil {
		w.Fatal(err)
	}
	k.Spec.ProviderRef.Name = to.provider
	w.update(&k)
}

// create, edit and delete are what a person does.
func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.store.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) edit(change func(*v1alpha1.MailDomain)) {
	w.Helper()
	d := w.domain()
	change(d)
	w.update(d)
}

func (w *world) update(o client.Object) {
	w.Helper()
	if err := w.store.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) delete(o client.Object) {
	w.Helper()
	if err := w.store.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// word writes a person's word, with the time that it is now.
func (w *world) word(annotation string) {
	w.Helper()
	w.edit(func(d *v1alpha1.MailDomain) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, annotation, now().UTC().Format(time.RFC3339))
	})
}

// domain is the one MailDomain that there is.
func (w *world) domain() *v1alpha1.MailDomain {
	w.Helper()
	var all v1alpha1.MailDomainList
	if w.list(&all); len(all.Items) != 1 {
		w.Fatalf("there are %d MailDomains", len(all.Items))
	}
	return &all.Items[0]
}

// inPhase lists the RSA keys that stand in a phase.
func (w *world) inPhase(phase v1alpha1.KeyPhase) []v1alpha1.DKIMKey {
	w.Helper()
	var all v1alpha1.DKIMKeyList
	w.list(&all)
	return slices.DeleteFunc(all.Items, func(k v1alpha1.DKIMKey) bool {
		return k.Spec.Algorithm != v1alpha1.AlgorithmRSA || k.Status.Phase != phase
	})
}
