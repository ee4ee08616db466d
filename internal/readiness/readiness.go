// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package readiness turns findings into one set of conditions.
//
//	findings ──► the normal-true conditions that they deny ──► Ready, and Reconciling or Stalled for kstatus
//
// A finding is one thing that is not as the spec asks. Nobody sets a condition by hand: what is True follows from the
// absence of findings, so that two of them never contradict each other.
package readiness

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// Finding is one thing that is not as the spec asks.
type Finding struct {
	// Condition is the normal-true condition that it denies; "" denies Ready alone.
	Condition string
	Reason    string
	// Message names the object, field or record, what is wrong and what to do; the same as long as the cause is.
	Message string
	// Person means that nothing will change without one: Stalled, not Reconciling.
	Person bool
	// Unknown means that the condition could not be judged, rather than that it does not hold.
	Unknown bool
	// Unwatched means that nothing tells when it ends: it has to be looked at again.
	Unwatched bool
}

// Unwatched tells whether one of the findings has to be looked at again.
func Unwatched(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Unwatched })
}

// Note is an abnormal-true condition, which exists only while it is True and says nothing of Ready.
type Note struct{ Condition, Reason, Message string }

// Normal is a normal-true condition: Reason and Message are what it says when no finding denies it.
type Normal struct{ Condition, Reason, Message string }

// maxMessage bounds a condition's message, which may list many records.
const maxMessage = 2048

// Conditions returns the whole set, in a fixed order: Ready, the normal ones, kstatus's two, the notes. A condition
// that did not change keeps its time, so that equal findings give equal sets.
func Conditions(before []metav1.Condition, generation int64, normal []Normal, findings []Finding, notes []Note, now time.Time) []metav1.Condition {
	s := set{before: before, generation: generation, now: metav1.NewTime(now.UTC().Truncate(time.Second))}

	ready := Normal{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonReady, Message: "everything that the spec asks for is in place"}
	s.judge(ready, findings)
	for _, n := range normal {
		s.judge(n, of(findings, n.Condition))
	}
	if f, ok := gravest(findings); ok {
		kstatus := v1alpha1.ConditionReconciling
		if f.Person {
			kstatus = v1alpha1.ConditionStalled
		}
		s.add(kstatus, metav1.ConditionTrue, f.Reason, f.Message)
	}
	for _, n := range joined(notes) {
		s.add(n.Condition, metav1.ConditionTrue, n.Reason, n.Message)
	}
	return s.after
}

// joined has one note for each condition: they are a list map, in which the API server refuses the same key twice.
func joined(notes []Note) []Note {
	var all []Note
	for _, n := range notes {
		if i := slices.IndexFunc(all, func(o Note) bool { return o.Condition == n.Condition }); i >= 0 {
			all[i].Message += "; " + n.Message
			continue
		}
		all = append(all, n)
	}
	return all
}

type set struct {
	before, after []metav1.Condition
	generation    int64
	now           metav1.Time
}

// judge adds a normal-true condition: False or Unknown for the gravest of the findings, else True.
func (s *set) judge(n Normal, findings []Finding) {
	worst, ok := gravest(findings)
	if !ok {
		s.add(n.Condition, metav1.ConditionTrue, n.Reason, n.Message)
		return
	}
	status := metav1.ConditionFalse
	if worst.Unknown {
		status = metav1.ConditionUnknown
	}
	s.add(n.Condition, status, worst.Reason, messages(findings, worst.Reason))
}

func (s *set) add(kind string, status metav1.ConditionStatus, reason, message string) {
	c := metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: Cut(message, maxMessage),
		ObservedGeneration: s.generation, LastTransitionTime: s.now,
	}
	if i := slices.IndexFunc(s.before, func(b metav1.Condition) bool { return b.Type == kind }); i >= 0 && s.before[i].Status == status {
		c.LastTransitionTime = s.before[i].LastTransitionTime
	}
	s.after = append(s.after, c)
}

// gravest is the first finding that needs a person, else the first that is certain, else the first.
func gravest(findings []Finding) (Finding, bool) {
	for _, better := range []func(Finding) bool{
		func(f Finding) bool { return f.Person },
		func(f Finding) bool { return !f.Unknown },
		func(Finding) bool { return true },
	} {
		if i := slices.IndexFunc(findings, better); i >= 0 {
			return findings[i], true
		}
	}
	return Finding{}, false
}

// messages joins what the findings of one reason say, sorted, each once.
func messages(findings []Finding, reason string) string {
	var all []string
	for _, f := range findings {
		if f.Reason == reason {
			all = append(all, f.Message)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

func of(findings []Finding, condition string) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Condition != condition })
}

// True tells whether the condition is True in the set.
func True(conditions []metav1.Condition, kind string) bool {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind })
	return i >= 0 && conditions[i].Status == metav1.ConditionTrue
}

// Says tells whether Ready says this already, so that it is not told in an event again.
func Says(conditions []metav1.Condition, message string) bool {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionReady })
	return i >= 0 && conditions[i].Message == Cut(message, maxMessage)
}
