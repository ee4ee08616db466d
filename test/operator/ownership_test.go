// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

// rival is another installation at the same name servers: objects, claims and owner id of its own.
func (b *bench) rival(owner string) *bench {
	b.Helper()
	r := &bench{T: b.T, Client: b.Client, world: b.world, namespace: makeNamespace(b.T, b.Client), config: b.config}
	r.settings = settingsFor(b.world, owner, makeNamespace(b.T, b.Client))
	r.start()
	b.Cleanup(func() { r.stop() })
	r.provider("dns")
	return r
}

// loses makes sure that an installation says who has the domain, once, and leaves the zone alone.
func (b *bench) loses(d *v1alpha1.MailDomain, stands string, words ...string) {
	b.Helper()
	b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonOwnerConflict)
	b.says(d, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonOwnerConflict, words...)
	b.awaitSaid(d, v1alpha1.ReasonOwnerConflict, words...)
	b.rounds()
	b.sameZone(d.Spec.Domain, stands)
	b.once(d, v1alpha1.ReasonOwnerConflict)
}

func (b *bench) takeOver(d *v1alpha1.MailDomain, from string) {
	b.Helper()
	edit(b, d, func(d *v1alpha1.MailDomain) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, v1alpha1.AnnotationTakeOver, from)
	})
}

// ownerOf is who the marker of a domain names.
func (b *bench) ownerOf(d *v1alpha1.MailDomain) string {
	b.Helper()
	texts := b.txt("_maildomain." + d.Spec.Domain)
	if len(texts) != 1 {
		b.Fatalf("markers: %q", texts)
	}
	marker, err := dnsplan.ParseMarker(texts[0])
	if err != nil {
		b.Fatal(err)
	}
	return marker.Owner
}

// Two installations want one domain: the second one writes nothing until a person has it take over, and then the first one
// writes nothing.
func TestTwoInstallationsWantOneDomain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	first := b.domain("example.org")
	b.settled(first)
	stands := b.world.Zone("example.org").Dump()

	other := b.rival("other-" + b.namespace)
	second := other.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.AdoptionPolicy = v1alpha1.AdoptAlways // which is about records of nobody
		d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"}
	})
	other.loses(second, stands, "another installation", "_maildomain.example.org", v1alpha1.AnnotationTakeOver)
	b.restart(nothing)
	b.awaitReady(first)
	b.sameZone("example.org", stands)

	former := b.signing(first)
	other.takeOver(second, "somebody else")
	other.rounds()
	b.sameZone("example.org", stands)
	other.takeOver(second, b.settings.OwnerID)
	other.awaitReady(second) // keys that were made while it lost may be more spares than one
	other.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 a ~all")
	other.awaitTXT(former.Status.RecordName, former.Status.RecordValue) // mail of the first one is on its way
	if got := other.ownerOf(second); got != dnsplan.OwnerHash(other.settings.OwnerID) {
		t.Errorf("the marker names %s", got)
	}
	other.await(second, "a note of the take-over", func() bool { return second.Status.LastHandledTakeOver == b.settings.OwnerID })
	other.await(second, "a key that signs and spares that are ready", func() bool { // not those that met the first one's records
		phases := map[v1alpha1.KeyPhase]int{}
		for _, k := range second.Status.Keys {
			phases[k.Phase]++
		}
		return phases[v1alpha1.PhaseSigning] == 1 && phases[v1alpha1.PhaseStandby] > 0 && phases[v1alpha1.PhasePending]+phases[v1alpha1.PhasePublishing] == 0
	})
	b.loses(first, b.world.Zone("example.org").Dump(), "another installation")
	other.awaitReady(second)
}

// An installation that gets another name takes its own records over, and changes nothing but the marker.
func TestAnOwnerIDIsChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "keys.test")
	b.provider("dns")
	all := []*v1alpha1.MailDomain{
		b.domain("example.org"),
		b.domain("keys.test", func(d *v1alpha1.MailDomain) { d.Spec.SPF, d.Spec.DMARC = nil, nil }),
	}
	records := map[string][]string{}
	for _, d := range all {
		b.settled(d)
		for _, r := range d.Status.Records {
			records[r.Name] = b.txt(r.Name)
		}
	}
	former := b.settings.OwnerID
	b.restart(func(s *controllers.Settings) { s.OwnerID = "renamed-" + b.namespace })
	for _, d := range all {
		b.takeOver(d, former)
		b.await(d, "a note of the take-over", func() bool { return d.Status.LastHandledTakeOver == former })
		if got := b.ownerOf(d); got != dnsplan.OwnerHash(b.settings.OwnerID) {
			t.Errorf("the marker of %s names %s", d.Name, got)
		}
		b.settled(d)
	}
	for name, want := range records {
		b.awaitTXT(name, want...)
	}
}

// Lost statuses are found again: by the marker, which says what is ours.
func TestALostStatusComesBackFromTheMarker(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.live(d)
	b.stop()
	b.loseStatuses()
	b.start()
	b.settled(d)
	b.stillLive(d, before)
	edit(b, d, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	b.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 a ~all") // ours, and so it may be changed
}

func (b *bench) loseStatuses() {
	b.Helper()
	var domains v1alpha1.MailDomainList
	if err := b.List(b.Context(), &domains, client.InNamespace(b.namespace)); err != nil {
		b.Fatal(err)
	}
	for i := range domains.Items {
		domains.Items[i].Status = v1alpha1.MailDomainStatus{}
		if err := b.Status().Update(b.Context(), &domains.Items[i]); err != nil {
			b.Fatal(err)
		}
	}
	for _, k := range b.keys() {
		k.Status = v1alpha1.DKIMKeyStatus{}
		if err := b.Status().Update(b.Context(), &k); err != nil {
			b.Fatal(err)
		}
	}
}

// Two clusters come from one backup and have the same owner id. As soon as one of them goes on, the other one stops; it may
// be told to go on, as after a disaster that only the backup has outlived.
func TestACloneStopsWhenTheOtherOneGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.live(d)

	clone := b.rival(b.settings.OwnerID)
	clone.stop()
	copied := clone.restored(b, d)
	clone.start()
	clone.settled(copied)
	clone.rounds()
	b.stillLive(d, before)

	former := b.signing(d)
	b.word(d, v1alpha1.AnnotationRotate)
	b.awaitSigner(d, former)
	b.settled(d)
	stands := b.world.Zone("example.org").Dump()
	edit(clone, copied, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	clone.loses(copied, stands, "second copy of this installation", "same --owner-id")
	b.awaitReady(d)

	b.stop()
	clone.takeOver(copied, clone.settings.OwnerID)
	clone.awaitReady(copied)
	clone.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 a ~all")
}

// restored has a copy of a domain with its keys, Secrets and statuses, as a restored backup does.
func (b *bench) restored(from *bench, d *v1alpha1.MailDomain) *v1alpha1.MailDomain {
	b.Helper()
	var secrets corev1.SecretList
	if err := b.List(b.Context(), &secrets, client.InNamespace(from.namespace), client.HasLabels{v1alpha1.LabelSecret}); err != nil {
		b.Fatal(err)
	}
	anew := func(o client.Object) {
		o.SetNamespace(b.namespace)
		o.SetUID("")
		o.SetResourceVersion("")
		o.SetManagedFields(nil)
	}
	for _, s := range secrets.Items {
		anew(&s)
		b.create(&s)
	}
	for _, k := range from.keys() {
		status := k.Status
		anew(&k)
		b.create(&k)
		k.Status = status
		if err := b.Status().Update(b.Context(), &k); err != nil {
			b.Fatal(err)
		}
	}
	c := d.DeepCopy()
	anew(c)
	b.create(c)
	c.Status = d.Status
	if err := b.Status().Update(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	return c
}
