// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package evidence puts what the provider and the authoritative servers said of a record into the words that the
// decisions take.
package evidence

import (
	"errors"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Of says what is known of one record. A nil outcome has not been answered; known is false before a first sweep.
func Of(outcome *dnsplan.Outcome, manual bool, verdict dnscheck.Verdict, known bool) desired.Seen {
	seen := desired.Seen{}
	if known {
		seen.World, seen.Message = world(verdict), words(verdict)
	}
	if outcome == nil {
		if manual {
			seen.Provider, seen.Message = desired.ByHand, "" // what to paste is not known yet
		}
		return seen
	}
	seen.Provider, seen.Replaced = provider(outcome.State, manual), outcome.Replaced
	if outcome.Message != "" && seen.Provider != desired.HasIt {
		seen.Message = outcome.Message
	}
	return seen
}

// Outdated tells whether the record drifted after the provider had answered, who then has to be asked again.
func Outdated(before *v1alpha1.RecordStatus, answered time.Time) bool {
	return before != nil && before.State == v1alpha1.RecordDrifted && before.StateChangedTime != nil &&
		!answered.IsZero() && answered.Before(before.StateChangedTime.Time)
}

// Since adds what the provider did after the record was last seen in place: whoever asks about one record of a domain
// has all of them repaired, also those of which no server has told yet.
func Since(before *v1alpha1.RecordStatus, seen desired.Seen, outcome *dnsplan.Outcome) desired.Seen {
	if before == nil || before.State != v1alpha1.RecordVerified || before.StateChangedTime == nil || outcome == nil {
		return seen
	}
	// To the second, as in a status: what was written before it was seen is never taken for later.
	seen.Repaired = outcome.ChangedTime.Truncate(time.Second).After(before.StateChangedTime.Time)
	if seen.Repaired && seen.World != desired.LacksIt {
		seen.Message = "the provider had lost it"
		if len(outcome.ChangedFrom) > 0 {
			seen.Message = "the provider had another record; found " + quoted(outcome.ChangedFrom)
		}
	}
	return seen
}

// words are the verdict's, and what was found instead of the record.
func words(v dnscheck.Verdict) string {
	if world(v) != desired.LacksIt || len(v.Found) == 0 {
		return v.Message
	}
	return v.Message + "; found " + quoted(v.Found)
}

func quoted(values []string) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = dnsrecord.Quote(v)
	}
	return strings.Join(all, ", ")
}

func provider(state dnsplan.OutcomeState, manual bool) desired.Provider {
	switch state {
	case dnsplan.InPlace, dnsplan.Absent:
		return desired.HasIt
	case dnsplan.Conflict:
		return desired.Foreign
	case dnsplan.Failed:
		return desired.CouldNotDo
	case dnsplan.Pending, dnsplan.Held:
	}
	if manual {
		return desired.ByHand
	}
	return desired.NotAsked
}

func world(v dnscheck.Verdict) desired.World {
	switch v.State {
	case dnscheck.Verified:
		return desired.SeesIt
	case dnscheck.Unchecked:
		return desired.NotChecked
	case dnscheck.Lacking, dnscheck.Differs, dnscheck.Conflict:
		return desired.LacksIt
	case dnscheck.Unknown, dnscheck.Unreachable:
	}
	return desired.NotLooked
}

// Answer returns the outcomes of a submission by name and type, if the result answers this very submission.
func Answer(submission dnsprovider.Submission, result dnsprovider.Result, ok bool) map[dnsplan.Key]dnsplan.Outcome {
	if !ok || result.Fingerprint != submission.Fingerprint() {
		return nil
	}
	outcomes := make(map[dnsplan.Key]dnsplan.Outcome, len(result.Outcomes))
	for _, o := range result.Outcomes {
		outcomes[dnsplan.Key{Name: o.Name, Type: o.Type}] = o
	}
	return outcomes
}

// patience is how long an answer of the provider is taken for true although the record is in conflict, or the
// authoritative servers lack it.
const patience = 5 * time.Minute

// AskAgain tells whether the provider has to be asked once more, and when to think again. The queue does not ask on its
// own. Somebody else's record goes away when somebody else acts, which the authoritative servers show if they are
// looked at; and a record can be lost at the provider before the world has seen it.
func AskAgain(r v1alpha1.RecordStatus, outcome *dnsplan.Outcome, answered time.Time, verdict dnscheck.Verdict, now time.Time) (bool, time.Time) {
	conflict := r.State == v1alpha1.RecordConflict
	if answered.IsZero() || !conflict && !missing(r, verdict) {
		return false, time.Time{}
	}
	cleared := conflict && verdict.SweptAt.After(answered) && mayBeOver(outcome, verdict)
	if again := answered.Add(patience); !cleared && now.Before(again) {
		return false, again
	}
	return true, now.Add(patience)
}

// mayBeOver: nothing stands there any more, or the wanted record alone, or one of several that stood there: that one may
// be adopted.
func mayBeOver(outcome *dnsplan.Outcome, v dnscheck.Verdict) bool {
	one := outcome != nil && len(outcome.Found) > 1 && len(v.Found) == 1
	return v.State == dnscheck.Lacking || v.State == dnscheck.Verified || one
}

// NeedsProvider tells whether the provider has to be asked about a record at all: in the steady state it is not. That a
// record is there by the word of an earlier process alone does not count where the servers lack it.
func NeedsProvider(r v1alpha1.RecordStatus, answered bool, verdict dnscheck.Verdict) bool {
	return desired.NeedsProvider(r) || !answered && missing(r, verdict)
}

// missing: the provider had it, and a server answers with authority that it is not there.
func missing(r v1alpha1.RecordStatus, verdict dnscheck.Verdict) bool {
	return r.State == v1alpha1.RecordPublished && world(verdict) == desired.LacksIt
}

// Wish asks the queue for a record; nothing is overwritten but what adoption allows.
func Wish(r desired.Record, before *v1alpha1.RecordStatus, ttl uint32, adoption dnsplan.Adoption) dnsplan.Wish {
	wish := dnsplan.Wish{Name: r.Name, Type: r.Type, Kind: r.Kind, Value: r.Value, TTL: ttl, Adoption: adoption}
	if before != nil {
		wish.Ours = desired.Ours(*before)
	}
	return wish
}

// Target is what the prober shall look for.
func Target(r desired.Record) dnscheck.Target {
	return dnscheck.Target{Name: r.Name, Type: r.Type, Kind: r.Kind, Value: r.Value}
}

// TypeOf reads the type of a record in a status, where TXT is left out.
func TypeOf(r v1alpha1.RecordStatus) dnsrecord.Type {
	if r.Type == "" {
		return dnsrecord.TXT
	}
	return dnsrecord.Type(r.Type)
}

// Trouble says what an answer that is about all records at once means for the conditions: that somebody else writes the
// domain, or an error of the provider; nil for neither.
func Trouble(result dnsprovider.Result) *readiness.Finding {
	if result.Rival != "" {
		return &readiness.Finding{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonOwnerConflict, Message: result.Rival, Person: true}
	}
	return Failure(result.Err)
}

// Failure says what an error of the provider as a whole means for the conditions; nil for no error.
func Failure(err error) *readiness.Finding {
	if err == nil {
		return nil
	}
	var e *dnsprovider.Error
	if !errors.As(err, &e) {
		return &readiness.Finding{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonWriteRefused, Message: err.Error()}
	}
	means := map[dnsprovider.Reason]struct{ condition, reason string }{
		dnsprovider.Unauthorized: {v1alpha1.ConditionProviderReady, v1alpha1.ReasonInvalidCredentials},
		dnsprovider.Unreachable:  {v1alpha1.ConditionProviderReady, v1alpha1.ReasonServerUnreachable},
		dnsprovider.ZoneNotFound: {v1alpha1.ConditionProviderReady, v1alpha1.ReasonZoneNotFound},
		dnsprovider.NotReady:     {v1alpha1.ConditionProviderReady, v1alpha1.ReasonProviderNotReady},
		dnsprovider.NotBuiltIn:   {v1alpha1.ConditionProviderReady, v1alpha1.ReasonProviderNotReady},
		dnsprovider.Invalid:      {v1alpha1.ConditionProviderReady, v1alpha1.ReasonProviderNotReady},
		dnsprovider.Throttled:    {v1alpha1.ConditionRecordsPublished, v1alpha1.ReasonThrottled},
	}
	m, ok := means[e.Reason]
	if !ok {
		m.condition, m.reason = v1alpha1.ConditionRecordsPublished, v1alpha1.ReasonWriteRefused
	}
	return &readiness.Finding{Condition: m.condition, Reason: m.reason, Message: e.Message, Person: !e.Temporary(), Unwatched: e.Reason == dnsprovider.ZoneNotFound}
}
