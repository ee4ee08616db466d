// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// survey is all that one round of questions brought: a node for the target's
// name and one for each name that an alias led to.
type survey struct {
	nodes []node
}

// node is one name as the servers of its zone answer for it.
type node struct {
	name   dnsrecord.Name
	rrtype uint16 // that is asked for: TXT or MX
	zone   dnsrecord.Name
	// failure is why nobody could be asked; "" if someone was.
	failure string
	// undelegated says that the name is in the root or a top-level zone, whose
	// servers are many and not ours: one speaks for all.
	undelegated bool
	answers     []answer
	facts       []fact
	notes       []string
	// names and ttl are the delegation's, where that is asked for.
	names []dnsrecord.Name
	ttl   uint32
}

// finding is what a survey means for a target.
type finding struct {
	state   State
	zone    dnsrecord.Name
	found   []string
	size    int
	plain   int
	servers []ServerAnswer
	message string
	notes   []string
	path    Trace // zero if servers disagree or cannot be asked
	highest fact
	ttl     uint32 // the highest of any value at the name
	names   []dnsrecord.Name
	nsTTL   uint32
}

// judge turns a survey into a finding. It is pure.
func judge(t Target, s survey, p patience) finding {
	f := finding{state: Verified}
	if t.Type == dnsrecord.NS {
		return judgeDelegation(s)
	}
	if len(s.nodes) > 0 {
		f.zone = s.nodes[0].zone
	}
	if t, _, ok := s.trace(); ok {
		f.path = t
	}
	var blocks, excused []string
	for _, n := range s.nodes {
		f.notes = append(f.notes, n.notes...)
		for _, fact := range n.facts {
			f.highest = higher(f.highest, fact)
		}
		if n.failure != "" {
			f.state = worse(f.state, Unreachable)
			blocks = append(blocks, n.failure)
			continue
		}
		if last := len(n.answers) - 1; n.undelegated && last >= 0 && n.answers[last].said == saidNone {
			f.undelegated(t, n, &blocks)
			continue
		}
		answers := s.judgeNode(t, n, &f)
		b, e := weigh(n, answers, p, &f)
		blocks, excused = append(blocks, b...), append(excused, e...)
		f.servers = append(f.servers, answers...)
	}
	f.message = list(blocks)
	if f.message == "" {
		f.message = list(excused)
	}
	f.finish()
	return f
}

// undelegated judges a name that no zone below the top level is there for.
func (f *finding) undelegated(t Target, n node, blocks *[]string) {
	for _, a := range n.answers {
		for _, fact := range a.facts {
			f.highest = higher(f.highest, fact)
		}
	}
	line := fmt.Sprintf("no zone is delegated for %s: the servers of %s answer without it", n.name, n.zone)
	if t.Value == "" {
		f.notes = append(f.notes, line)
		return
	}
	f.state = worse(f.state, Lacking)
	*blocks = append(*blocks, line)
}

// judgeNode gives every answer at a node its state, and collects values and facts.
func (s survey) judgeNode(t Target, n node, f *finding) []ServerAnswer {
	var out []ServerAnswer
	for _, a := range n.answers {
		sa := ServerAnswer{Server: a.server, Asked: n.name, Wildcard: a.wildcard}
		sa.State, sa.Detail = s.judgeAnswer(t, n.name, a)
		for _, fact := range a.facts {
			f.highest = higher(f.highest, fact)
		}
		if what := other(a, sa.State); what != "" {
			f.highest = higher(f.highest, answerFact(n.name, what, a.ttl))
		}
		if a.wildcard != "" {
			f.notes = append(f.notes, wildcardNote(n.name, a))
		} else {
			f.found = append(f.found, relevant(t.Kind, a.values)...)
		}
		f.size, f.plain = max(f.size, a.size), max(f.plain, a.plain)
		if a.said == saidValues {
			f.ttl = max(f.ttl, a.ttl)
		}
		out = append(out, sa)
	}
	slices.SortFunc(out, func(a, b ServerAnswer) int { return a.Addr.Compare(b.Addr) })
	return out
}

// other names an answer at the name that is not the wanted record, and that
// caches keep for its TTL.
func other(a answer, state State) string {
	switch {
	case a.said != saidAlias && a.said != saidValues:
		return ""
	case a.wildcard != "":
		return "wildcard answer"
	case a.said == saidAlias:
		return string(a.aliasType)
	case state != Verified:
		return "other value"
	}
	return ""
}

func wildcardNote(name dnsrecord.Name, a answer) string {
	if a.said == saidAlias {
		return fmt.Sprintf("the wildcard %s is a CNAME, which answers for every name without records, %s too", a.wildcard, name)
	}
	return fmt.Sprintf("the wildcard %s answers for %s", a.wildcard, name)
}

// judgeAnswer is the state of one answer and the phrase for it.
func (s survey) judgeAnswer(t Target, name dnsrecord.Name, a answer) (State, string) {
	switch {
	case a.said == saidNoRoute:
		return Unknown, "is skipped: there is no route to " + family(a.server.Addr.Addr())
	case a.said == saidNothing:
		return Unreachable, a.detail
	case a.wildcard != "" && t.Value == "":
		return Verified, "answers from the wildcard " + a.wildcard.String() + " alone"
	case a.wildcard != "":
		return Lacking, "answers from the wildcard " + a.wildcard.String() + ", not with a record at the name"
	case a.said == saidAlias && s.follows(name, a.alias):
		return Verified, fmt.Sprintf("answers with a %s to %s", a.aliasType, a.alias)
	case a.said == saidAlias:
		return Lacking, fmt.Sprintf("answers with a %s to %s, which leads in a circle or too far", a.aliasType, a.alias)
	default:
		return compare(t, relevant(t.Kind, a.values))
	}
}

// follows says whether the alias's target comes after name in the survey; one
// that comes before is a circle.
func (s survey) follows(name, target dnsrecord.Name) bool {
	at := func(n dnsrecord.Name) int {
		return slices.IndexFunc(s.nodes, func(o node) bool { return o.name == n })
	}
	return at(target) > at(name)
}

// compare judges the values that count.
func compare(t Target, values []string) (State, string) {
	others := len(values)
	has := slices.Contains(values, t.Value)
	if has {
		others--
	}
	switch {
	case t.Value == "" && len(values) == 0:
		return Verified, "answers without it, as it should"
	case t.Value == "":
		return Differs, "still answers with " + count(len(values), what(t))
	case len(values) == 0:
		return Lacking, "answers without it"
	case has && others == 0:
		return Verified, "answers with it"
	case has:
		return Conflict, "answers with it and with " + count(others, "other "+what(t)) + " beside it"
	case others == 1:
		return Differs, "answers with another " + what(t)
	default:
		return Differs, "answers with " + count(others, "other "+what(t))
	}
}

func what(t Target) string {
	if t.Kind == dnsplan.SPF {
		return "SPF record"
	}
	return string(t.Type) + " record"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// relevant are the values that count for a kind.
func relevant(k dnsplan.Kind, values []string) []string {
	if k != dnsplan.SPF {
		return values
	}
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !spf.Is(v) })
}

// weigh says which answers at a node block and whom patience excuses: somebody
// else must have answered, and everybody who did as wanted.
func weigh(n node, answers []ServerAnswer, p patience, f *finding) (blocks, excused []string) {
	good, bad := 0, 0
	for _, a := range answers {
		switch a.State {
		case Verified:
			good++
		case Lacking, Differs, Conflict:
			bad++
		case Unknown, Unchecked, Unreachable:
		}
	}
	for i := range answers {
		a := &answers[i]
		line := a.String() + " " + a.Detail
		switch {
		case a.State == Unknown:
			f.notes = append(f.notes, "addresses of "+family(a.Addr.Addr())+" are skipped: there is no route to them")
		case a.State == Unreachable && good > 0 && bad == 0 && p.excuses(place{n.zone, a.Addr}):
			a.Excused = true
			excused = append(excused, line+" and is no longer waited for")
		case a.State != Verified:
			f.state = worse(f.state, a.State)
			blocks = append(blocks, line)
		}
	}
	if good+bad == 0 && len(blocks) == 0 {
		f.state = worse(f.state, Unreachable)
		blocks = append(blocks, "no server of "+n.zone.String()+" can be asked")
	}
	return blocks, excused
}

// worse is the state that says more about what is wrong.
func worse(a, b State) State {
	order := []State{Verified, Unreachable, Lacking, Differs, Conflict}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// Bounds on what a verdict shows.
const (
	maxLines = 4
	maxFound = 8
	maxValue = 512
)

// list joins the first lines and counts the rest.
func list(lines []string) string {
	lines = slices.Compact(slices.Sorted(slices.Values(lines)))
	if more := len(lines) - maxLines; more > 0 {
		lines = append(lines[:maxLines:maxLines], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "; ")
}

// finish sorts and cuts what was collected.
func (f *finding) finish() {
	slices.Sort(f.notes)
	f.notes = slices.Compact(f.notes)
	f.notes = f.notes[:min(len(f.notes), maxFound)]
	slices.Sort(f.found)
	f.found = slices.Compact(f.found)
	f.found = f.found[:min(len(f.found), maxFound)]
	for i, v := range f.found {
		if len(v) > maxValue {
			f.found[i] = v[:maxValue] + "…"
		}
	}
	slices.SortStableFunc(f.servers, func(a, b ServerAnswer) int {
		return cmp.Or(cmp.Compare(a.Asked, b.Asked), a.Addr.Compare(b.Addr))
	})
}
