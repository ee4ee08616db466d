// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
)

// Lifetimes that are long beside the seconds of a test, and pass at once on its timeline.
const (
	overlap = 5 * 24 * time.Hour
	grave   = 2 * 24 * time.Hour // the tombstone
)

func rotating(change ...func(*v1alpha1.Rotation)) func(*v1alpha1.MailDomain) {
	return func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Rotation = &v1alpha1.Rotation{Overlap: &metav1.Duration{Duration: overlap}, Tombstone: &metav1.Duration{Duration: grave}}
		for _, c := range change {
			c(d.Spec.DKIM.Rotation)
		}
		d.Spec.DMARC = nil
	}
}

// awaitSigner waits until the domain signs with another key of an algorithm than that one, and a spare stands ready again.
func (b *bench) awaitSigner(d *v1alpha1.MailDomain, instead *v1alpha1.DKIMKey) *v1alpha1.DKIMKey {
	b.Helper()
	b.await(d, "another key that signs", func() bool {
		return slices.ContainsFunc(d.Status.Keys, func(k v1alpha1.KeyStatus) bool {
			return k.Phase == v1alpha1.PhaseSigning && k.Algorithm == instead.Spec.Algorithm && k.Name != instead.Name && k.SigningSinceTime != nil
		})
	})
	b.settled(d)
	return b.signing(d)
}

func (b *bench) awaitRetiring(k *v1alpha1.DKIMKey) {
	b.Helper()
	b.await(k, "its retirement", func() bool { return k.Status.Phase == v1alpha1.PhaseRetiring })
}

// readiness records every word of the condition Ready from now on.
func (b *bench) readiness(d *v1alpha1.MailDomain) func() []string {
	b.Helper()
	w, err := client.NewWithWatch(b.config, client.Options{Scheme: b.Scheme()})
	if err != nil {
		b.Fatal(err)
	}
	watch, err := w.Watch(b.Context(), &v1alpha1.MailDomainList{}, client.InNamespace(b.namespace))
	if err != nil {
		b.Fatal(err)
	}
	seen := make(chan []string, 1)
	name := d.Name // d itself is read anew while we watch
	go func() {
		var all []string
		for e := range watch.ResultChan() {
			o, ok := e.Object.(*v1alpha1.MailDomain)
			if !ok || o.Name != name {
				continue
			}
			if c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); c != nil {
				all = append(all, string(c.Status)+" "+c.Reason+": "+c.Message)
			}
		}
		seen <- slices.Compact(all)
	}()
	return func() []string {
		watch.Stop()
		return <-seen
	}
}

// The life of a key from a person's word to the last trace of it, with every wait readable and Ready all the time.
func TestAKeyIsRotatedRetiredAndGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", rotating())
	b.settled(d)
	old := b.signing(d)
	ready := b.readiness(d)
	b.pass(time.Minute)
	word := b.word(d, v1alpha1.AnnotationRotate)

	fresh := b.awaitSigner(d, old)
	b.await(d, "a rotation that is noted", func() bool {
		r := d.Status.Rotation
		return r != nil && r.LastHandledRotateTime == word && r.LastTime != nil && r.LastTime.Equal(fresh.Status.SigningSinceTime)
	})
	b.awaitRetiring(old)
	b.await(old, "an end of its overlap", func() bool {
		return strings.HasPrefix(old.Status.WaitingFor, "mail on its way that it signed, until "+old.Status.RetiredTime.Add(overlap+b.settings.Keys.RevocationGrace).UTC().Format(time.RFC3339))
	})
	published := old.Status.RecordValue

	b.pass(overlap - time.Minute)
	b.rounds()
	b.awaitTXT(old.Status.RecordName, published)
	b.pass(2 * time.Minute)
	b.await(old, "an empty record", func() bool { return old.Status.RevokedTime != nil })
	b.awaitTXT(old.Status.RecordName, "v=DKIM1; k=rsa; p=")
	b.await(old, "an end of its tombstone", func() bool {
		return strings.Contains(old.Status.WaitingFor, "receivers to see its empty record, until ")
	})

	b.pass(grave + time.Minute)
	b.await(old, "no record", func() bool { return old.Status.RemovedTime != nil })
	b.awaitTXT(old.Status.RecordName)
	b.await(old, "a last wait", func() bool { return strings.Contains(old.Status.WaitingFor, "caches to forget its record, until ") })
	if !b.exists(&corev1.Secret{}, old.Name) {
		t.Error("the Secret went before the DKIMKey")
	}
	b.pass(24 * time.Hour)
	b.awaitGone(old)
	if b.exists(&corev1.Secret{}, old.Name) {
		t.Error("the Secret outlived the DKIMKey")
	}
	b.settled(d)
	for _, reason := range []string{"KeyRetiring", "RecordEmptied", "RecordRemoved"} {
		b.once(old, reason)
	}
	b.once(d, "KeyDeleted", old.Name)
	for _, was := range ready() {
		if !strings.HasPrefix(was, "True") {
			t.Errorf("Ready was %s", was)
		}
	}
	if !slices.ContainsFunc(d.Status.Keys, func(k v1alpha1.KeyStatus) bool { return k.Selector == old.Spec.Selector }) {
		t.Error("the selector is forgotten")
	}
	if signers := b.signers(d); !slices.Equal(signers, []string{fresh.Spec.Selector}) {
		t.Errorf("%q sign", signers)
	}
	if state := d.Status.Rotation; state.WaitingFor != "" || state.NextTime != nil {
		t.Errorf("in the end rotation is %+v", state)
	}
}

// An interval rotates once, however many times it passed while nobody looked, and all algorithms together.
func TestAnIntervalRotatesOnceAndAllAlgorithmsTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", bothAlgorithms, rotating(func(r *v1alpha1.Rotation) { r.Interval = &metav1.Duration{Duration: 30 * 24 * time.Hour} }))
	b.settled(d)
	first := b.signers(d)
	b.await(d, "a next rotation", func() bool {
		next := d.Status.Rotation
		return next != nil && next.NextTime != nil && next.NextTime.After(b.now().Add(29*24*time.Hour)) && next.NextTime.Time.Before(b.now().Add(34*24*time.Hour))
	})
	signers := b.watchSigners(d.SigningSecret())

	b.stop() // for a long time
	b.time().ahead.Add(int64(100 * 24 * time.Hour))
	b.start()
	b.await(d, "other keys that sign", func() bool {
		return len(b.signers(d)) == 2 && !slices.ContainsFunc(b.signers(d), func(s string) bool { return contains(first, s) })
	})
	b.settled(d)
	second := b.signers(d)
	b.rounds()
	b.poke()
	b.rounds()
	if got := b.signers(d); !slices.Equal(got, second) {
		t.Errorf("%q sign, and then %q", second, got)
	}
	if seen := len(signers()); seen > 2 {
		t.Errorf("signers saw %d sets of keys, not one and then the other", seen)
	}

	edit(b, d, func(d *v1alpha1.MailDomain) { d.Spec.DKIM.Rotation.Suspend = true })
	b.await(d, "no next rotation", func() bool { return d.Status.Rotation.NextTime == nil })
	b.pass(50 * 24 * time.Hour)
	b.rounds()
	if got := b.signers(d); !slices.Equal(got, second) {
		t.Errorf("%q sign though rotation is suspended", got)
	}
}

// A rotation is undone as long as the record of the former key stands; what cannot be read or followed is told.
func TestARotationIsUndone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", rotating())
	b.settled(d)
	old := b.signing(d)
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	fresh := b.awaitSigner(d, old)
	b.awaitRetiring(old)

	b.pass(time.Hour)
	undo := b.word(d, v1alpha1.AnnotationRotateUndo)
	b.await(d, "the former key", func() bool { return slices.Equal(b.signers(d), []string{old.Spec.Selector}) })
	b.await(d, "an undo that is noted", func() bool { return d.Status.Rotation.LastHandledRotateUndoTime == undo })
	b.await(old, "a new beginning", func() bool {
		return old.Status.Phase == v1alpha1.PhaseSigning && old.Status.RetiredTime == nil && old.Status.SigningSinceTime.After(fresh.Status.SigningSinceTime.Time)
	})
	b.awaitRetiring(fresh)
	b.settled(d)

	// Once its record is empty no key comes back.
	b.pass(overlap + time.Hour)
	b.await(fresh, "an empty record", func() bool { return fresh.Status.RevokedTime != nil })
	late := b.word(d, v1alpha1.AnnotationRotateUndo)
	b.awaitSaid(d, "RotationStays", v1alpha1.AnnotationRotateUndo, "RSA")
	b.await(d, "an undo that is noted", func() bool { return d.Status.Rotation.LastHandledRotateUndoTime == late })
	if got := b.signers(d); !slices.Equal(got, []string{old.Spec.Selector}) {
		t.Errorf("%q sign", got)
	}

	edit(b, d, func(d *v1alpha1.MailDomain) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, v1alpha1.AnnotationRotate, "tomorrow")
	})
	b.await(d, "words about the annotation", func() bool {
		c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonInvalidAnnotation
	})
	b.says(d, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidAnnotation, v1alpha1.AnnotationRotate, `"tomorrow"`, "2026-11-23T16:00:00Z")
	edit(b, d, func(d *v1alpha1.MailDomain) { delete(d.Annotations, v1alpha1.AnnotationRotate) })
	b.awaitReady(d)
}

// Nothing irreversible is done while the API server's clock and ours are apart, nor before a pod that signs has dropped the
// key.
func TestAKeyIsHeldByDoubtfulClocksAndByPodsThatStillSign(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	pod := b.signerPod("mta-0")
	d := b.domain("example.org", rotating(), func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Signers = &v1alpha1.Signers{PodSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "mta"}}}
	})
	b.settled(d)
	old := b.signing(d)
	pod.holds("example.org", old.Spec.Selector)
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	fresh := b.awaitSigner(d, old)
	b.awaitCondition(old, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWaitingForSigners)
	b.says(old, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWaitingForSigners, "pod mta-0 still holds "+old.Spec.Selector)
	if want := "signers to drop it: pod mta-0 still holds " + old.Spec.Selector; old.Status.WaitingFor != want {
		t.Errorf("it waits for %q, not %q", old.Status.WaitingFor, want)
	}
	b.await(d, "the pod's name", func() bool {
		return strings.Contains(d.Status.Rotation.WaitingFor, "pod mta-0 still holds "+old.Spec.Selector)
	})
	b.awaitReady(d)
	b.pass(overlap + time.Hour)
	b.rounds()
	b.await(old, "no note that it left", func() bool { return old.Status.RetiredTime == nil && old.Status.RevokedTime == nil })
	pod.holds("example.org", fresh.Spec.Selector)
	b.await(old, "a note that it left", func() bool { return old.Status.RetiredTime != nil })

	b.time().skew.Store(int64(6 * time.Minute))
	b.pass(overlap + time.Hour)
	b.awaitCondition(old, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonClockSkew)
	b.rounds()
	b.awaitTXT(old.Status.RecordName, old.Status.RecordValue)
	b.time().skew.Store(0)
	b.await(old, "an empty record", func() bool { return old.Status.RevokedTime != nil })
}

// What the spec asks for is replaced without a person's word: a longer key, and an algorithm that is wanted no more.
func TestAChangeOfKeysIsARotation(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", bothAlgorithms, rotating())
	b.settled(d)
	var rsa, ed *v1alpha1.DKIMKey
	for _, k := range b.keys() {
		if k.Status.Phase == v1alpha1.PhaseSigning && k.Spec.Algorithm == v1alpha1.AlgorithmRSA {
			rsa = &k
		} else if k.Status.Phase == v1alpha1.PhaseSigning {
			ed = &k
		}
	}
	ready := b.readiness(d)
	edit(b, d, func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA, Bits: 3072}}
	})
	b.awaitRetiring(ed)
	fresh := b.awaitSigner(d, rsa)
	if fresh.Status.Bits != 3072 {
		t.Errorf("%d bits sign", fresh.Status.Bits)
	}
	b.awaitRetiring(rsa)
	for _, was := range ready() {
		if !strings.HasPrefix(was, "True") {
			t.Errorf("Ready was %s", was)
		}
	}
	b.pass(overlap + time.Hour)
	for _, k := range []*v1alpha1.DKIMKey{rsa, ed} {
		b.await(k, "an empty record", func() bool { return k.Status.RevokedTime != nil })
	}
}

// A ring gives a name again only after every trace of its former key is gone.
func TestARingTurns(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	ring := []v1alpha1.SelectorName{"one", "two", "three"}
	d := b.domain("example.org", rotating(), func(d *v1alpha1.MailDomain) { d.Spec.DKIM.Selectors = &v1alpha1.Selectors{Ring: ring} })
	b.settled(d)
	one := b.signing(d)
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	b.awaitSigner(d, one)
	b.pass(time.Minute)
	b.word(d, v1alpha1.AnnotationRotate)
	b.await(d, "the third one", func() bool { return slices.Equal(b.signers(d), []string{"three"}) })
	b.await(d, "a ring that is in use", func() bool {
		return strings.Contains(d.Status.Rotation.WaitingFor, "every selector of the ring is in use")
	})
	of := func(selector string) *v1alpha1.DKIMKey {
		keys := b.keys()
		if i := slices.IndexFunc(keys, func(k v1alpha1.DKIMKey) bool { return k.Spec.Selector == selector }); i >= 0 {
			return &keys[i]
		}
		return nil
	}
	two := of("two")
	published := []string{one.Status.RecordValue, two.Status.RecordValue}

	b.awaitRetiring(one)
	b.awaitRetiring(two)
	b.pass(overlap + time.Hour)
	b.await(one, "an empty record", func() bool { return one.Status.RevokedTime != nil })
	b.await(two, "an empty record", func() bool { return two.Status.RevokedTime != nil })
	b.pass(grave + time.Hour)
	b.await(one, "no record", func() bool { return one.Status.RemovedTime != nil })
	b.await(two, "no record", func() bool { return two.Status.RemovedTime != nil })
	former := []types.UID{one.UID, two.UID}
	b.pass(24 * time.Hour)
	var again *v1alpha1.DKIMKey // under whichever name is free first
	b.await(d, "a new key under a name that served before", func() bool {
		for _, selector := range []string{"one", "two"} {
			if k := of(selector); k != nil && !slices.Contains(former, k.UID) && k.Status.RecordValue != "" {
				again = k
			}
		}
		return again != nil
	})
	if slices.Contains(published, again.Status.RecordValue) {
		t.Error("a former key came back")
	}
	b.settled(d)
}

// Without a spare that may sign mail is held, and the status says until when.
func TestARevocationWithoutASpareHoldsMailUntilAKeyMaySign(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.restart(func(s *controllers.Settings) { s.Keys.MinimumWait = time.Hour })
	b.provider("dns")
	d := b.domain("example.org", rotating())
	b.await(d, "a key that waits", func() bool { return len(d.Status.Keys) == 1 && d.Status.Keys[0].UsableTime != nil })
	b.pass(2 * time.Hour)
	b.awaitReady(d)
	old := b.signing(d)
	b.await(d, "a spare that waits", func() bool { return len(d.Status.Keys) == 2 && d.Status.Keys[0].UsableTime != nil })
	usable := d.Status.Keys[0].UsableTime.UTC().Format(time.RFC3339)
	edit(b, d, func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.RevokedSelectors = []v1alpha1.SelectorName{old.Spec.Selector}
	})
	b.awaitCondition(d, v1alpha1.ConditionMailHeld, metav1.ConditionTrue, v1alpha1.ReasonNoUsableKey)
	b.says(d, v1alpha1.ConditionMailHeld, metav1.ConditionTrue, v1alpha1.ReasonNoUsableKey, "451", usable)
	b.awaitSaid(d, v1alpha1.ReasonNoUsableKey, usable)
	b.awaitSaid(old, "KeyRevoked", old.Spec.Selector, "its record is emptied at", "fails")
	b.awaitTXT(old.Status.RecordName, "v=DKIM1; k=rsa; p=")
	if signers := b.signers(d); len(signers) != 0 {
		t.Errorf("%q sign", signers)
	}
	b.pass(2 * time.Hour)
	b.await(d, "the spare that signs", func() bool { return len(b.signers(d)) == 1 && b.signers(d)[0] != old.Spec.Selector })
}

// A domain that is deleted in the middle of a rotation leaves everything as it is, or nothing at all.
func TestADeletionInMidRotation(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	b.provider("dns")
	empty := b.world.Zone("example.org").Dump()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain} { // what is retained stays in the namespace
		zone := map[v1alpha1.DeletionPolicy]string{v1alpha1.DeletionDelete: "example.org", v1alpha1.DeletionRetain: "example.net"}[policy]
		t.Run(string(policy), func(t *testing.T) {
			b := b.in(t)
			d := b.domain(zone, rotating(), func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = policy })
			b.settled(d)
			old := b.signing(d)
			b.pass(time.Minute)
			b.word(d, v1alpha1.AnnotationRotate)
			b.awaitSigner(d, old)
			b.awaitRetiring(old)
			before := b.live(d)
			b.delete(d)
			b.awaitGone(d)
			if policy == v1alpha1.DeletionDelete {
				b.sameZone(zone, empty)
				b.nothingIsLeft()
				return
			}
			b.pass(overlap + grave + time.Hour)
			b.rounds()
			b.stillLive(d, before)
			b.await(old, "nobody to say how long", func() bool { return strings.Contains(old.Status.WaitingFor, "a MailDomain that says how long") })
			d = b.domain(zone, rotating())
			b.settled(d)
			b.await(old, "its end", func() bool { return old.Status.RevokedTime != nil }) // its overlap is long over
		})
	}
}
