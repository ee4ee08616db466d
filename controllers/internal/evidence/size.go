// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// LargeAnswers warns of answers that UDP does not carry; looks has a zero verdict for what nobody has looked at yet. A
// process that has just begun leaves what was said before.
func LargeAnswers(looks map[dnsrecord.Name]dnscheck.Verdict, before []metav1.Condition) []readiness.Note {
	worst := dnscheck.ByUDP
	var lines []string
	for name, v := range looks {
		if v.SweptAt.IsZero() {
			return same(before)
		}
		how := v.Carriage()
		worst = max(worst, how)
		switch how {
		case dnscheck.ByUDP:
		case dnscheck.ByEDNS:
			lines = append(lines, fmt.Sprintf("%s: the answer has %d octets: resolvers that know no EDNS take %d by UDP", name, v.PlainSize, dnscheck.PlainLimit))
		case dnscheck.ByTCP:
			lines = append(lines, fmt.Sprintf("%s: the answer has %d octets, more than the %d that UDP carries unfragmented (RFC 9715): "+
				"receivers whose resolver cannot use TCP do not see it; remove TXT records that nobody needs", name, v.AnswerSize, dnscheck.EDNSLimit))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	reason := v1alpha1.ReasonAnswerNeedsExtensions
	if worst == dnscheck.ByTCP {
		reason = v1alpha1.ReasonAnswerTooLarge
	}
	return []readiness.Note{{Condition: v1alpha1.ConditionLargeAnswers, Reason: reason, Message: strings.Join(lines, "; ")}}
}

func same(before []metav1.Condition) []readiness.Note {
	c := meta.FindStatusCondition(before, v1alpha1.ConditionLargeAnswers)
	if c == nil {
		return nil
	}
	return []readiness.Note{{Condition: c.Type, Reason: c.Reason, Message: c.Message}}
}
