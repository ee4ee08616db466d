// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mtaprobe

import (
	"strings"
	"testing"
)

func TestWhatAnAttemptShows(t *testing.T) {
	tests := []struct {
		name    string
		attempt Attempt
		offered bool // in another state
		want    Verdict
		advice  string
	}{
		{"a 4xx waits at the client", Attempt{Way: Submission, State: Gone, Reply: "451 4.7.1 later"}, true, Waits, ""},
		{"a message that is taken though the milter is gone leaves", Attempt{Way: Submission, State: Gone, Reply: "250 ok"}, true, Leaves, "milter_default_action"},
		{"one that is taken and never offered leaves by a listener without milter", Attempt{Way: SMTP, State: Refuses, Reply: "250 ok"}, false, Leaves, "mynetworks"},
		{"a 5xx where no milter is asked closes the way", Attempt{Way: SMTP, State: Gone, Reply: "554 5.7.1 relay access denied"}, false, Closed, ""},
		{"a 5xx where one is asked loses the message", Attempt{Way: SMTPS, State: Gone, Reply: "550 5.7.1 rejected"}, true, Refused, "F=R"},
		{"a login that fails shows nothing", Attempt{Way: Submission, State: Gone, Trouble: "the login failed"}, false, Unclear, "the login failed"},
		{"an MTA that hangs up has not taken the message", Attempt{Way: SMTPS, State: Gone, Trouble: "connection reset"}, true, Waits, ""},
		{"sendmail(1) is always content: offered later, it has waited", Attempt{Way: Program, State: Gone, Reply: "250 ok", Offered: true}, true, Waits, ""},
		{"not offered again, nobody knows", Attempt{Way: Program, State: Gone, Reply: "250 ok"}, true, Unclear, "mailbox"},
		{"a bounce that a milter is never offered is one of no milter's", Attempt{Way: Bounce, State: Refuses, Reply: "250 ok"}, false, Leaves, "internal_mail_filter_classes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := []Attempt{tt.attempt, {Way: tt.attempt.Way, State: Refuses, Reply: "451 4.7.0 ours", Offered: tt.offered}}
			got := Findings(all)[0]
			if got.Verdict != tt.want {
				t.Errorf("verdict %q, not %q", got.Verdict, tt.want)
			}
			if (tt.advice == "") != (got.Advice == "") || !strings.Contains(got.Advice, tt.advice) {
				t.Errorf("advice %q does not speak of %q", got.Advice, tt.advice)
			}
		})
	}
}

func TestALeakIsWorseThanWhatIsUnclear(t *testing.T) {
	leak, unclear, waits := Finding{Verdict: Leaves}, Finding{Verdict: Unclear}, Finding{Verdict: Waits}
	for want, findings := range map[int][]Finding{0: {waits}, 1: {unclear, leak}, 2: {waits, unclear}} {
		if got := Worst(findings); got != want {
			t.Errorf("%v: %d, not %d", findings, got, want)
		}
	}
}
