// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// A schedule is read in its time zone; what it missed while nobody ran happens once, and the next rotation at its time.
func TestAScheduleRotatesAtTheHourOfItsTimeZone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	noon := b.now().UTC().Truncate(24 * time.Hour).Add(36 * time.Hour)
	b.pass(noon.Sub(b.now())) // far from what follows
	b.provider("dns")
	d := b.domain("example.org", rotating(func(r *v1alpha1.Rotation) { r.Schedule, r.TimeZone = "30 4 * * *", "Asia/Kathmandu" }))
	b.settled(d)
	next := func() time.Time {
		b.await(d, "a next rotation", func() bool {
			return d.Status.Rotation != nil && d.Status.Rotation.NextTime != nil && d.Status.Rotation.NextTime.After(b.now())
		})
		at := d.Status.Rotation.NextTime.UTC()
		// 04:30 in Kathmandu is 22:45 UTC all year; each domain adds a tenth of the day at most.
		if late := at.Add(75 * time.Minute).Sub(at.Add(75 * time.Minute).Truncate(24 * time.Hour)); late > 24*time.Hour/10 || at.Sub(b.now()) > 27*time.Hour {
			t.Errorf("at %s the next rotation is at %s", b.now().UTC(), at)
		}
		return at
	}
	next()
	first, signers := b.signing(d), b.watchSigners(d.SigningSecret())

	b.stop() // and 40 times pass
	b.time().ahead.Add(int64(40 * 24 * time.Hour))
	b.start()
	second := b.awaitSigner(d, first)
	at := next()
	b.poke()
	b.settled(d)
	if got := b.signers(d); !slices.Equal(got, []string{second.Spec.Selector}) {
		t.Errorf("%q sign, and %s did", got, second.Spec.Selector)
	}
	if seen := len(signers()); seen > 2 {
		t.Errorf("signers saw %d keys, not one and then the other", seen)
	}
	b.pass(at.Sub(b.now()) + time.Minute)
	b.awaitSigner(d, second)
	next()
}

// The record of a key that a person brought stays as it was, however long: others may sign with it. A person's word that
// nobody does ends that, and the person alone deletes the DKIMKey and the Secret.
func TestAnAdoptedKeyKeepsItsRecordUntilAPersonsWord(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	text, pair := rsaKey(t, 2048)
	const name = "brought._domainkey.example.org"
	verbatim := strings.Replace(pair.Record().String(), "k=rsa", "n=from the old server; k=rsa", 1)
	b.addTXT("example.org", name, verbatim)
	b.pem("brought", text, adopt)
	old := b.key("example.org", "brought", bring("brought"))
	d := b.domain("example.org", rotating())
	b.settled(d)
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	b.awaitSigner(d, old)
	b.awaitRetiring(old)

	b.pass(overlap + grave + time.Hour)
	b.await(old, "a person's word", func() bool {
		return strings.HasPrefix(old.Status.WaitingFor, "a person's word that nobody else signs with it")
	})
	b.rounds()
	b.awaitTXT(name, verbatim)

	edit(b, old, func(k *v1alpha1.DKIMKey) { k.Spec.Revoked = true })
	b.awaitTXT(name, "v=DKIM1; k=rsa; p=")
	b.await(old, "an empty record", func() bool { return old.Status.RevokedTime != nil })
	b.pass(grave + time.Hour)
	b.await(old, "no record", func() bool { return old.Status.RemovedTime != nil })
	b.awaitTXT(name)
	b.pass(24 * time.Hour)
	b.settled(d)
	b.delete(old)
	b.awaitGone(old)
	if !b.exists(&corev1.Secret{}, "brought") {
		t.Error("the Secret that a person brought is gone")
	}
}

// byHand does what the status of each key asks a person to do.
func (b *bench) byHand(zone string) {
	b.Helper()
	for _, k := range b.keys() {
		s := k.Status
		standing := []string{}
		if s.RecordName != "" {
			standing = b.txt(s.RecordName)
		}
		switch {
		case holds(s.RecordMessage, "add this record by hand", s.RecordName) && !slices.Equal(standing, []string{s.RecordValue}):
			if len(standing) == 0 {
				b.addTXT(zone, s.RecordName, s.RecordValue)
			} else {
				b.swapTXT(zone, s.RecordName, standing[0], s.RecordValue)
			}
		case holds(s.RecordMessage, "remove this record by hand", s.RecordName) && len(standing) > 0:
			b.removeTXT(zone, s.RecordName)
		}
	}
}

// Where a person makes the changes of the zone, a rotation waits for each, says which, and does the rest.
func TestARotationByHand(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.create(&v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: b.namespace},
		Spec:       v1alpha1.DNSProviderSpec{TTLSeconds: 60, Manual: &v1alpha1.Manual{}},
	})
	untouched := b.world.Zone("example.org").Dump()
	d := b.domain("example.org", rotating(), func(d *v1alpha1.MailDomain) { d.Spec.SPF = nil })
	in := func(phase v1alpha1.KeyPhase) (found *v1alpha1.DKIMKey) {
		for _, k := range b.keys() {
			if k.Status.Phase == phase {
				found = &k
			}
		}
		return found
	}
	until := func(what string, is func() bool) {
		b.until(what, func() bool { b.byHand("example.org"); return is() })
	}
	until("a key that signs and a spare", func() bool { return in(v1alpha1.PhaseSigning) != nil && in(v1alpha1.PhaseStandby) != nil })
	old, spare := in(v1alpha1.PhaseSigning), in(v1alpha1.PhaseStandby)
	b.await(d, "the note that it signs", func() bool { return len(d.Status.Keys) == 2 && d.Status.Keys[1].SigningSinceTime != nil })
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	until("the spare that signs, and the next one", func() bool {
		return slices.Equal(b.signers(d), []string{spare.Spec.Selector}) && in(v1alpha1.PhaseStandby) != nil
	})
	b.awaitRetiring(old)
	b.await(old, "a note that it left", func() bool { return old.Status.RetiredTime != nil })
	b.pass(overlap + time.Hour)
	until("an empty record", func() bool { return b.get(old).Status.RevokedTime != nil })
	b.awaitTXT(old.Status.RecordName, "v=DKIM1; k=rsa; p=")
	b.pass(grave + time.Hour)
	until("no record", func() bool { return b.get(old).Status.RemovedTime != nil })
	b.pass(24 * time.Hour)
	b.awaitGone(old)
	for _, k := range b.keys() {
		b.removeTXT("example.org", k.Status.RecordName)
	}
	b.sameZone("example.org", untouched)
	if n := b.world.Server("127.0.0.3").Updates(); n != 0 {
		t.Errorf("the operator itself wrote %d times", n)
	}
}

func (b *bench) get(k *v1alpha1.DKIMKey) *v1alpha1.DKIMKey {
	b.Helper()
	b.await(k, "there", func() bool { return true })
	return k
}
