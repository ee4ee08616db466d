// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

// Elsewhere is what another place said of a record that has to stand there too.
type Elsewhere struct {
	Where   string
	Outcome *dnsplan.Outcome // nil: no answer yet
	Trouble string           // why it cannot be asked; "" if it can
}

// Everywhere is one answer of all places that have to hold a record: the worst. nil: one has not answered yet.
func Everywhere(here *dnsplan.Outcome, others []Elsewhere) *dnsplan.Outcome {
	worst := here
	for _, o := range others {
		switch {
		case o.Trouble != "":
			o.Outcome = &dnsplan.Outcome{State: dnsplan.Pending, Message: o.Trouble}
		case o.Outcome == nil || here == nil:
			return nil
		}
		if here != nil && gravity(o.Outcome.State) > gravity(worst.State) {
			outcome := *o.Outcome
			outcome.Name, outcome.Type = here.Name, here.Type
			outcome.Message = o.Where + ": " + outcome.Message
			worst = &outcome
		}
	}
	return worst
}

func gravity(s dnsplan.OutcomeState) int {
	return map[dnsplan.OutcomeState]int{dnsplan.Pending: 1, dnsplan.Failed: 2, dnsplan.Conflict: 3}[s]
}

// Stands tells whether the world sees the record as it is wanted. What a provider says that the world does not ask yet
// changes nothing about that.
func Stands(before *v1alpha1.RecordStatus, value string) bool {
	return before != nil && before.Value == value && before.State == v1alpha1.RecordVerified
}

// AskOnce tells whether a place that another record stands in the way at has to be asked once more, and when to think again:
// the queue does not ask on its own, and what the world does not ask yet no look at the world shows.
func AskOnce(outcome *dnsplan.Outcome, answered, now time.Time) (bool, time.Time) {
	if outcome == nil || outcome.State != dnsplan.Conflict || answered.IsZero() {
		return false, time.Time{}
	}
	if again := answered.Add(patience); now.Before(again) {
		return false, again
	}
	return true, now.Add(patience)
}

// StateAt is what one place of several has of a record, for the status.
func StateAt(outcome *dnsplan.Outcome) v1alpha1.RecordState {
	if outcome == nil {
		return v1alpha1.RecordPending
	}
	switch provider(outcome.State, false) {
	case desired.HasIt:
		return v1alpha1.RecordPublished
	case desired.Foreign:
		return v1alpha1.RecordConflict
	case desired.NotAsked, desired.ByHand, desired.CouldNotDo:
	}
	return v1alpha1.RecordPending
}
