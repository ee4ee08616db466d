// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"regexp"
	"strings"
	"testing"

	"github.com/robfig/cron/v3"
	"pgregory.net/rapid"
)

// scheduleRule returns the regular expression of the rule on rotation.schedule: CEL and Go both use RE2.
func scheduleRule(t *testing.T) *regexp.Regexp {
	t.Helper()
	for _, f := range fields(t) {
		if f.path != "MailDomain.spec.dkim.rotation.schedule" {
			continue
		}
		rule := f.schema.XValidations[0].Rule
		expression, found := strings.CutPrefix(rule, "self.matches(r'")
		if !found || !strings.HasSuffix(expression, "')") {
			t.Fatalf("the rule has another form: %s", rule)
		}
		return regexp.MustCompile(strings.TrimSuffix(expression, "')"))
	}
	t.Fatal("no field rotation.schedule")
	return nil
}

// What admission lets pass must not fail later, in the controller's parser, save for a range that runs backwards,
// which no regular expression can see (InvalidSchedule at run time).
func TestEveryAdmittedScheduleIsOneThatTheOperatorCanRead(t *testing.T) {
	admitted := scheduleRule(t)
	term := rapid.StringMatching(`(\*|\?|[0-9]{1,2}|[0-6]|1?[0-9]-[12]?[0-9]|jan|MON|sun-TUE)(/[0-9]{1,2})?(,[0-9])?`)
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		schedule := strings.Join(rapid.SliceOfN(term, 5, 5).Draw(t, "fields"), " ")
		if !admitted.MatchString(schedule) {
			return
		}
		passed++
		if _, err := cron.ParseStandard(schedule); err != nil && !strings.Contains(err.Error(), "beyond end of range") {
			t.Fatalf("admitted %q, but: %v", schedule, err)
		}
	})
	for _, word := range []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight"} {
		if _, err := cron.ParseStandard(word); err != nil || !admitted.MatchString(word) {
			t.Errorf("%s: admitted %v, parsed %v", word, admitted.MatchString(word), err)
		}
	}
	if passed == 0 {
		t.Error("no random schedule was admitted: the test proves nothing")
	}
}
