// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var (
	now    = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	normal = []Normal{
		{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonKeysReady},
		{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRecordsPublished},
	}
	waits   = Finding{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonProgressing, Message: "waits"}
	foreign = Finding{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRecordConflict, Message: "b: foreign", Person: true}
	other   = Finding{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRecordConflict, Message: "a: foreign", Person: true}
	unclear = Finding{Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonProviderNotReady, Message: "unclear", Unknown: true}
)

// says shows conditions in one line each.
func says(conditions []metav1.Condition) []string {
	var lines []string
	for _, c := range conditions {
		lines = append(lines, c.Type+"="+string(c.Status)+" "+c.Reason)
	}
	return lines
}

func TestFindingsBecomeOneSetOfConditions(t *testing.T) {
	for name, c := range map[string]struct {
		findings []Finding
		want     []string
	}{
		"nothing is wrong": {nil, []string{"Ready=True Ready", "KeysReady=True KeysReady", "RecordsPublished=True RecordsPublished"}},
		"something is under way": {
			[]Finding{waits},
			[]string{"Ready=False Progressing", "KeysReady=False Progressing", "RecordsPublished=True RecordsPublished", "Reconciling=True Progressing"},
		},
		"what needs a person comes first": {
			[]Finding{waits, foreign},
			[]string{"Ready=False RecordConflict", "KeysReady=False Progressing", "RecordsPublished=False RecordConflict", "Stalled=True RecordConflict"},
		},
		"what could not be judged is Unknown": {
			[]Finding{unclear},
			[]string{"Ready=Unknown ProviderNotReady", "KeysReady=Unknown ProviderNotReady", "RecordsPublished=True RecordsPublished", "Reconciling=True ProviderNotReady"},
		},
		"what denies Ready alone leaves the others": {
			[]Finding{{Reason: v1alpha1.ReasonDomainClaimed, Person: true}},
			[]string{"Ready=False DomainClaimed", "KeysReady=True KeysReady", "RecordsPublished=True RecordsPublished", "Stalled=True DomainClaimed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, says(Conditions(nil, 7, normal, c.findings, nil, now))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheOrderOfFindingsDoesNotChangeTheWords(t *testing.T) {
	a := Conditions(nil, 1, normal, []Finding{foreign, other, other}, nil, now)
	b := Conditions(nil, 1, normal, []Finding{other, foreign}, nil, now)
	if a[0].Message != "a: foreign; b: foreign" || a[0].Message != b[0].Message {
		t.Errorf("%q and %q", a[0].Message, b[0].Message)
	}
}

func TestAConditionKeepsItsTimeUntilItsStatusChanges(t *testing.T) {
	first := Conditions(nil, 1, normal, []Finding{waits}, nil, now)
	second := Conditions(first, 2, normal, []Finding{foreign}, nil, now.Add(time.Hour))
	if !second[0].LastTransitionTime.Time.Equal(now) {
		t.Error("Ready was False and is False: its time changed")
	}
	if second[0].ObservedGeneration != 2 {
		t.Error("the generation is not the one that was judged")
	}
	if !second[1].LastTransitionTime.Time.Equal(now.Add(time.Hour)) {
		t.Error("KeysReady became True: its time did not change")
	}
	if diff := cmp.Diff(first, Conditions(first, 1, normal, []Finding{waits}, nil, now.Add(time.Hour))); diff != "" {
		t.Error("the same findings give another set:", diff)
	}
}

func TestALongMessageFitsTheCondition(t *testing.T) {
	long := waits
	long.Message = strings.Repeat("ä", 40000)
	got := Conditions(nil, 1, normal, []Finding{long}, nil, now)[0].Message
	if len(got) > 32768 || !strings.HasSuffix(got, "…") {
		t.Errorf("a message of %d octets", len(got))
	}
}

func TestWhatRecordsMean(t *testing.T) {
	at := func(state v1alpha1.RecordState, age time.Duration) v1alpha1.RecordStatus {
		return v1alpha1.RecordStatus{Name: "example.org", State: state, StateChangedTime: &metav1.Time{Time: now.Add(-age)}}
	}
	for name, c := range map[string]struct {
		record  v1alpha1.RecordStatus
		settled bool
		reasons []string
		look    time.Time
	}{
		"verified":                             {at(v1alpha1.RecordVerified, 0), false, nil, time.Time{}},
		"published":                            {at(v1alpha1.RecordPublished, 0), false, []string{"WaitingForVerification"}, time.Time{}},
		"pending":                              {at(v1alpha1.RecordPending, 0), false, []string{"Publishing", "WaitingForPublication"}, time.Time{}},
		"conflict":                             {at(v1alpha1.RecordConflict, 0), true, []string{"RecordConflict", "WaitingForPublication"}, time.Time{}},
		"held":                                 {at(v1alpha1.RecordAwaitingSigning, 0), false, []string{"AwaitingSigning", "WaitingForPublication"}, time.Time{}},
		"drifted, never ready":                 {at(v1alpha1.RecordDrifted, 0), false, []string{"RecordDrifted"}, time.Time{}},
		"drifted a minute ago, ready before":   {at(v1alpha1.RecordDrifted, time.Minute), true, nil, now.Add(9 * time.Minute)},
		"one secondary lags, ready before":     {at(v1alpha1.RecordPublished, time.Minute), true, nil, now.Add(9 * time.Minute)},
		"missing for longer than is tolerable": {at(v1alpha1.RecordPublished, Tolerance), true, []string{"WaitingForVerification"}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			findings, look := Records([]v1alpha1.RecordStatus{c.record}, c.settled, now)
			var reasons []string
			for _, f := range findings {
				reasons = append(reasons, f.Reason)
				if !strings.HasPrefix(f.Message, "example.org: ") {
					t.Errorf("%q does not name the record", f.Message)
				}
				if f.Person != (c.record.State == v1alpha1.RecordConflict && f.Reason == "RecordConflict") {
					t.Errorf("%s needs a person: %v", f.Reason, f.Person)
				}
			}
			if diff := cmp.Diff(c.reasons, reasons); diff != "" || !look.Equal(c.look) {
				t.Errorf("look again %s, want %s; %s", look, c.look, diff)
			}
		})
	}
}

func TestTwoRemarksOfOneConditionAreOneCondition(t *testing.T) {
	got := Conditions(nil, 1, nil, nil, []Note{
		{v1alpha1.ConditionUnsupportedFields, v1alpha1.ReasonNotImplemented, "this"},
		{v1alpha1.ConditionWeakKey, v1alpha1.ReasonKeyTooShort, "weak"},
		{v1alpha1.ConditionUnsupportedFields, v1alpha1.ReasonNotImplemented, "that"},
	}, time.Unix(0, 0))
	var words []string
	for _, c := range got[1:] { // after Ready
		words = append(words, c.Type+": "+c.Message)
	}
	if want := []string{"UnsupportedFields: this; that", "WeakKey: weak"}; !slices.Equal(words, want) {
		t.Errorf("got %q", words)
	}
}
