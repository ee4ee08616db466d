// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

const (
	// littleLeft is the head-room of an SPF record that the next include of somebody else may use up.
	littleLeft = 1
	// bigJump is how many lookups more an include costs at once before that is worth telling, whatever is left.
	bigJump = 3
)

// SPFRisk says what an SPF record costs receivers, where they give it up or soon may; the gravest gives the reason.
func SPFRisk(s *v1alpha1.SPFStatus) []readiness.Note {
	if s == nil {
		return nil
	}
	var notes []readiness.Note
	note := func(applies bool, reason, message string) {
		if applies {
			notes = append(notes, readiness.Note{Condition: v1alpha1.ConditionSPFAtRisk, Reason: reason, Message: message})
		}
	}
	seen := s.LookupsLeft != nil
	note(s.PermError != "", v1alpha1.ReasonPermError, "receivers answer permerror and pass nobody: "+s.PermError)
	note(seen && *s.LookupsLeft < 0, v1alpha1.ReasonTooManyLookups, fmt.Sprintf(
		"the SPF record takes %d DNS lookups with all that it includes, and receivers stop at %d with permerror (RFC 7208 section 4.6.4): %s; replace some by ip4 and ip6",
		s.Lookups, spf.MaxLookups, costs(s.Terms, lookupsOf)))
	note(s.VoidLookups > spf.MaxVoidLookups, v1alpha1.ReasonTooManyVoidLookups, fmt.Sprintf(
		"%d DNS lookups of the SPF record have no answer, and receivers stop after %d with permerror (RFC 7208 section 4.6.4): %s",
		s.VoidLookups, spf.MaxVoidLookups, costs(s.Terms, voidsOf)))
	note(s.Unread != "", v1alpha1.ReasonIncludeUnreadable, "nobody answers for "+s.Unread+
		", on which the SPF record depends: receivers may put mail off")
	note(seen && *s.LookupsLeft >= 0 && *s.LookupsLeft <= littleLeft, v1alpha1.ReasonNearLookupLimit, fmt.Sprintf(
		"the SPF record takes %d of %d DNS lookups with all that it includes: %s; what others include more may break it",
		s.Lookups, spf.MaxLookups, costs(s.Terms, lookupsOf)))
	if len(notes) > 0 {
		last := &notes[len(notes)-1]
		last.Message = readiness.Cut(last.Message, v1alpha1.MaxMessageLength)
	}
	return notes
}

func lookupsOf(t v1alpha1.SPFTermStatus) int32 { return t.Lookups }
func voidsOf(t v1alpha1.SPFTermStatus) int32   { return t.VoidLookups }

// costs lists what the terms take, the dearest first.
func costs(terms []v1alpha1.SPFTermStatus, of func(v1alpha1.SPFTermStatus) int32) string {
	terms = slices.DeleteFunc(slices.Clone(terms), func(t v1alpha1.SPFTermStatus) bool { return of(t) == 0 })
	slices.SortStableFunc(terms, func(a, b v1alpha1.SPFTermStatus) int { return int(of(b) - of(a)) })
	var parts []string
	for _, t := range terms {
		parts = append(parts, fmt.Sprintf("%s %d", t.Term, of(t)))
	}
	return strings.Join(parts, ", ")
}

// DearerIncludes tells of terms that stand in the record as before, and cost more because others changed theirs: where
// little or nothing is left, or by three lookups and more at once.
func DearerIncludes(before, after *v1alpha1.SPFStatus) []string {
	if before == nil || after == nil || before.LookupsLeft == nil || after.LookupsLeft == nil {
		return nil
	}
	was := map[string]int32{}
	for _, t := range before.Terms {
		was[t.Term] = t.Lookups
	}
	var lines []string
	for _, t := range after.Terms {
		last, stood := was[t.Term]
		if rise := t.Lookups - last; stood && rise > 0 && (*after.LookupsLeft <= littleLeft || rise >= bigJump) {
			lines = append(lines, fmt.Sprintf("%s costs %d DNS lookups now, %d before: the SPF record takes %d of %d",
				t.Term, t.Lookups, last, after.Lookups, spf.MaxLookups))
		}
	}
	return lines
}
