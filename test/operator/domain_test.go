// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// A domain whose zone nobody delegates is told so, and published once somebody does.
func TestAZoneThatCannotBeFoundIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t, "lost.test")
	b.provider("dns")
	tld := b.world.Zone("test.")
	delegation := tld.Records("lost.test.", dns.TypeNS)
	b.remove("test.", "lost.test")
	untouched := b.world.Zone("lost.test").Dump()
	d := b.domain("lost.test")
	b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonZoneNotFound)
	b.says(d, v1alpha1.ConditionProviderReady, metav1.ConditionFalse, v1alpha1.ReasonZoneNotFound, "lost.test", "spec.zones", "DNSProvider dns")
	b.awaitSaid(d, v1alpha1.ReasonZoneNotFound, "lost.test", "spec.zones")
	b.rounds()
	b.once(d, v1alpha1.ReasonZoneNotFound)
	b.sameZone("lost.test", untouched)
	for _, ns := range delegation {
		if err := tld.Add(ns.String()); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitReady(d)
}

// spec.suspend: what is live stays, and nothing is written, whatever happens.
func TestASuspendedDomainIsLookedAtOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.live(d)
	fresh := b.domain("example.net", func(d *v1alpha1.MailDomain) { d.Spec.Suspend = true })
	untouched := b.world.Zone("example.net").Dump()
	edit(b, d, func(d *v1alpha1.MailDomain) { d.Spec.Suspend = true })
	for _, o := range []*v1alpha1.MailDomain{d, fresh} {
		b.awaitCondition(o, v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
		b.awaitSaid(o, v1alpha1.ReasonSuspended, "spec.suspend", "nothing is written")
	}
	b.awaitReady(d)
	b.removeTXT("example.org", "_dmarc.example.org")
	b.removeTXT("example.org", b.signing(d).Status.RecordName)
	edit(b, d, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	drifted := b.world.Zone("example.org").Dump()
	b.awaitSaid(d, "RecordDrifted", "(DMARC)")
	b.rounds()
	b.sameZone("example.org", drifted)
	b.sameSigners(d, before)
	b.sameZone("example.net", untouched)
	var keys v1alpha1.DKIMKeyList
	if err := b.List(b.Context(), &keys, client.InNamespace(b.namespace)); err != nil || len(keys.Items) != 2 {
		t.Errorf("there are %d keys (%v)", len(keys.Items), err)
	}
	if err := b.Get(b.Context(), client.ObjectKey{Namespace: b.namespace, Name: fresh.SigningSecret()}, &corev1.Secret{}); err == nil {
		t.Error("a suspended domain got a signing Secret")
	}
	b.once(d, v1alpha1.ReasonSuspended)
	b.once(fresh, v1alpha1.ReasonSuspended)

	for _, o := range []*v1alpha1.MailDomain{d, fresh} {
		edit(b, o, func(d *v1alpha1.MailDomain) { d.Spec.Suspend = false })
	}
	b.awaitReady(d)
	b.awaitReady(fresh)
	b.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 a ~all")
	b.awaitTXT("_dmarc.example.org", record(d, v1alpha1.PurposeDMARC).Value)
	b.awaitTXT(b.signing(d).Status.RecordName, b.signing(d).Status.RecordValue)
	b.sameSigners(d, before)
}

// Fields that are accepted and not acted upon are never silent, and do not keep a domain from Ready.
func TestFieldsThatAreNotActedUponAreNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.SigningFormats = []v1alpha1.SigningFormat{v1alpha1.SigningFormatRspamd}
		d.Spec.DMARC.OwnNetworks = []v1alpha1.Network{"192.0.2.0/24"}
	})
	b.awaitReady(d)
	b.says(d, v1alpha1.ConditionUnsupportedFields, metav1.ConditionTrue, v1alpha1.ReasonNotImplemented, "spec.dkim.signingFormats", "spec.dmarc.ownNetworks")
	b.awaitSaid(d, v1alpha1.ReasonNotImplemented, "spec.dkim.signingFormats", "spec.dmarc.ownNetworks")
	b.rounds()
	b.once(d, v1alpha1.ReasonNotImplemented)
}

// A _dmarc stricter than what stands there waits until mail is signed; a looser one never waits.
func TestAStrictPolicyWaitsForSignaturesAndALooserOneDoesNot(t *testing.T) {
	t.Parallel()
	b := newBench(t, "strict.test", "loose.test", "live.test")
	b.provider("dns")
	running := b.domain("live.test", func(d *v1alpha1.MailDomain) { d.Spec.DMARC.Policy = v1alpha1.DMARCQuarantine })
	b.settled(running)
	b.addTXT("loose.test", "_dmarc.loose.test", "v=DMARC1; p=reject")
	b.world.Server("127.0.0.4").Freeze() // so that no key can be seen everywhere, and none signs
	strict := b.domain("strict.test", func(d *v1alpha1.MailDomain) { d.Spec.SPF, d.Spec.DMARC.Policy = nil, v1alpha1.DMARCReject })
	loose := b.domain("loose.test", func(d *v1alpha1.MailDomain) { d.Spec.SPF, d.Spec.AdoptionPolicy = nil, v1alpha1.AdoptAlways })
	edit(b, running, func(d *v1alpha1.MailDomain) { d.Spec.DMARC.Policy = v1alpha1.DMARCNone })

	r := b.awaitRecord(strict, v1alpha1.PurposeDMARC, v1alpha1.RecordAwaitingSigning)
	b.awaitSaid(strict, "RecordHeld", "_dmarc.strict.test", "stricter than what stands there", "until an RSA key signs")
	b.awaitCondition(strict, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonAwaitingSigning)
	b.says(strict, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonAwaitingSigning, "_dmarc.strict.test")
	b.awaitTXT("_dmarc.loose.test", "v=DMARC1; p=none; rua=mailto:dmarc@loose.test")
	b.awaitTXT("_dmarc.live.test", "v=DMARC1; p=none; rua=mailto:dmarc@live.test")
	b.rounds()
	b.awaitTXT("_dmarc.strict.test")

	b.world.Server("127.0.0.4").Release()
	b.awaitReady(strict)
	b.awaitTXT("_dmarc.strict.test", r.Value)
	if strict.Status.DMARC == nil || strict.Status.DMARC.Published != v1alpha1.DMARCReject {
		t.Errorf("the status says %+v", strict.Status.DMARC)
	}
	b.awaitReady(loose)
	b.awaitReady(running)

	t.Run("and so does one that becomes stricter later", func(t *testing.T) {
		b := b.in(t)
		edit(b, running, func(d *v1alpha1.MailDomain) { d.Spec.DMARC.Policy = v1alpha1.DMARCReject })
		b.awaitTXT("_dmarc.live.test", "v=DMARC1; p=reject; rua=mailto:dmarc@live.test") // an RSA key signs: no wait
		b.awaitReady(running)
	})
}

// A parked domain says in every way that it sends no mail.
func TestAParkedDomain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	before := b.world.Zone("example.org").Dump()
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM, d.Spec.SPF, d.Spec.DMARC, d.Spec.Parked = nil, nil, nil, &v1alpha1.Parked{}
	})
	b.awaitReady(d)
	b.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 -all")
	b.awaitTXT("_dmarc.example.org", "v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s")
	if got := b.world.Zone("example.org").TXT("*._domainkey"); !slices.Equal(got, []string{"v=DKIM1; p="}) {
		t.Errorf("*._domainkey holds %q", got)
	}
	b.rounds()
	b.awaitReady(d)
	for line := range strings.SplitSeq(strings.TrimSpace(before), "\n") {
		if !strings.Contains(b.world.Zone("example.org").Dump(), line) {
			t.Errorf("%s is gone", line)
		}
	}
	var keys v1alpha1.DKIMKeyList
	if err := b.List(b.Context(), &keys, client.InNamespace(b.namespace)); err != nil || len(keys.Items) != 0 {
		t.Errorf("a parked domain has %d keys (%v)", len(keys.Items), err)
	}
}

// With the manual provider nothing is written: the status says what to paste, and the DNS tells when it is done.
func TestManualRecordsArePastedByAPerson(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.create(&v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: b.namespace},
		Spec:       v1alpha1.DNSProviderSpec{TTLSeconds: 60, Manual: &v1alpha1.Manual{}},
	})
	untouched := b.world.Zone("example.org").Dump()
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.DMARC = nil })
	b.awaitCondition(d, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonPasteRecords)
	b.awaitSaid(d, v1alpha1.ReasonPasteRecords, "add this record by hand: example.org TXT", `"v=spf1 mx ~all"`)
	b.says(d, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonPasteRecords, "by hand")
	b.rounds()
	b.sameZone("example.org", untouched)

	pasted := map[string]bool{}
	b.await(d, "Ready", func() bool {
		for _, r := range d.Status.Records { // as a person does, whenever something new is to be pasted
			if r.State == v1alpha1.RecordPending && !pasted[r.Name] && holds(r.Message, "by hand", r.Name) {
				pasted[r.Name] = true
				b.addTXT("example.org", r.Name, r.Value)
			}
		}
		c := metav1.ConditionTrue
		return len(d.Status.Conditions) > 0 && d.Status.Conditions[0].Status == c
	})
	b.rounds()
	b.awaitReady(d)
	if n := b.world.Server("127.0.0.3").Updates(); n != 0 {
		t.Errorf("%d updates were sent", n)
	}
	if got := b.txt("_maildomain.example.org"); len(got) != 0 {
		t.Errorf("the marker is %q", got)
	}
}

// A null MX is written only where nobody said who takes the domain's mail.
func TestANullMXIsWrittenOnlyWhereNoMXStands(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	b.provider("dns")
	if err := b.world.Zone("example.org").Remove("example.org.", dns.TypeMX); err != nil {
		t.Fatal(err)
	}
	parked := func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM, d.Spec.SPF, d.Spec.DMARC, d.Spec.Parked = nil, nil, nil, &v1alpha1.Parked{NullMX: true}
		d.Spec.DeletionPolicy, d.Spec.AdoptionPolicy = v1alpha1.DeletionDelete, v1alpha1.AdoptAlways
	}
	d, taken := b.domain("example.org", parked), b.domain("example.net", parked)
	b.awaitReady(d)
	mx := func(zone string) []string {
		var got []string
		for _, rr := range b.world.Zone(zone).Records(zone+".", dns.TypeMX) {
			got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		return got
	}
	if got := mx("example.org"); !slices.Equal(got, []string{"0 ."}) {
		t.Errorf("its MX is %q", got)
	}
	if r := record(d, v1alpha1.PurposeNullMX); r.State != v1alpha1.RecordVerified || r.Type != "MX" {
		t.Errorf("the status says %+v", r)
	}
	b.await(taken, "a conflict", func() bool { return record(taken, v1alpha1.PurposeNullMX).State == v1alpha1.RecordConflict })
	b.says(taken, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict, "mail.example.net")
	b.awaitTXT("_dmarc.example.net", "v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s") // which nothing keeps from its place

	if err := b.world.Zone("example.org").Remove("example.org.", dns.TypeMX); err != nil {
		t.Fatal(err)
	}
	b.awaitSaid(d, "RecordDrifted", "NullMX")
	b.until("the null MX is back", func() bool { return slices.Equal(mx("example.org"), []string{"0 ."}) })
	b.awaitReady(d)
	b.delete(d)
	b.delete(taken)
	b.awaitGone(d)
	b.awaitGone(taken)
	if got := mx("example.org"); len(got) != 0 {
		t.Errorf("its MX is %q after deletion", got)
	}
	if got := mx("example.net"); !slices.Equal(got, []string{"10 mail.example.net."}) {
		t.Errorf("another's MX is %q", got)
	}
}
