// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"cmp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// Tolerance is how long a record that was verified may be missing before Ready says so: one secondary that lags, or a
// record that is being repaired, is no reason to page anybody.
const Tolerance = 10 * time.Minute

// Records says what the states of records mean for the conditions. settled: the object was Ready with this spec, so
// that what is missing was there before. The time returned is when a tolerated record will count; zero if none does.
func Records(records []v1alpha1.RecordStatus, settled bool, now time.Time) ([]Finding, time.Time) {
	var findings []Finding
	var look time.Time
	for _, r := range records {
		if until, ok := tolerated(r, settled, now); ok {
			if look.IsZero() || until.Before(look) {
				look = until
			}
			continue
		}
		findings = append(findings, record(r)...)
	}
	return findings, look
}

// ByHand says the same where a person has to publish what is missing.
func ByHand(findings []Finding) []Finding {
	for i, f := range findings {
		if f.Reason == v1alpha1.ReasonPublishing {
			findings[i].Reason, findings[i].Person = v1alpha1.ReasonPasteRecords, true
		}
	}
	return findings
}

func tolerated(r v1alpha1.RecordStatus, settled bool, now time.Time) (time.Time, bool) {
	if !settled || r.StateChangedTime == nil || (r.State != v1alpha1.RecordPublished && r.State != v1alpha1.RecordDrifted) {
		return time.Time{}, false
	}
	until := r.StateChangedTime.Add(Tolerance)
	return until, now.Before(until)
}

// record is the table of what a state means.
func record(r v1alpha1.RecordStatus) []Finding {
	says := func(condition, reason, fallback string, person bool) Finding {
		message := r.Message
		if message == "" {
			message = fallback
		}
		if !strings.HasPrefix(message, r.Name) {
			message = r.Name + ": " + message
		}
		return Finding{Condition: condition, Reason: reason, Message: message, Person: person}
	}
	published, verified := v1alpha1.ConditionRecordsPublished, v1alpha1.ConditionRecordsVerified
	unseen := Finding{Condition: verified, Reason: v1alpha1.ReasonWaitingForPublication, Message: r.Name + ": not published yet"}
	switch r.State {
	case v1alpha1.RecordVerified:
		return nil
	case v1alpha1.RecordPublished:
		reason := cmp.Or(r.Reason, v1alpha1.ReasonWaitingForVerification)
		return []Finding{says(verified, reason, "published; waiting for every authoritative server to answer it", reason == v1alpha1.ReasonSplitHorizon)}
	case v1alpha1.RecordConflict:
		return []Finding{says(published, v1alpha1.ReasonRecordConflict, "someone else's record stands there", true), unseen}
	case v1alpha1.RecordDrifted:
		return []Finding{says(published, v1alpha1.ReasonRecordDrifted, "changed outside; being repaired", false)}
	case v1alpha1.RecordAwaitingSigning:
		return []Finding{says(published, v1alpha1.ReasonAwaitingSigning, "held until mail is signed", false), unseen}
	case v1alpha1.RecordPending:
	}
	return []Finding{says(published, v1alpha1.ReasonPublishing, "being published", false), unseen}
}

// Cut shortens a text to at most n octets, at a rune's end.
func Cut(s string, n int) string {
	const mark = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	end := n - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
