// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

func TestOneAnswerOfAllPlacesIsTheWorst(t *testing.T) {
	said := func(state dnsplan.OutcomeState, message string) *dnsplan.Outcome {
		return &dnsplan.Outcome{Name: "m1._domainkey.example.org", State: state, Message: message}
	}
	inPlace := said(dnsplan.InPlace, "")
	for name, c := range map[string]struct {
		here   *dnsplan.Outcome
		others []Elsewhere
		want   string
	}{
		"one place":                       {inPlace, nil, "InPlace "},
		"both have it":                    {inPlace, []Elsewhere{{Where: "old", Outcome: inPlace}}, "InPlace "},
		"one has not answered":            {inPlace, []Elsewhere{{Where: "old"}}, "nil"},
		"its own place has not answered":  {nil, []Elsewhere{{Where: "old", Outcome: inPlace}}, "nil"},
		"nor while another one is gone":   {nil, []Elsewhere{{Where: "old", Trouble: "gone"}}, "nil"},
		"one cannot be asked":             {inPlace, []Elsewhere{{Where: "old", Trouble: "gone"}}, "Pending old: gone"},
		"one failed":                      {inPlace, []Elsewhere{{Where: "old", Outcome: said(dnsplan.Failed, "full")}}, "Failed old: full"},
		"its own place is worse":          {said(dnsplan.Conflict, "foreign"), []Elsewhere{{Where: "old", Trouble: "gone"}}, "Conflict foreign"},
		"the worst of three":              {inPlace, []Elsewhere{{Where: "a", Trouble: "gone"}, {Where: "b", Outcome: said(dnsplan.Conflict, "foreign")}}, "Conflict b: foreign"},
		"a removal that is not done yet":  {said(dnsplan.Absent, ""), []Elsewhere{{Where: "old", Outcome: said(dnsplan.Pending, "soon")}}, "Pending old: soon"},
		"a removal that is done at both":  {said(dnsplan.Absent, ""), []Elsewhere{{Where: "old", Outcome: said(dnsplan.Absent, "")}}, "Absent "},
		"somebody else's at another name": {inPlace, []Elsewhere{{Where: "old", Outcome: said(dnsplan.Conflict, "foreign")}}, "Conflict old: foreign"},
	} {
		got := "nil"
		if o := Everywhere(c.here, c.others); o != nil {
			got = string(o.State) + " " + o.Message
			if o.Name != "m1._domainkey.example.org" {
				t.Errorf("%s: of %q", name, o.Name)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
	if inPlace.State != dnsplan.InPlace || inPlace.Message != "" {
		t.Error("an answer was changed")
	}
}

func TestAConflictThatTheWorldDoesNotSeeIsAskedAboutAgain(t *testing.T) {
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	conflict := &dnsplan.Outcome{State: dnsplan.Conflict}
	for name, c := range map[string]struct {
		outcome  *dnsplan.Outcome
		answered time.Time
		again    bool
		look     time.Time
	}{
		"just answered":   {conflict, now, false, now.Add(patience)},
		"long ago":        {conflict, now.Add(-patience), true, now.Add(patience)},
		"not answered":    {nil, now.Add(-time.Hour), false, time.Time{}},
		"no conflict":     {&dnsplan.Outcome{State: dnsplan.InPlace}, now.Add(-time.Hour), false, time.Time{}},
		"asked just now":  {conflict, time.Time{}, false, time.Time{}},
		"a moment before": {conflict, now.Add(time.Second - patience), false, now.Add(time.Second)},
	} {
		if again, look := AskOnce(c.outcome, c.answered, now); again != c.again || !look.Equal(c.look) {
			t.Errorf("%s: %t, %s", name, again, look)
		}
	}
}
