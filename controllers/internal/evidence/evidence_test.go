// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestWhenTheProviderIsAskedAgain(t *testing.T) {
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		state    v1alpha1.RecordState
		answered time.Time
		verdict  dnscheck.Verdict
		again    bool
		look     time.Time
	}{
		"never answered":               {v1alpha1.RecordConflict, time.Time{}, dnscheck.Verdict{}, false, time.Time{}},
		"a fresh conflict":             {v1alpha1.RecordConflict, ago(time.Minute), dnscheck.Verdict{}, false, now.Add(4 * time.Minute)},
		"an old conflict":              {v1alpha1.RecordConflict, ago(5 * time.Minute), dnscheck.Verdict{}, true, now.Add(5 * time.Minute)},
		"the servers saw it go":        {v1alpha1.RecordConflict, ago(time.Minute), dnscheck.Verdict{State: dnscheck.Lacking, SweptAt: now}, true, now.Add(5 * time.Minute)},
		"one of the two went":          {v1alpha1.RecordConflict, ago(time.Minute), dnscheck.Verdict{State: dnscheck.Differs, Found: []string{"a"}, SweptAt: now}, true, now.Add(5 * time.Minute)},
		"both are still there":         {v1alpha1.RecordConflict, ago(time.Minute), dnscheck.Verdict{State: dnscheck.Differs, Found: []string{"a", "b"}, SweptAt: now}, false, now.Add(4 * time.Minute)},
		"it went before the answer":    {v1alpha1.RecordConflict, ago(time.Minute), dnscheck.Verdict{State: dnscheck.Lacking, SweptAt: ago(time.Hour)}, false, now.Add(4 * time.Minute)},
		"servers that lag":             {v1alpha1.RecordPublished, ago(time.Minute), dnscheck.Verdict{State: dnscheck.Lacking}, false, now.Add(4 * time.Minute)},
		"lost at the provider":         {v1alpha1.RecordPublished, ago(time.Hour), dnscheck.Verdict{State: dnscheck.Lacking}, true, now.Add(5 * time.Minute)},
		"servers that cannot be asked": {v1alpha1.RecordPublished, ago(time.Hour), dnscheck.Verdict{State: dnscheck.Unreachable}, false, time.Time{}},
		"all is well":                  {v1alpha1.RecordVerified, ago(time.Hour), dnscheck.Verdict{State: dnscheck.Verified}, false, time.Time{}},
	} {
		again, look := AskAgain(v1alpha1.RecordStatus{State: c.state}, &dnsplan.Outcome{Found: []string{"a", "b"}}, c.answered, c.verdict, now)
		if again != c.again || !look.Equal(c.look) {
			t.Errorf("%s: %v, look again %s", name, again, look)
		}
	}
}

func TestAnEarlierProcesssWordDoesNotCountWhereServersLackTheRecord(t *testing.T) {
	published, lacking := v1alpha1.RecordStatus{State: v1alpha1.RecordPublished}, dnscheck.Verdict{State: dnscheck.Lacking}
	for name, c := range map[string]struct {
		record   v1alpha1.RecordStatus
		answered bool
		verdict  dnscheck.Verdict
		want     bool
	}{
		"lacking, and not asked by this process": {published, false, lacking, true},
		"lacking, but just confirmed":            {published, true, lacking, false},
		"not looked at yet":                      {published, false, dnscheck.Verdict{}, false},
		"in conflict":                            {v1alpha1.RecordStatus{State: v1alpha1.RecordConflict}, true, lacking, true},
		"verified":                               {v1alpha1.RecordStatus{State: v1alpha1.RecordVerified}, false, dnscheck.Verdict{State: dnscheck.Verified}, false},
	} {
		if got := NeedsProvider(c.record, c.answered, c.verdict); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatTheProviderHadLostSinceItWasSeen(t *testing.T) {
	seen := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	changed := func(at time.Time, from ...string) dnsplan.Outcome {
		return dnsplan.Outcome{State: dnsplan.InPlace, ChangedTime: at, ChangedFrom: from}
	}
	for name, c := range map[string]struct {
		state   v1alpha1.RecordState
		outcome dnsplan.Outcome
		message string // "" for no repair
	}{
		"written before it was seen":                 {v1alpha1.RecordVerified, changed(seen.Add(-time.Minute), "a"), ""},
		"written in the second in which it was seen": {v1alpha1.RecordVerified, changed(seen.Add(900*time.Millisecond), "a"), ""},
		"written again since":                        {v1alpha1.RecordVerified, changed(seen.Add(time.Minute), "v=spf1 a"), `the provider had another record; found "v=spf1 a"`},
		"added again since":                          {v1alpha1.RecordVerified, changed(seen.Add(time.Minute)), "the provider had lost it"},
		"never written":                              {v1alpha1.RecordVerified, dnsplan.Outcome{State: dnsplan.InPlace}, ""},
		"never seen":                                 {v1alpha1.RecordPublished, changed(seen.Add(time.Minute)), ""},
	} {
		before := &v1alpha1.RecordStatus{State: c.state, StateChangedTime: &metav1.Time{Time: seen}}
		got := Since(before, desired.Seen{World: desired.SeesIt}, &c.outcome)
		if got.Repaired != (c.message != "") || got.Message != c.message {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhyTheWorldLacksWhatTheProviderHas(t *testing.T) {
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	server := func(addr string, state dnscheck.State, wildcard dnsrecord.Name) dnscheck.ServerAnswer {
		s := dnscheck.Server{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 53)}
		return dnscheck.ServerAnswer{Server: s, Asked: "example.org", State: state, Wildcard: wildcard}
	}
	lacks, has, lame := server("192.0.2.1", dnscheck.Lacking, ""), server("192.0.2.2", dnscheck.Verified, ""), server("192.0.2.3", dnscheck.Unreachable, "")
	wild := server("192.0.2.4", dnscheck.Lacking, "*.example.org")
	via := dnscheck.ServerAnswer{Server: has.Server, Asked: "alias.example.net", State: dnscheck.Verified}
	published := func(reason string) *v1alpha1.RecordStatus {
		return &v1alpha1.RecordStatus{State: v1alpha1.RecordPublished, StateChangedTime: &metav1.Time{Time: now}, Reason: reason, Message: "as it was"}
	}
	lacking := desired.Seen{Provider: desired.HasIt, World: desired.LacksIt, Message: "lacks it"}
	for name, c := range map[string]struct {
		before  *v1alpha1.RecordStatus
		seen    desired.Seen
		servers []dnscheck.ServerAnswer
		after   time.Duration
		reason  string
		message string
	}{
		"nobody has it, just now":                    {published(""), lacking, []dnscheck.ServerAnswer{lacks}, time.Minute, "", "lacks it"},
		"nobody has it, and the provider still does": {published(""), lacking, []dnscheck.ServerAnswer{lacks, lame}, patience, v1alpha1.ReasonSplitHorizon, "none of the servers that the world asks does (192.0.2.1)"},
		"nobody where an alias leads has it":         {published(""), lacking, []dnscheck.ServerAnswer{via, lacks}, patience, v1alpha1.ReasonSplitHorizon, "(192.0.2.1)"},
		"one server has it":                          {published(""), lacking, []dnscheck.ServerAnswer{lacks, has}, patience, "", "lacks it"},
		"a wildcard answers":                         {published(""), lacking, []dnscheck.ServerAnswer{wild, has}, 0, v1alpha1.ReasonWildcardAnswers, "it takes precedence over *.example.org"},
		"the provider has not been asked":            {published(""), desired.Seen{World: desired.LacksIt, Message: "lacks it"}, []dnscheck.ServerAnswer{lacks}, patience, "", "lacks it"},
		"a new process has not asked the provider":   {published(v1alpha1.ReasonSplitHorizon), desired.Seen{World: desired.LacksIt}, []dnscheck.ServerAnswer{lacks}, 0, v1alpha1.ReasonSplitHorizon, "as it was"},
		"a new process has not looked":               {published(v1alpha1.ReasonWildcardAnswers), desired.Seen{}, nil, 0, v1alpha1.ReasonWildcardAnswers, "as it was"},
		"it is over":                                 {published(v1alpha1.ReasonSplitHorizon), desired.Seen{Provider: desired.HasIt, World: desired.SeesIt}, []dnscheck.ServerAnswer{has}, patience, "", ""},
		"nothing is published":                       {nil, lacking, []dnscheck.ServerAnswer{lacks}, patience, "", "lacks it"},
	} {
		verdict := dnscheck.Verdict{Servers: c.servers, Path: dnscheck.Trace{Name: "example.org"}}
		got := Explain(c.before, c.seen, verdict, "example.org", now.Add(c.after))
		if got.Reason != c.reason || !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: %q %q", name, got.Reason, got.Message)
		}
	}
}
