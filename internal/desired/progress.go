// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Provider is what the provider said of a record since the last submission.
type Provider string

// What a provider can have said.
const (
	NotAsked   Provider = ""           // no answer since the last submission
	HasIt      Provider = "HasIt"      // it stands there as wanted, read back
	Foreign    Provider = "Foreign"    // someone else's record stands there
	ByHand     Provider = "ByHand"     // a person has to paste it
	CouldNotDo Provider = "CouldNotDo" // the provider failed; Message says how
)

// World is what the authoritative servers said of a record.
type World string

// What the authoritative servers can have said.
const (
	NotLooked  World = ""           // no sweep yet, or none that came to a result
	SeesIt     World = "SeesIt"     // every server that counts answers it
	LacksIt    World = "LacksIt"    // a server answers with authority that it is not there, or something else is
	NotChecked World = "NotChecked" // verification is switched off: what the provider says suffices
)

// Seen is what is known of one record at this moment.
type Seen struct {
	Provider Provider
	World    World
	// Repaired: it was in place and seen, and since then the provider had to write it again.
	Repaired bool
	// Replaced is a foreign text that the provider held before the record was adopted.
	Replaced string
	// Reason is why the world lacks it, where that is known; one of the API's reasons.
	Reason string
	// Message says what is wrong or awaited, for people; stable in wording.
	Message string
}

// Progress carries the status of one record forward. It changes only when a state or a text changes, never because
// time passed, so that a steady object is never written.
//
//	         ┌────────────────────────────── value changed ───────────────────────────┐
//	(held) AwaitingSigning ──► Pending ──► Published ──► Verified ──► Drifted ─────────┘
//	                              └──► Conflict              └── repaired through the provider
func Progress(before *v1alpha1.RecordStatus, want Record, seen Seen, now time.Time) v1alpha1.RecordStatus {
	after := v1alpha1.RecordStatus{
		Name: string(want.Name), Type: typeOf(want), Purpose: want.Purpose, Value: want.Value,
		State: v1alpha1.RecordPending,
	}
	if before != nil {
		after.ReplacedValue, after.State, after.StateChangedTime = before.ReplacedValue, before.State, before.StateChangedTime
		after.PublishedValue = before.PublishedValue
		if before.Value != want.Value {
			after.PublishedValue, after.State = publishedValue(*before), v1alpha1.RecordPending
		}
	}
	after.State, after.Message = nextState(after.State, want, seen)
	if after.State == v1alpha1.RecordConflict && seen.Provider == NotAsked {
		after.Message = before.Message // what the provider said holds until it says something else
	}
	if after.State == v1alpha1.RecordPublished {
		after.Reason = seen.Reason
	}
	if seen.Replaced != "" {
		after.ReplacedValue = readiness.Cut(seen.Replaced, v1alpha1.MaxRecordValueLength)
	}
	if Published(after) {
		after.PublishedValue = "" // the same as the value
	}
	if before == nil || before.State != after.State {
		after.StateChangedTime = &metav1.Time{Time: now.UTC().Truncate(time.Second)}
	}
	return after
}

func nextState(state v1alpha1.RecordState, want Record, seen Seen) (v1alpha1.RecordState, string) {
	if want.Hold != "" {
		return v1alpha1.RecordAwaitingSigning, readiness.Cut(want.Hold, v1alpha1.MaxMessageLength)
	}
	if state == v1alpha1.RecordAwaitingSigning {
		state = v1alpha1.RecordPending
	}
	message := readiness.Cut(seen.Message, v1alpha1.MaxMessageLength)
	if state == v1alpha1.RecordVerified && (seen.World == LacksIt || seen.Repaired) {
		// Whatever the provider said before, it has to be asked again now.
		return v1alpha1.RecordDrifted, message
	}
	switch seen.Provider {
	case Foreign:
		return v1alpha1.RecordConflict, message
	case HasIt:
		if state != v1alpha1.RecordVerified {
			state = v1alpha1.RecordPublished
		}
	case ByHand:
		// No provider is there to say that it has the record: the DNS alone tells when the person has pasted it.
		if seen.World == SeesIt {
			return v1alpha1.RecordVerified, ""
		}
		return v1alpha1.RecordPending, message
	case NotAsked, CouldNotDo:
	}
	verified := seen.World == SeesIt || seen.World == NotChecked
	if verified && (state == v1alpha1.RecordPublished || state == v1alpha1.RecordVerified) {
		return v1alpha1.RecordVerified, ""
	}
	return state, message
}

// Published tells whether the provider is known to hold the record's present value.
func Published(r v1alpha1.RecordStatus) bool {
	return r.State == v1alpha1.RecordPublished || r.State == v1alpha1.RecordVerified
}

// NeedsProvider tells whether the provider has to be asked about the record: in the steady state it is not.
func NeedsProvider(r v1alpha1.RecordStatus) bool {
	return r.State == v1alpha1.RecordPending || r.State == v1alpha1.RecordDrifted || r.State == v1alpha1.RecordConflict
}

// Ours lists the values that our status says we published at the record's name.
func Ours(r v1alpha1.RecordStatus) []string {
	if Published(r) || r.State == v1alpha1.RecordDrifted {
		return []string{r.Value}
	}
	if r.PublishedValue != "" {
		return []string{r.PublishedValue}
	}
	return nil
}

func publishedValue(r v1alpha1.RecordStatus) string {
	if ours := Ours(r); len(ours) > 0 {
		return ours[0]
	}
	return ""
}

func typeOf(r Record) string {
	if r.Type == "TXT" {
		return ""
	}
	return string(r.Type)
}
