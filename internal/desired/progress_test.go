// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var want = Record{Name: "example.org", Type: "TXT", Purpose: v1alpha1.PurposeSPF, Value: "v=spf1 -all"}

func status(state v1alpha1.RecordState) *v1alpha1.RecordStatus {
	earlier := metav1.NewTime(now.Add(-time.Hour))
	return &v1alpha1.RecordStatus{Name: "example.org", Purpose: v1alpha1.PurposeSPF, Value: "v=spf1 -all", State: state, StateChangedTime: &earlier}
}

func TestHowARecordGoesOn(t *testing.T) {
	held := want
	held.Hold = "held until an RSA key signs"
	for name, c := range map[string]struct {
		before *v1alpha1.RecordStatus
		want   Record
		seen   Seen
		state  v1alpha1.RecordState
	}{
		"a new record is pending":                    {nil, want, Seen{}, v1alpha1.RecordPending},
		"the world alone does not make it ours":      {nil, want, Seen{World: SeesIt}, v1alpha1.RecordPending},
		"the provider has it":                        {status(v1alpha1.RecordPending), want, Seen{Provider: HasIt}, v1alpha1.RecordPublished},
		"the world sees it":                          {status(v1alpha1.RecordPublished), want, Seen{World: SeesIt}, v1alpha1.RecordVerified},
		"both in one look":                           {status(v1alpha1.RecordPending), want, Seen{Provider: HasIt, World: SeesIt}, v1alpha1.RecordVerified},
		"verification switched off":                  {status(v1alpha1.RecordPublished), want, Seen{World: NotChecked}, v1alpha1.RecordVerified},
		"it stays verified while nobody looks":       {status(v1alpha1.RecordVerified), want, Seen{}, v1alpha1.RecordVerified},
		"an answer of long ago does not unsettle it": {status(v1alpha1.RecordVerified), want, Seen{Provider: HasIt}, v1alpha1.RecordVerified},
		"changed outside":                            {status(v1alpha1.RecordVerified), want, Seen{Provider: HasIt, World: LacksIt}, v1alpha1.RecordDrifted},
		"still drifted until the provider was asked": {status(v1alpha1.RecordDrifted), want, Seen{World: LacksIt}, v1alpha1.RecordDrifted},
		"repaired":                              {status(v1alpha1.RecordDrifted), want, Seen{Provider: HasIt, World: LacksIt}, v1alpha1.RecordPublished},
		"someone else's record":                 {status(v1alpha1.RecordPending), want, Seen{Provider: Foreign}, v1alpha1.RecordConflict},
		"the conflict is over":                  {status(v1alpha1.RecordConflict), want, Seen{Provider: HasIt}, v1alpha1.RecordPublished},
		"a provider that fails changes nothing": {status(v1alpha1.RecordPublished), want, Seen{Provider: CouldNotDo}, v1alpha1.RecordPublished},
		"held":                                  {nil, held, Seen{}, v1alpha1.RecordAwaitingSigning},
		"no longer held":                        {status(v1alpha1.RecordAwaitingSigning), want, Seen{}, v1alpha1.RecordPending},
		"to be pasted":                          {nil, want, Seen{Provider: ByHand, World: LacksIt}, v1alpha1.RecordPending},
		"pasted":                                {status(v1alpha1.RecordPending), want, Seen{Provider: ByHand, World: SeesIt}, v1alpha1.RecordVerified},
	} {
		t.Run(name, func(t *testing.T) {
			after := Progress(c.before, c.want, c.seen, now)
			if after.State != c.state {
				t.Errorf("is %s, want %s", after.State, c.state)
			}
			if changed := c.before == nil || c.before.State != after.State; changed != after.StateChangedTime.Time.Equal(now) {
				t.Errorf("state changed %v, but its time is %s", changed, after.StateChangedTime)
			}
		})
	}
}

func TestANewValueRemembersWhatTheProviderHas(t *testing.T) {
	next := want
	next.Value = "v=spf1 mx -all"
	after := Progress(status(v1alpha1.RecordVerified), next, Seen{}, now)
	if after.State != v1alpha1.RecordPending || after.PublishedValue != "v=spf1 -all" {
		t.Fatalf("got %+v", after)
	}
	if diff := cmp.Diff([]string{"v=spf1 -all"}, Ours(after)); diff != "" {
		t.Error(diff)
	}
	// The value changes once more before the provider was asked: what it has is still the first one.
	next.Value = "v=spf1 a -all"
	after = Progress(&after, next, Seen{}, now)
	if diff := cmp.Diff([]string{"v=spf1 -all"}, Ours(after)); diff != "" {
		t.Error(diff)
	}
	after = Progress(&after, next, Seen{Provider: HasIt}, now)
	if after.PublishedValue != "" || Ours(after)[0] != "v=spf1 a -all" {
		t.Errorf("got %+v", after)
	}
}

func TestAdoptionKeepsTheReplacedText(t *testing.T) {
	long := strings.Repeat("ü", v1alpha1.MaxRecordValueLength)
	after := Progress(status(v1alpha1.RecordPending), want, Seen{Provider: HasIt, Replaced: long}, now)
	if len(after.ReplacedValue) > v1alpha1.MaxRecordValueLength || !strings.HasSuffix(after.ReplacedValue, "…") {
		t.Errorf("a status may hold %d octets, the text has %d", v1alpha1.MaxRecordValueLength, len(after.ReplacedValue))
	}
	if later := Progress(&after, want, Seen{}, now); later.ReplacedValue != after.ReplacedValue {
		t.Error("the replaced text is forgotten")
	}
}

// Whatever is seen again changes nothing: a steady object is never written.
func TestLookingAgainWritesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := Seen{
			Provider: rapid.SampledFrom([]Provider{NotAsked, HasIt, Foreign, ByHand, CouldNotDo}).Draw(t, "provider"),
			World:    rapid.SampledFrom([]World{NotLooked, SeesIt, LacksIt, NotChecked}).Draw(t, "world"),
		}
		record := want
		record.Hold = rapid.SampledFrom([]string{"", "held"}).Draw(t, "hold")
		before := status(rapid.SampledFrom([]v1alpha1.RecordState{
			v1alpha1.RecordPending, v1alpha1.RecordPublished, v1alpha1.RecordVerified, v1alpha1.RecordConflict,
			v1alpha1.RecordDrifted, v1alpha1.RecordAwaitingSigning,
		}).Draw(t, "before"))
		once := Progress(before, record, seen, now)
		if once.State == v1alpha1.RecordDrifted && seen.Provider != NotAsked {
			return // the provider's answer was of before the drift, and is dropped when it is asked again
		}
		if twice := Progress(&once, record, seen, now.Add(time.Hour)); !cmp.Equal(once, twice) {
			t.Fatal(cmp.Diff(once, twice))
		}
	})
}
