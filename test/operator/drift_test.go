// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"testing"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// drifts are what somebody does to a zone behind our back: to the record at a name, which is ours.
var drifts = map[string]struct {
	purpose v1alpha1.RecordPurpose
	// edit returns what the event must say was found.
	edit func(b *bench, zone, name, ours string) (found string)
}{
	"our SPF record is deleted": {v1alpha1.PurposeSPF, func(b *bench, zone, _, ours string) string {
		b.swapTXT(zone, zone, ours)
		return "answers without it"
	}},
	"our SPF record is changed": {v1alpha1.PurposeSPF, func(b *bench, zone, _, ours string) string {
		b.swapTXT(zone, zone, ours, "v=spf1 ip4:203.0.113.7 -all")
		return "v=spf1 ip4:203.0.113.7 -all"
	}},
	"our _dmarc record is deleted": {v1alpha1.PurposeDMARC, func(b *bench, zone, name, _ string) string {
		b.removeTXT(zone, name)
		return "answers without it"
	}},
	"our _dmarc record is changed": {v1alpha1.PurposeDMARC, func(b *bench, zone, name, ours string) string {
		b.swapTXT(zone, name, ours, "v=DMARC1; p=reject")
		return "v=DMARC1; p=reject"
	}},
	"our selector's record is deleted": {v1alpha1.PurposeDKIM, func(b *bench, zone, name, _ string) string {
		b.removeTXT(zone, name)
		return "answers without it"
	}},
	"our selector's record is changed": {v1alpha1.PurposeDKIM, func(b *bench, zone, name, ours string) string {
		b.swapTXT(zone, name, ours, "v=DKIM1; p=")
		return "v=DKIM1; p="
	}},
}

// What is changed outside is repaired through the provider, the event says what was found, and what others have in the
// zone stays. Ready stays True: a record that is being repaired is no reason to page anybody.
func TestWhatIsChangedOutsideIsRepaired(t *testing.T) {
	t.Parallel()
	zones := map[string]string{}
	var all []string
	for name := range drifts {
		zones[name] = string(rune('a'+len(zones))) + ".drift.test"
		all = append(all, zones[name])
	}
	b := newBench(t, all...)
	b.provider("dns")
	domains, befores, readySince := map[string]*v1alpha1.MailDomain{}, map[string]live{}, map[string]metav1.Time{}
	for name, zone := range zones {
		domains[name] = b.domain(zone)
	}
	for name, d := range domains {
		b.settled(d)
		befores[name] = b.live(d)
		readySince[name] = b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionTrue, "").LastTransitionTime
	}
	found := map[string]string{}
	for name, d := range domains {
		r := record(d, drifts[name].purpose)
		if drifts[name].purpose == v1alpha1.PurposeDKIM {
			key := b.signing(d)
			r.Name, r.Value = key.Status.RecordName, key.Status.RecordValue
		}
		found[name] = drifts[name].edit(b, zones[name], r.Name, r.Value)
	}
	for name, d := range domains {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			if drifts[name].purpose == v1alpha1.PurposeDKIM {
				b.awaitSaid(b.signing(d), "RecordDrifted", found[name])
			} else {
				b.awaitSaid(d, "RecordDrifted", string(drifts[name].purpose), found[name])
			}
			b.await(d, "every record repaired", func() bool {
				for _, r := range d.Status.Records {
					if r.State != v1alpha1.RecordVerified {
						return false
					}
				}
				return b.world.Zone(zones[name]).Dump() == befores[name].zone
			})
		})
	}
	b.rounds()
	for name, d := range domains {
		t.Run(name+" once", func(t *testing.T) {
			b := b.in(t)
			b.stillLive(d, befores[name])
			if c := b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionTrue, ""); c.LastTransitionTime != readySince[name] {
				t.Error("Ready did not stay True")
			}
			if drifts[name].purpose == v1alpha1.PurposeDKIM {
				b.once(b.signing(d), "RecordDrifted")
			} else {
				b.once(d, "RecordDrifted")
			}
		})
	}
}

// Three records that drift together are three events with words of their own, and one that is changed again later too.
func TestEveryRecordThatDriftsIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.SPF.HeloNames = []v1alpha1.DomainName{"mail.example.org"} })
	b.settled(d)
	before := b.live(d)
	for round, text := range []string{"v=spf1 +a:one.test -all", "v=spf1 +a:two.test -all"} {
		b.rounds() // what is repaired in the second in which it was seen is not told
		for _, purpose := range []v1alpha1.RecordPurpose{v1alpha1.PurposeSPF, v1alpha1.PurposeHeloSPF} {
			r := record(d, purpose)
			b.swapTXT("example.org", r.Name, r.Value, text)
		}
		b.awaitSaid(d, "RecordDrifted", "(SPF)", text)
		b.awaitSaid(d, "RecordDrifted", "(HeloSPF)", text)
		b.await(d, "repair", func() bool {
			return record(d, v1alpha1.PurposeSPF).State == v1alpha1.RecordVerified && record(d, v1alpha1.PurposeHeloSPF).State == v1alpha1.RecordVerified &&
				b.world.Zone("example.org").Dump() == before.zone
		})
		if n := len(b.said(d, "RecordDrifted")); n != 2*(round+1) {
			t.Errorf("%d events tell of drift: %q", n, b.said(d, "RecordDrifted"))
		}
	}
	b.stillLive(d, before)
}

// A new wish replaces our record in place: at no time do two SPF records stand there, and others keep theirs.
func TestANewValueReplacesOursInPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.live(d)
	b.world.Server("127.0.0.3").ResetCounts()
	edit(b, d, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"mx", "ip4:192.0.2.0/24"} })
	b.await(d, "the new record", func() bool {
		r := record(d, v1alpha1.PurposeSPF)
		return r.Value == "v=spf1 mx ip4:192.0.2.0/24 ~all" && r.State == v1alpha1.RecordVerified
	})
	b.awaitReady(d)
	b.awaitTXT("example.org", `site-verification=abc; "quoted"`, "v=spf1 mx ip4:192.0.2.0/24 ~all")
	// One update takes the old one away and adds the new one.
	if n := b.world.Server("127.0.0.3").Changes("example.org", dns.TypeTXT); n != 2 {
		t.Errorf("%d changes were made at the apex, not one deletion and one addition", n)
	}
	if got := len(b.said(d, "RecordConflict")) + len(b.said(d, "RecordDrifted")); got != 0 {
		t.Errorf("a wish of our own was taken for somebody else's: %v", b.events(d))
	}
	b.sameSigners(d, before)
}

// What is published and taken away before anybody saw it is published again.
func TestARecordThatVanishesBeforeItWasSeenIsPublishedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	b.world.Server("127.0.0.4").Freeze() // so that nothing is verified
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.DKIM, d.Spec.DMARC = nil, nil })
	r := b.awaitRecord(d, v1alpha1.PurposeSPF, v1alpha1.RecordPublished)
	b.swapTXT("example.org", "example.org", r.Value)
	b.restart(nothing) // the queue forgets that it was done
	b.awaitTXT("example.org", `site-verification=abc; "quoted"`, r.Value)
	b.world.Server("127.0.0.4").Release()
	b.awaitReady(d)
}
