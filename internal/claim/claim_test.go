// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package claim

import (
	"context"
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

var (
	first  = Holder{Kind: "MailDomain", Namespace: "mail", Name: "example-org", UID: "1"}
	second = Holder{Kind: "MailDomain", Namespace: "shop", Name: "example-org", UID: "2"}
)

const domain dnsrecord.Name = "example.org"

// book returns two Books on one store, as two processes would have, whose holders are alive while listed.
func book(alive map[Holder]bool, failing *error) (*Book, *Book, *fake.Clientset) {
	client := fake.NewClientset()
	holds := func(_ context.Context, h Holder, _ dnsrecord.Name) (bool, error) {
		if failing != nil && *failing != nil {
			return false, *failing
		}
		return alive[h], nil
	}
	leases := client.CoordinationV1().Leases("operator")
	return NewBook(leases, holds), NewBook(leases, holds), client
}

func take(t *testing.T, b *Book, h, want Holder) {
	t.Helper()
	takeAs(t, b, h, Asserted, want)
}

func takeAs(t *testing.T, b *Book, h Holder, standing Standing, want Holder) {
	t.Helper()
	got, err := b.Take(t.Context(), domain, h, standing)
	if err != nil || got != want {
		t.Fatalf("%s asks (%q): held by %+v (%v), want %+v", h.Namespace, standing, got, err, want)
	}
}

func TestTheFirstToAskHoldsTheName(t *testing.T) {
	a, b, _ := book(map[Holder]bool{first: true, second: true}, nil)
	take(t, a, first, first)
	take(t, a, second, first)
	take(t, b, first, first) // after a restart
	take(t, b, second, first)
}

func TestAHolderThatIsGoneMakesWay(t *testing.T) {
	a, b, _ := book(map[Holder]bool{second: true}, nil)
	take(t, a, first, first)
	take(t, b, second, second)
}

func TestAnUnknownHolderKeepsItsClaim(t *testing.T) {
	failing := errors.New("the API server does not answer")
	a, b, _ := book(nil, &failing)
	take(t, a, first, first)
	if got, err := b.Take(t.Context(), domain, second, Asserted); !errors.Is(err, failing) {
		t.Fatalf("took %+v (%v) though nobody knows whether the holder lives", got, err)
	}
}

func TestOfTwoThatFindTheHolderGoneOneWins(t *testing.T) {
	a, b, client := book(map[Holder]bool{second: true}, nil)
	take(t, a, first, first)
	third := Holder{Kind: "MailDomain", Namespace: "third", Name: "x", UID: "3"}
	client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("conflict: the object has been modified")
	})
	if got, err := b.Take(t.Context(), domain, third, Asserted); err == nil {
		t.Fatalf("held by %+v though the update lost", got)
	}
}

func TestReleaseLeavesTheClaimOfAnother(t *testing.T) {
	a, b, client := book(map[Holder]bool{first: true, second: true}, nil)
	take(t, a, first, first)
	if err := b.Release(t.Context(), domain, second); err != nil {
		t.Fatal(err)
	}
	take(t, b, second, first)
	if err := a.Release(t.Context(), domain, first); err != nil {
		t.Fatal(err)
	}
	left, err := client.CoordinationV1().Leases("operator").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Fatalf("%d claims are left (%v)", len(left.Items), err)
	}
	take(t, b, second, second)
	take(t, a, first, second)
}

func TestAReleasedClaimRemembersTheSelectorsThatWereUsed(t *testing.T) {
	a, b, _ := book(map[Holder]bool{second: true}, nil)
	take(t, a, first, first)
	if err := a.Release(t.Context(), domain, first, "m20261123r", "m20261123e"); err != nil {
		t.Fatal(err)
	}
	if by, held, err := b.HeldBy(t.Context(), domain); held || err != nil {
		t.Errorf("a released claim is held by %+v (%v)", by, err)
	}
	take(t, b, second, second)
	if got := b.Used(domain); !slices.Equal(got, []string{"m20261123r", "m20261123e"}) {
		t.Errorf("used: %q", got)
	}
	if err := b.Release(t.Context(), domain, second, "m20261124r"); err != nil {
		t.Fatal(err)
	}
	take(t, b, second, second)
	if got := b.Used(domain); !slices.Equal(got, []string{"m20261124r", "m20261123r", "m20261123e"}) {
		t.Errorf("used after the second holder: %q", got)
	}
}

func TestASteadyHolderReadsNothing(t *testing.T) {
	a, _, client := book(map[Holder]bool{first: true}, nil)
	take(t, a, first, first)
	client.ClearActions()
	take(t, a, first, first)
	if got := client.Actions(); len(got) != 0 {
		t.Errorf("a holder that is remembered caused %v", got)
	}
}

// The table of the package's comment, and that nothing goes to and fro.
func TestWhoHasNothingToShowMakesWayForWhoHas(t *testing.T) {
	for name, c := range map[string]struct {
		holds, asks Standing
		passes      bool
	}{
		"two words, the first stays":           {Asserted, Asserted, false},
		"a grant takes it from a word":         {Asserted, Granted, true},
		"a grant does not from a key":          {Verified, Granted, false},
		"nor from a grant":                     {Granted, Granted, false},
		"a word gets nothing from a grant":     {Granted, Asserted, false},
		"nor from a key":                       {Verified, Asserted, false},
		"a key that is seen gets it back, too": {Asserted, Verified, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, _ := book(map[Holder]bool{first: true, second: true}, nil)
			takeAs(t, a, first, c.holds, first)
			want := first
			if c.passes {
				want = second
			}
			if _, bars, err := b.Bars(t.Context(), domain, second.Namespace, c.asks); bars == c.passes || err != nil {
				t.Errorf("bars %v (%v)", bars, err)
			}
			takeAs(t, a, second, c.asks, want) // in the process that remembers
			takeAs(t, b, second, c.asks, want)
			takeAs(t, a, first, c.holds, want)
			takeAs(t, b, first, c.holds, want)
			if c.passes || c.holds.firm() {
				takeAs(t, b, first, Granted, want) // of two that are firm, the first
			}
		})
	}
}

func TestAStandingIsNotedOnceAndStays(t *testing.T) {
	a, b, client := book(map[Holder]bool{first: true, second: true}, nil)
	take(t, a, first, first)
	takeAs(t, a, first, Verified, first)
	client.ClearActions()
	takeAs(t, a, first, Verified, first)
	take(t, a, first, first)
	if got := client.Actions(); len(got) != 0 {
		t.Errorf("what was noted caused %v", got)
	}
	take(t, b, first, first) // after a restart, and before its key is seen again
	takeAs(t, b, second, Granted, first)
}

func TestNobodyIsBarredByTheirOwnNamespace(t *testing.T) {
	a, _, _ := book(map[Holder]bool{first: true}, nil)
	takeAs(t, a, first, Granted, first)
	if _, bars, err := a.Bars(t.Context(), domain, first.Namespace, Asserted); bars || err != nil {
		t.Errorf("bars %v (%v)", bars, err)
	}
}
