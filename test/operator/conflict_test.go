// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// obstacles are what stands in the way of a new domain.
var obstacles = map[string]struct {
	// zone is what somebody else keeps there.
	zone   string
	change func(*v1alpha1.MailDomain)
	// purpose is the record that cannot be published; for a selector the DKIMKey tells.
	purpose v1alpha1.RecordPurpose
	words   []string
	// mend is what somebody else does about it; the name is the one in the way.
	mend func(b *bench, zone string)
}{
	"a _dmarc record of somebody else": {
		zone: `_dmarc 1 TXT "v=DMARC1; p=reject; rua=mailto:them@example.net"`, purpose: v1alpha1.PurposeDMARC,
		words: []string{"_dmarc.", "did not write", `"v=DMARC1; p=reject; rua=mailto:them@example.net"`, "adoptionPolicy"},
		mend:  func(b *bench, zone string) { b.removeTXT(zone, "_dmarc."+zone) },
	},
	"an SPF record of somebody else": {
		zone: `@ 1 TXT "v=spf1 include:_spf.example.net -all"`, purpose: v1alpha1.PurposeSPF,
		words: []string{"did not write", `"v=spf1 include:_spf.example.net -all"`, "adoptionPolicy"},
		mend:  func(b *bench, zone string) { b.swapTXT(zone, zone, "v=spf1 include:_spf.example.net -all") },
	},
	"two SPF records of somebody else, which are never both meant": {
		zone:    "@ 1 TXT \"v=spf1 a -all\"\n@ 1 TXT \"v=spf1 mx -all\"",
		change:  func(d *v1alpha1.MailDomain) { d.Spec.AdoptionPolicy = v1alpha1.AdoptAlways },
		purpose: v1alpha1.PurposeSPF,
		words:   []string{`"v=spf1 a -all"`, `"v=spf1 mx -all"`, "remove those that are not wanted"},
		mend:    func(b *bench, zone string) { b.swapTXT(zone, zone, "v=spf1 a -all") }, // one is adopted
	},
	"another value under adoptionPolicy Identical": {
		zone:    `_dmarc 1 TXT "v=DMARC1; p=none"`,
		change:  func(d *v1alpha1.MailDomain) { d.Spec.AdoptionPolicy = v1alpha1.AdoptIdentical },
		purpose: v1alpha1.PurposeDMARC,
		words:   []string{`"v=DMARC1; p=none"`, "Always"},
		mend:    func(b *bench, zone string) { b.removeTXT(zone, "_dmarc."+zone) },
	},
	"the wanted value, which nobody told us to adopt": {
		zone: `@ 1 TXT "v=spf1 mx ~all"`, purpose: v1alpha1.PurposeSPF,
		words: []string{"holds the wanted record already", "adoptionPolicy Identical"},
		mend:  func(b *bench, zone string) { b.swapTXT(zone, zone, "v=spf1 mx ~all") },
	},
	"a CNAME at _dmarc": {
		zone: `_dmarc 1 CNAME dmarc.example.net.`, purpose: v1alpha1.PurposeDMARC,
		words: []string{"_dmarc.", "CNAME", "dmarc.example.net."},
		mend:  func(b *bench, zone string) { b.remove(zone, "_dmarc."+zone) },
	},
}

// What stands in the way is somebody else's and never changes by a byte. It is said once, everything else goes on, and
// when it goes away the record takes its place by itself.
func TestWhatSomebodyElseHasInTheZoneStays(t *testing.T) {
	t.Parallel()
	zones := map[string]string{}
	var all []string
	for name := range obstacles {
		zones[name] = fmt.Sprintf("zone%d.test", len(zones))
		all = append(all, zones[name])
	}
	b := newBench(t, all...)
	b.provider("dns")
	domains := map[string]*v1alpha1.MailDomain{}
	for name, c := range obstacles {
		if err := b.world.Zone(zones[name]).Add(c.zone); err != nil {
			t.Fatal(err)
		}
		domains[name] = b.domain(zones[name], func(d *v1alpha1.MailDomain) {
			if c.change != nil {
				c.change(d)
			}
		})
	}
	theirs := map[string][]string{}
	for name, c := range obstacles {
		d := domains[name]
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			b.awaitRecord(d, c.purpose, v1alpha1.RecordConflict)
			b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict)
			b.says(d, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict, c.words...)
			b.says(d, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRecordConflict, c.words...)
			b.awaitSaid(d, v1alpha1.ReasonRecordConflict, append(c.words, "("+string(c.purpose)+")")...)
			// Nothing else waits for it: the keys sign.
			b.await(d, "a key that signs", func() bool {
				return len(d.Status.Keys) > 0 && d.Status.Keys[len(d.Status.Keys)-1].Phase == v1alpha1.PhaseSigning
			})
		})
	}
	for name, c := range obstacles {
		theirs[name] = b.txt(record(domains[name], c.purpose).Name)
	}
	b.rounds()
	for name, c := range obstacles {
		d := domains[name]
		t.Run(name+" stays", func(t *testing.T) {
			b := b.in(t)
			r := record(d, c.purpose)
			if got := b.txt(r.Name); fmt.Sprint(got) != fmt.Sprint(theirs[name]) {
				t.Errorf("%s held %q and holds %q", r.Name, theirs[name], got)
			}
			b.once(d, v1alpha1.ReasonRecordConflict, "("+string(c.purpose)+")")
			c.mend(b, zones[name])
		})
	}
	for name, c := range obstacles {
		d := domains[name]
		t.Run(name+" until it goes", func(t *testing.T) {
			b := b.in(t)
			b.awaitReady(d)
			if got := b.txt(record(d, c.purpose).Name); !contains(got, record(d, c.purpose).Value) {
				t.Errorf("%q was not published: %q", record(d, c.purpose).Value, got)
			}
		})
	}
}

// A second SPF record beside ours is a permanent error for every receiver (RFC 7208 §4.5), which nobody but a person
// can mend: which of the two is meant is not ours to say.
func TestASecondSPFRecordBesideOursIsSaidAndLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.live(d)
	b.addTXT("example.org", "example.org", "v=spf1 ip4:203.0.113.7 -all")
	b.awaitRecord(d, v1alpha1.PurposeSPF, v1alpha1.RecordConflict)
	both := []string{`"v=spf1 ip4:203.0.113.7 -all"`, `"v=spf1 mx ~all"`, "may hold one such record"}
	b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict)
	b.says(d, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict, both...)
	b.awaitSaid(d, v1alpha1.ReasonRecordConflict, both...)
	with := b.world.Zone("example.org").Dump()
	b.rounds()
	b.sameZone("example.org", with)
	b.once(d, v1alpha1.ReasonRecordConflict, "(SPF)")
	b.swapTXT("example.org", "example.org", "v=spf1 ip4:203.0.113.7 -all")
	b.awaitReady(d)
	b.stillLive(d, before)

	t.Run("and what is left of the two is not overwritten", func(t *testing.T) {
		b := b.in(t)
		b.addTXT("example.org", "example.org", "v=spf1 ip4:203.0.113.7 -all")
		b.awaitRecord(d, v1alpha1.PurposeSPF, v1alpha1.RecordConflict)
		b.swapTXT("example.org", "example.org", "v=spf1 mx ~all") // a person removes ours, not theirs
		with := b.world.Zone("example.org").Dump()
		b.rounds()
		b.sameZone("example.org", with)
		b.awaitRecord(d, v1alpha1.PurposeSPF, v1alpha1.RecordConflict)
	})
}

// adoptionPolicy is judged once for a record that stands there already.
func TestARecordIsAdoptedAsAsked(t *testing.T) {
	t.Parallel()
	const theirs = "v=DMARC1; p=none; rua=mailto:them@example.net"
	b := newBench(t, "identical.test", "always.test")
	b.provider("dns")
	b.addTXT("identical.test", "identical.test", "v=spf1 mx ~all")
	b.addTXT("always.test", "_dmarc.always.test", theirs)
	b.addTXT("always.test", "always.test", "v=spf1 include:old.test -all")
	identical := b.domain("identical.test", func(d *v1alpha1.MailDomain) { d.Spec.AdoptionPolicy = v1alpha1.AdoptIdentical })
	always := b.domain("always.test", func(d *v1alpha1.MailDomain) { d.Spec.AdoptionPolicy = v1alpha1.AdoptAlways })
	b.settled(identical)
	b.settled(always)

	b.awaitTXT("identical.test", `site-verification=abc; "quoted"`, "v=spf1 mx ~all")
	b.awaitTXT("always.test", `site-verification=abc; "quoted"`, "v=spf1 mx ~all")
	b.awaitTXT("_dmarc.always.test", "v=DMARC1; p=none; rua=mailto:dmarc@always.test")
	for purpose, text := range map[v1alpha1.RecordPurpose]string{v1alpha1.PurposeDMARC: theirs, v1alpha1.PurposeSPF: "v=spf1 include:old.test -all"} {
		if r := record(always, purpose); r.ReplacedValue != text {
			t.Errorf("the status keeps %q of what stood at %s", r.ReplacedValue, r.Name)
		}
		b.awaitSaid(always, "RecordAdopted", text)
	}
	// What is adopted is ours: a new wish replaces it.
	edit(b, identical, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = []v1alpha1.Mechanism{"a"} })
	b.awaitTXT("identical.test", `site-verification=abc; "quoted"`, "v=spf1 a ~all")
	b.rounds()
	for _, text := range []string{theirs, "include:old.test"} {
		b.once(always, "RecordAdopted", text)
	}
}

// A selector is never overwritten: the domain goes on with the next one of the ring, and theirs stays.
func TestASelectorOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	const theirs = "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK"
	b := newBench(t, "ring.test", "hand.test")
	b.provider("dns")
	b.addTXT("ring.test", "one._domainkey.ring.test", theirs)
	b.addTXT("hand.test", "mine._domainkey.hand.test", theirs)
	d := b.domain("ring.test", func(d *v1alpha1.MailDomain) {
		d.Spec.AdoptionPolicy = v1alpha1.AdoptAlways // not for selectors
		d.Spec.DKIM.Selectors = &v1alpha1.Selectors{Ring: []v1alpha1.SelectorName{"one", "two", "three", "four"}}
	})
	hand := b.key("hand.test", "mine")

	one := &v1alpha1.DKIMKey{ObjectMeta: metav1.ObjectMeta{Name: "ring-test-one", Namespace: b.namespace}}
	for _, key := range []*v1alpha1.DKIMKey{one, hand} {
		b.awaitCondition(key, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict)
		b.says(key, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict, "never overwritten", theirs)
		b.says(key, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRecordConflict, "never overwritten")
		b.awaitSaid(key, v1alpha1.ReasonRecordConflict, "never overwritten", theirs)
	}
	b.awaitReady(d)
	if key := b.signing(d); key.Spec.Selector != "two" {
		t.Errorf("%s signs", key.Spec.Selector)
	}
	b.rounds()
	b.awaitTXT("one._domainkey.ring.test", theirs)
	b.awaitTXT("mine._domainkey.hand.test", theirs)

	b.removeTXT("hand.test", "mine._domainkey.hand.test")
	b.awaitReady(hand)
	b.awaitTXT("mine._domainkey.hand.test", hand.Status.RecordValue)
}

// A wildcard answers for every name without records. It is not our record, and is explained.
func TestAWildcardIsNotOurRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	if err := b.world.Zone("example.org").Add("* 1 TXT \"v=spf1 -all\"\n*._domainkey 1 CNAME keys.example.net."); err != nil {
		t.Fatal(err)
	}
	b.world.Server("127.0.0.4").Freeze() // it goes on answering from the wildcards
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.SPF, d.Spec.DMARC = nil, nil })
	var selector string
	b.await(d, "a published key", func() bool {
		for _, r := range d.Status.Records {
			if r.Purpose == v1alpha1.PurposeDKIM && r.State == v1alpha1.RecordPublished {
				selector = r.Name
				return r.Reason == v1alpha1.ReasonWildcardAnswers && holds(r.Message, "127.0.0.4", "*._domainkey.example.org", "not with a record at the name", "takes precedence")
			}
		}
		return false
	})
	if got := b.txt(selector); len(got) != 1 {
		t.Errorf("%s holds %q", selector, got)
	}
	b.world.Server("127.0.0.4").Release()
	b.awaitReady(d)
	if got := b.world.Zone("example.org").TXT("*.example.org."); len(got) != 1 || got[0] != "v=spf1 -all" {
		t.Errorf("the wildcard holds %q", got)
	}
}
