// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

func TestAKeySignsOnUntilItsStatusSaysOtherwise(t *testing.T) {
	pair, err := dkim.Generate(t.Context(), dkim.Ed25519, 0)
	if err != nil {
		t.Fatal(err)
	}
	signing := keydir.Domain{Domain: "example.org", Keys: []keydir.Key{{Selector: "m1", Pair: pair}}}
	for name, c := range map[string]struct {
		selector v1alpha1.SelectorName
		known    string
		signs    bool
	}{
		"the very one":                 {"m1", pair.PublicKeySHA256(), true},
		"its status was lost":          {"m1", "", true},
		"another key pair":             {"m1", "aa", false},
		"another selector":             {"m2", pair.PublicKeySHA256(), false},
		"another one without a status": {"m2", "", false},
	} {
		key := &v1alpha1.DKIMKey{Spec: v1alpha1.DKIMKeySpec{Selector: c.selector}, Status: v1alpha1.DKIMKeyStatus{PublicKeySHA256: c.known}}
		if got := !signedBy(signing, key).IsZero(); got != c.signs {
			t.Errorf("%s: signs %v", name, got)
		}
	}
}
