// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mtaprobe

import (
	"strings"
	"testing"
)

func TestWhatAnAttemptShows(t *testing.T) {
	asked, never := Attempt{Asked: true, Reply: "451 4.7.0 ours", Refused: 1}, Attempt{Reply: "250 ok"}
	queued, cameRound := Attempt{Asked: true, Reply: "250 ok", Refused: 1}, Attempt{Asked: true, Reply: "250 ok", Refused: 3}
	tests := []struct {
		name    string
		attempt Attempt
		refused Attempt // the one that the milter refused, or would have
		want    Verdict
		advice  string
	}{
		{"a 4xx waits at the client", attempt(Submission, Gone, "451 4.7.1 later"), asked, Waits, ""},
		{"a 4xx of somebody else's shows nothing", attempt(Submission, Gone, "450 4.2.0 greylisted"), Attempt{Reply: "450 4.2.0 greylisted"}, Unclear, "greylisted"},
		{"a message that is taken though the milter is gone leaves", attempt(Submission, Gone, "250 ok"), asked, Leaves, "milter_default_action"},
		{"so does one whose milter has hung up", Attempt{Entrance: Entrance{Way: SMTPS}, State: Breaks, Reply: "250 ok", Asked: true}, asked, Leaves, "F=T"},
		{"one that is taken and never asked about leaves by a listener without milter", attempt(SMTP, Breaks, "250 ok"), never, Leaves, "reject_unauth_destination"},
		{"a 5xx where no milter is asked closes the way", attempt(SMTP, Gone, "554 5.7.1 relay access denied"), Attempt{Reply: "554 5.7.1"}, Closed, ""},
		{"a 5xx where one is asked loses the message", attempt(SMTPS, Gone, "550 5.7.1 rejected"), asked, Refused, "F=R"},
		{"a login that fails shows nothing", Attempt{Entrance: Entrance{Way: Submission}, State: Gone, Trouble: "the login failed"}, Attempt{}, Unclear, "the login failed"},
		{"an MTA that hangs up has not taken the message", Attempt{Entrance: Entrance{Way: SMTPS}, State: Gone, Trouble: "connection reset"}, asked, Waits, ""},
		{"an MTA that queues first takes it; asked later, it has waited", Attempt{Entrance: Entrance{Way: Submission}, State: Gone, Reply: "250 ok", Asked: true, Refused: 1}, queued, Waits, ""},
		{"not asked again, nobody knows", attempt(Program, Gone, "250 ok"), queued, Unclear, "postqueue"},
		{"not even when the queue has come round twice, it has left", attempt(Program, Gone, "250 ok"), cameRound, Leaves, "tempfail"},
		{"a bounce that a milter is never asked about is one of no milter's", attempt(Bounce, Gone, "250 ok"), never, Leaves, "internal_mail_filter_classes"},
		{"without a message there is no bounce", attempt(Bounce, Gone, "451 4.7.1 later"), Attempt{Reply: "451 4.7.1 later"}, Unclear, "its own milter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.refused.Entrance, tt.refused.State = tt.attempt.Entrance, Refuses
			elsewhere := Attempt{Entrance: Entrance{Way: tt.attempt.Way, Address: "another"}, State: Refuses, Asked: true, Reply: "451 4.7.0 ours"}
			got := Findings([]Attempt{tt.attempt, tt.refused, elsewhere})[0]
			if got.Verdict != tt.want {
				t.Errorf("verdict %q, not %q", got.Verdict, tt.want)
			}
			if (tt.advice == "") != (got.Advice == "") || !strings.Contains(got.Advice, tt.advice) {
				t.Errorf("advice %q does not speak of %q", got.Advice, tt.advice)
			}
		})
	}
}

func attempt(way Way, state State, reply string) Attempt {
	return Attempt{Entrance: Entrance{Way: way}, State: state, Reply: reply}
}

func TestItWaitsForQueuesAndForNothingElse(t *testing.T) {
	gone := attempt(Submission, Gone, "250 ok")
	for name, tt := range map[string]struct {
		refused Attempt
		want    bool
	}{
		"no milter was asked, and one may be later": {attempt(Submission, Refuses, "250 ok"), false},
		"it asks before it takes":                   {Attempt{Entrance: gone.Entrance, State: Refuses, Reply: "451 4.7.0 ours", Asked: true, Refused: 1}, true},
		"its queue has not come round":              {Attempt{Entrance: gone.Entrance, State: Refuses, Reply: "250 ok", Asked: true, Refused: 2}, false},
		"its queue has come round":                  {Attempt{Entrance: gone.Entrance, State: Refuses, Reply: "250 ok", Asked: true, Refused: 3}, true},
	} {
		if got := Settled([]Attempt{gone, tt.refused}); got != tt.want {
			t.Errorf("%s: %t, not %t", name, got, tt.want)
		}
	}
	if !Settled([]Attempt{attempt(SMTP, Gone, "554 5.7.1 relay access denied")}) {
		t.Error("it waits for a way that is closed")
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
