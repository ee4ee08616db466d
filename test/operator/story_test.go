// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

func TestAMailDomainBecomesReadyAndItsKeysAreWhatTheWorldSees(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	before := b.txt("example.org")
	b.provider("dns")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
	})
	b.awaitReady(d)

	apex := b.txt("example.org")
	if len(apex) != len(before)+1 || !slices.Contains(apex, before[0]) || !slices.Contains(apex, "v=spf1 mx ~all") {
		t.Errorf("the apex holds %q, and held %q", apex, before)
	}
	if got := b.txt("_dmarc.example.org"); len(got) != 1 || got[0] != "v=DMARC1; p=none; rua=mailto:dmarc@example.org" {
		t.Errorf("_dmarc holds %q", got)
	}
	signers, err := keydir.Decode(b.signingSecret(d).Data, "example.org")
	if err != nil || !signers.Required || len(signers.Keys) != 2 {
		t.Fatalf("signers hold %+v (%v)", signers, err)
	}
	for _, k := range signers.Keys {
		published := b.txt(k.Selector + "._domainkey.example.org")
		if len(published) != 1 || published[0] != k.Pair.Record().String() {
			t.Errorf("%s: published %q, signing with %q", k.Selector, published, k.Pair.Record())
		}
		if _, err := dkim.ParseRecord(published[0]); err != nil {
			t.Error(err)
		}
	}
	b.await(d, "one spare of each algorithm", func() bool {
		standby := 0
		for _, k := range d.Status.Keys {
			if k.Phase == v1alpha1.PhaseStandby {
				standby++
			}
		}
		return standby == 2 && len(d.Status.Keys) == 4
	})
	for _, reason := range []string{"KeyCreated", "SigningChanged", "RecordHeld", "RecordVerified", "Ready"} {
		if _, ok := b.events(d)[reason]; !ok {
			t.Errorf("no event %s; there are %v", reason, b.events(d))
		}
	}
	if marker := b.txt("_maildomain.example.org"); len(marker) != 1 || !strings.HasPrefix(marker[0], "v=maildomain1;") {
		t.Errorf("the marker is %q", marker)
	}
}
