// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Explain adds why the world lacks a record that the provider has, where more can be said than that it waits: a wildcard
// answers in its place, or the provider's zone is not the one that the world is delegated to.
//
// The latter is believed when nobody answers the record, and the provider, asked once more after its patience, has it.
func Explain(before *v1alpha1.RecordStatus, seen desired.Seen, v dnscheck.Verdict, zone dnsrecord.Name, answered time.Time) desired.Seen {
	if before == nil || before.State != v1alpha1.RecordPublished {
		return seen
	}
	if before.Reason != "" && (seen.World == desired.NotLooked || seen.Provider == desired.NotAsked) { // a new process knows nothing yet
		seen.Reason, seen.Message = before.Reason, before.Message
		return seen
	}
	if seen.World != desired.LacksIt {
		return seen
	}
	if wildcard(v) != "" {
		seen.Reason = v1alpha1.ReasonWildcardAnswers
		seen.Message += fmt.Sprintf("; the record itself is at the provider: it takes precedence over %s at each server that has it", wildcard(v))
		return seen
	}
	servers := whoAnswers(v)
	if len(servers) == 0 {
		return seen
	}
	if confirmed := seen.Provider == desired.HasIt && before.StateChangedTime != nil && answered.Sub(before.StateChangedTime.Time) >= patience; confirmed {
		seen.Reason = v1alpha1.ReasonSplitHorizon
		seen.Message = fmt.Sprintf("the provider has it in its zone %s, but none of the servers that the world asks does (%s): "+
			"if they get the zone from the provider, its transfer to them fails; if not, have %s delegated to the provider's name servers, or name their provider in spec.providerRef; "+
			"for a zone that is seen inside alone, list its servers in spec.verification.nameservers of the provider", zone, strings.Join(servers, ", "), zone)
	}
	return seen
}

// wildcard is the one that answers in place of the record at a server; "" if none does.
func wildcard(v dnscheck.Verdict) dnsrecord.Name {
	for _, s := range v.Servers {
		if s.Wildcard != "" && s.State == dnscheck.Lacking {
			return s.Wildcard
		}
	}
	return ""
}

// maxServers bounds how many are named.
const maxServers = 4

// whoAnswers names the servers that answer for where the record shall stand, if every one of them lacks it.
func whoAnswers(v dnscheck.Verdict) []string {
	var names []string
	for _, s := range v.Servers {
		if s.Asked != v.Path.Name {
			continue
		}
		switch s.State {
		case dnscheck.Verified, dnscheck.Conflict:
			return nil
		case dnscheck.Lacking, dnscheck.Differs:
			names = append(names, s.String())
		case dnscheck.Unknown, dnscheck.Unchecked, dnscheck.Unreachable:
		}
	}
	slices.Sort(names)
	if more := len(names) - maxServers; more > 0 {
		names = append(names[:maxServers:maxServers], fmt.Sprintf("and %d more", more))
	}
	return names
}
