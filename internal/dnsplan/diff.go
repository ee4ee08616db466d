// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Plan returns the changes that lead from what was seen to the wishes, and one
// outcome for each wish, in their order. Changes come in the order of the names'
// first wishes, at most one for each RRset.
//
// seen holds an entry for every RRset that was read, empty if nothing stands
// there; a name without an entry is unknown and never changed. CNAME, DNAME and
// NS entries (zone cuts) that stand in the way of a name belong into seen too.
// m is our marker: what it lists is ours, and so is what Wish.Ours holds.
func Plan(seen map[Key]dnsrecord.Set, m Marker, wishes []Wish) ([]Change, []Outcome) {
	var changes []Change
	outcomes := make([]Outcome, len(wishes))
	for _, g := range groups(wishes) {
		ch, results := g.plan(seen, m)
		if ch != nil {
			changes = append(changes, *ch)
		}
		for i, o := range results {
			outcomes[g.at[i]] = o
		}
	}
	return changes, outcomes
}

// group is all wishes about one RRset.
type group struct {
	key    Key
	wishes []Wish
	at     []int // their places among all wishes
}

func groups(wishes []Wish) []*group {
	byKey := map[Key]*group{}
	var order []*group
	for i, w := range wishes {
		g, ok := byKey[w.Key()]
		if !ok {
			g = &group{key: w.Key()}
			byKey[w.Key()] = g
			order = append(order, g)
		}
		g.wishes = append(g.wishes, w)
		g.at = append(g.at, i)
	}
	return order
}

func (g *group) plan(seen map[Key]dnsrecord.Set, m Marker) (*Change, []Outcome) {
	wish, problem := g.merge()
	if problem != "" {
		return nil, g.each(Outcome{State: Conflict, Message: problem})
	}
	if problem := checkWish(wish); problem != "" {
		return nil, g.each(Outcome{State: Failed, Message: problem})
	}
	set, ok := seen[g.key]
	if obstacle := Obstacle(seen, g.key); obstacle != "" {
		if wish.Value == "" {
			return nil, g.each(Outcome{State: Absent})
		}
		return nil, g.each(Outcome{State: Conflict, Message: obstacle})
	}
	if !ok {
		return nil, g.each(Outcome{State: Failed, Message: fmt.Sprintf("%s could not be read, so nothing is written there", g.key.Name)})
	}
	ch, o := decide(wish, set, m)
	if wild := wildcardOver(seen, g.key.Name); wild != "" && o.Message == "" {
		o.Message = wild
	}
	return ch, g.each(o)
}

// merge makes one wish of all: what one wants stays, whoever else wants it gone.
func (g *group) merge() (Wish, string) {
	merged := Wish{Name: g.key.Name, Type: g.key.Type, Kind: g.wishes[0].Kind, Adoption: g.wishes[0].Adoption}
	wanted := false
	for _, w := range g.wishes {
		merged.Ours = append(merged.Ours, w.Ours...)
		switch {
		case w.Kind != merged.Kind:
			return Wish{}, fmt.Sprintf("two objects of this installation ask for %s in different ways", g.key.Name)
		case w.Value == "" || w.Value == merged.Value && w.Adoption == merged.Adoption:
		case wanted && w.Value != merged.Value:
			return Wish{}, fmt.Sprintf("two objects of this installation want different %s records at %s: leave it to one of them", g.key.Type, g.key.Name)
		case wanted:
			merged.Adoption = Never // they do not agree on it
		default:
			merged.Value, merged.TTL, merged.Adoption = w.Value, w.TTL, w.Adoption
		}
		wanted = wanted || w.Value != ""
	}
	return merged, ""
}

// each answers every wish of the group with the same outcome.
func (g *group) each(o Outcome) []Outcome {
	out := make([]Outcome, len(g.wishes))
	o.Name, o.Type = g.key.Name, g.key.Type
	for i, w := range g.wishes {
		out[i] = o
		// A record that another object wants is not this one's to wait for.
		if w.Value == "" && o.State == InPlace {
			out[i].State = Absent
		}
	}
	return out
}

func checkWish(w Wish) string {
	switch {
	case w.Name == "" || w.Type == "":
		return "the wish names no record"
	case w.Kind != Exclusive && w.Kind != SPF:
		return fmt.Sprintf("the wish for %s is of no known kind", w.Name)
	case len(w.Value) > dnsrecord.MaxTXT:
		return fmt.Sprintf("the value for %s is longer than a record can be", w.Name)
	case w.Kind == SPF && w.Value != "" && !isSPF(w.Value):
		return fmt.Sprintf("the value for %s is no SPF record", w.Name)
	}
	return ""
}

// Obstacle says what makes a record at this name impossible or invisible: a
// CNAME at it, a DNAME above it, a zone cut; "" if nothing was seen that does.
func Obstacle(seen map[Key]dnsrecord.Set, k Key) string {
	if cname := seen[Key{k.Name, dnsrecord.CNAME}]; len(cname.Values) > 0 && k.Type != dnsrecord.CNAME {
		// RFC 1034 §3.6.2: nothing stands beside a CNAME.
		return fmt.Sprintf("%s is a CNAME to %s: remove the CNAME, or have the record made where it points", k.Name, shown(cname.Values))
	}
	for at := k.Name; at != ""; at = at.Parent() {
		// RFC 6672 §2.3: a DNAME takes the names below it, not its own.
		if dname := seen[Key{at, dnsrecord.DNAME}]; len(dname.Values) > 0 && at != k.Name {
			return fmt.Sprintf("%s has a DNAME to %s, which hides %s: remove it, or have the record made where it points", at, shown(dname.Values), k.Name)
		}
		if ns := seen[Key{at, dnsrecord.NS}]; len(ns.Values) > 0 {
			return fmt.Sprintf("%s is delegated to other name servers (%s): the record belongs into that zone", at, shown(ns.Values))
		}
	}
	return ""
}

// wildcardOver names the wildcard CNAME that answers for the name whenever no record stands there (RFC 4592 §4.4).
func wildcardOver(seen map[Key]dnsrecord.Set, name dnsrecord.Name) string {
	for at := name.Parent(); at != ""; at = at.Parent() {
		wild := at.Child("*")
		if cname := seen[Key{wild, dnsrecord.CNAME}]; len(cname.Values) > 0 {
			return fmt.Sprintf("%s is a CNAME to %s: it answers for this name wherever no record stands", wild, shown(cname.Values))
		}
	}
	return ""
}

// relevant are the values at the name that the wish is about.
func relevant(kind Kind, values []string) []string {
	if kind != SPF {
		return slices.Clone(values)
	}
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !isSPF(v) })
}

// isSPF: RFC 7208 §4.5, the version section and then a space or the end. Its
// text is a literal of ABNF, so letters of both cases count.
func isSPF(value string) bool {
	head, _, _ := strings.Cut(value, " ")
	return strings.EqualFold(head, "v=spf1")
}

// decide is the heart: one wish against one RRset.
func decide(w Wish, set dnsrecord.Set, m Marker) (*Change, Outcome) {
	rel := relevant(w.Kind, set.Values)
	var mine, foreign []string
	for _, v := range rel {
		if v != "" && slices.Contains(w.Ours, v) || m.Lists(Digest(w.Name, w.Type, v)) {
			mine = append(mine, v)
		} else {
			foreign = append(foreign, v)
		}
	}
	o := Outcome{State: Pending, Changed: true, Found: others(rel, w.Value)}
	switch {
	case w.Value == "" && len(mine) == 0:
		return nil, Outcome{State: Absent, Found: o.Found}
	case w.Value == "":
		return change(w, set, mine), o
	case secondKey(w, mine):
		return nil, Outcome{State: Conflict, Found: sortedSet(rel), Message: fmt.Sprintf(
			"%s holds another key that this installation published: %s; a selector is never used for a second key (RFC 6376 §3.1): use another one", w.Name, shown(mine))}
	case changedOutside(w, mine, foreign):
		return change(w, set, rel), o
	case len(foreign) > 0 && !mayReplace(w, foreign):
		return nil, Outcome{State: Conflict, Found: sortedSet(rel), Message: explain(w, mine, foreign)}
	}
	if w.Adoption == Always && len(foreign) == 1 && foreign[0] != w.Value {
		o.Replaced = foreign[0]
	}
	if len(rel) == 1 && rel[0] == w.Value {
		return nil, Outcome{State: InPlace, Adopted: len(foreign) > 0}
	}
	return change(w, set, rel), o
}

// secondKey says whether the wish would put a second key under a selector: the marker says that ours stands there, the
// status does not know it, and it is another one. An empty p= may always replace a key.
func secondKey(w Wish, mine []string) bool {
	if !isSelector(w) || Tombstone(w.Value) {
		return false
	}
	return slices.ContainsFunc(mine, func(v string) bool { return v != w.Value && !slices.Contains(w.Ours, v) })
}

// isSelector says whether the wish is about a key record; an alias may have led it away from _domainkey.
func isSelector(w Wish) bool {
	return slices.Contains(w.Name.Labels(), "_domainkey") || strings.HasPrefix(w.Value, "v=DKIM1")
}

// changedOutside says whether our record was changed by somebody: the status says that it stood there, and in its place,
// alone, stands another. That is drift, and repaired. What stands beside ours is somebody else's, and so is what is left
// after a conflict: from then on the status does not say any more that ours stood there.
func changedOutside(w Wish, mine, foreign []string) bool {
	published := slices.ContainsFunc(w.Ours, func(v string) bool { return v != "" })
	return published && len(mine) == 0 && len(foreign) == 1 && foreign[0] != "" && foreign[0] != w.Value
}

// mayReplace says whether the one foreign record may make way. Two are never
// touched: which of them was meant is for a person to say. Nor is an empty
// value: to delete "" means "all" to several providers.
func mayReplace(w Wish, foreign []string) bool {
	if len(foreign) != 1 || foreign[0] == "" {
		return false
	}
	return w.Adoption == Always || w.Adoption == Identical && foreign[0] == w.Value
}

// change replaces the given values by the wanted one.
func change(w Wish, set dnsrecord.Set, out []string) *Change {
	ch := &Change{Name: w.Name, Type: w.Type, TTL: w.TTL, Prerequisite: set}
	once := w.Value != "" && count(out, w.Value) == 1
	ch.Delete = sortedSet(slices.DeleteFunc(slices.Clone(out), func(v string) bool { return once && v == w.Value }))
	if w.Value != "" && !once {
		ch.Add = []string{w.Value}
	}
	// RFC 2181 §5.2: one TTL for the RRset. Where others' records stay, theirs.
	if len(out) < len(set.Values) || once {
		ch.TTL = set.TTL
	}
	return ch
}

func count(values []string, v string) int {
	n := 0
	for _, x := range values {
		if x == v {
			n++
		}
	}
	return n
}

func others(values []string, wanted string) []string {
	return sortedSet(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == wanted }))
}

func explain(w Wish, mine, foreign []string) string {
	what := "a " + string(w.Type) + " record"
	if w.Kind == SPF {
		what = "an SPF record"
	}
	switch {
	case len(mine) > 0 || len(foreign) > 1:
		return fmt.Sprintf("%s may hold one such record, but these stand there: %s; remove those that are not wanted",
			w.Name, shown(append(slices.Clone(mine), foreign...)))
	case isSelector(w):
		return fmt.Sprintf("%s holds %s that this installation did not write: %s; a selector is never overwritten: use another one, or remove that record",
			w.Name, what, shown(foreign))
	case foreign[0] == w.Value:
		return fmt.Sprintf("%s holds the wanted record already, but this installation did not write it: adoptionPolicy Identical takes it over", w.Name)
	}
	return fmt.Sprintf("%s holds %s that this installation did not write: %s; remove it, or set adoptionPolicy to Always to replace it",
		w.Name, what, shown(foreign))
}

const maxShown = 3

// shown lists values for people: sorted, long ones and long lists cut.
func shown(values []string) string {
	values = slices.Sorted(slices.Values(values))
	var b strings.Builder
	for i, v := range values {
		if i == maxShown {
			fmt.Fprintf(&b, " and %d more", len(values)-maxShown)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(dnsrecord.Quote(v))
	}
	return b.String()
}
