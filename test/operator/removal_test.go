// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
)

// Somebody deletes all domains at once: none is touched until a person agrees, each for itself; a restart changes nothing;
// publication, rotation and revocation go on.
func TestAMassRemovalWaitsForAPerson(t *testing.T) {
	t.Parallel()
	var zones []string
	for i := range 6 {
		zones = append(zones, fmt.Sprintf("d%d.test", i))
	}
	b := newBench(t, append(zones, "new.test", "stays.test")...)
	b.restart(func(s *controllers.Settings) { s.Removals = brake.Limit{Share: 0.25, Floor: 4, Window: time.Hour} })
	b.provider("dns")
	untouched := map[string]string{}
	for _, z := range zones {
		untouched[z] = b.world.Zone(z).Dump()
	}
	var domains []*v1alpha1.MailDomain
	for i, z := range zones {
		domains = append(domains, b.domain(z, deleting, func(d *v1alpha1.MailDomain) {
			if i > 0 {
				d.Spec.DKIM = nil
			}
		}))
	}
	stays := b.domain("stays.test")
	before := map[string]string{}
	for i, d := range append(domains, stays) {
		b.settled(d)
		if i < len(zones) {
			before[zones[i]] = b.world.Zone(zones[i]).Dump()
		}
	}
	signers, former := b.live(domains[0]), b.signing(stays)

	b.stop() // so that all are seen to go at once
	for _, d := range domains {
		b.delete(d)
	}
	b.start()
	for _, d := range domains {
		b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemovalHeld)
		b.says(d, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRemovalHeld, "25 %", v1alpha1.AnnotationAllowRemoval, "spec.deletionPolicy Retain")
		b.awaitSaid(d, v1alpha1.ReasonRemovalHeld, "until a person agrees")
	}

	b.restart(nothing)
	b.word(stays, v1alpha1.AnnotationRotate)
	added := b.domain("new.test", func(d *v1alpha1.MailDomain) { d.Spec.DKIM = nil })
	b.awaitReady(added)
	b.awaitSigner(stays, former)
	b.awaitRetiring(former)
	b.pass(15 * 24 * time.Hour)
	b.await(former, "an empty record", func() bool { return former.Status.RevokedTime != nil })
	b.pass(31 * 24 * time.Hour)
	b.awaitGone(former)
	b.rounds()
	for i, d := range domains {
		b.says(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemovalHeld)
		b.sameZone(zones[i], before[zones[i]])
		b.once(d, v1alpha1.ReasonRemovalHeld)
	}
	b.sameSigners(domains[0], signers)

	// One may go, one shall stay, and the others go on waiting.
	edit(b, domains[1], func(d *v1alpha1.MailDomain) { d.Annotations[v1alpha1.AnnotationAllowRemoval] = "yes" })
	b.await(domains[1], "words about its annotation", func() bool { return holds(describe(domains[1]), "is no time such as") })
	b.word(domains[0], v1alpha1.AnnotationAllowRemoval)
	b.awaitGone(domains[0])
	b.sameZone(zones[0], untouched[zones[0]])
	edit(b, domains[2], func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	b.awaitGone(domains[2])
	b.sameZone(zones[2], before[zones[2]])
	b.rounds()
	for _, i := range []int{1, 3, 4, 5} {
		b.says(domains[i], v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemovalHeld)
		b.sameZone(zones[i], before[zones[i]])
		b.word(domains[i], v1alpha1.AnnotationAllowRemoval)
	}
	for _, i := range []int{1, 3, 4, 5} {
		b.awaitGone(domains[i])
		b.sameZone(zones[i], untouched[zones[i]])
	}
}
