// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestAnswersThatUDPDoesNotCarryAreSaid(t *testing.T) {
	look := func(size, plain int) dnscheck.Verdict {
		return dnscheck.Verdict{SweptAt: time.Unix(1, 0), AnswerSize: size, PlainSize: plain}
	}
	before := []metav1.Condition{{Type: v1alpha1.ConditionLargeAnswers, Reason: v1alpha1.ReasonAnswerTooLarge, Message: "as it was"}}
	for name, c := range map[string]struct {
		looks   map[dnsrecord.Name]dnscheck.Verdict
		before  []metav1.Condition
		reason  string
		message string
	}{
		"all fit":                 {map[dnsrecord.Name]dnscheck.Verdict{"a": look(1232, 512)}, before, "", ""},
		"one needs EDNS":          {map[dnsrecord.Name]dnscheck.Verdict{"a": look(600, 513)}, nil, v1alpha1.ReasonAnswerNeedsExtensions, "a: the answer has 513 octets"},
		"one needs TCP":           {map[dnsrecord.Name]dnscheck.Verdict{"a": look(1233, 1200), "b": look(600, 600)}, nil, v1alpha1.ReasonAnswerTooLarge, "a: the answer has 1233 octets, more than the 1232"},
		"signatures alone are it": {map[dnsrecord.Name]dnscheck.Verdict{"a": look(1233, 100)}, nil, v1alpha1.ReasonAnswerTooLarge, "1233"},
		"nobody has looked yet":   {map[dnsrecord.Name]dnscheck.Verdict{"a": {}, "b": look(100, 100)}, before, v1alpha1.ReasonAnswerTooLarge, "as it was"},
		"nor said anything":       {map[dnsrecord.Name]dnscheck.Verdict{"a": {}}, nil, "", ""},
	} {
		var reason, message string
		for _, n := range LargeAnswers(c.looks, c.before) {
			reason, message = n.Reason, n.Message
		}
		if reason != c.reason || !strings.Contains(message, c.message) {
			t.Errorf("%s: %q %q", name, reason, message)
		}
	}
}
