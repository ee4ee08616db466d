// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// fakeProber has one verdict for every target and counts the sweeps that it is asked for.
type fakeProber struct {
	evidence.Prober
	verdict dnscheck.Verdict
	sweeps  int
}

func (p *fakeProber) Verdict(dnscheck.Target) (dnscheck.Verdict, bool) { return p.verdict, true }
func (p *fakeProber) Sweep(dnscheck.Target)                            { p.sweeps++ }

func TestServersThatCannotBeAskedAreNotHurried(t *testing.T) {
	seen := observation{keys: []v1alpha1.DKIMKey{{ObjectMeta: metav1.ObjectMeta{Name: "k"}}}}
	for state, want := range map[dnscheck.State]int{dnscheck.Verified: 1, dnscheck.Unreachable: 0, dnscheck.Unknown: 0} {
		prober := &fakeProber{verdict: dnscheck.Verdict{State: state}}
		r := &Reconciler{Prober: prober}
		if err := r.step(t.Context(), seen, rotation.Sweep{Key: "k"}); err != nil || prober.sweeps != want {
			t.Errorf("%s: %d sweeps, want %d (%v)", state, prober.sweeps, want, err)
		}
	}
}
