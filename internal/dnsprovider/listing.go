// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"errors"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// listedBatch is how many submissions one round carries out at a provider that lists zones. It bounds the memory of a round
// and the time until its first answer: some twenty requests for new domains at Route 53.
const listedBatch = 2000

// A listing is what a provider's list says of a zone: every RRset that stands there, under its key. Providers list
// what is stored, so a wildcard is itself and never an answer.
type listing map[Question]dnsrecord.Set

// answer picks what was asked, and what stands in the way of it.
func (l listing) answer(zone dnsrecord.Name, questions []Question) map[Question]dnsrecord.Set {
	seen := map[Question]dnsrecord.Set{}
	for _, q := range questions {
		set := l[q]
		set.Name, set.Type = q.Name, q.Type
		seen[q] = set
		for _, k := range inTheWay(zone, q.Name) {
			if s, ok := l[k]; ok {
				seen[k] = s
			}
		}
	}
	return seen
}

// inTheWay are the RRsets that would make a record at the name impossible or invisible, or answer wherever it is missing:
// a CNAME at it, zone cuts at it and above, DNAMEs and wildcard CNAMEs above.
func inTheWay(zone, name dnsrecord.Name) []Question {
	keys := []Question{{Name: name, Type: dnsrecord.CNAME}}
	for at := name; at != zone && at != ""; at = at.Parent() {
		parent := at.Parent()
		keys = append(
			keys, Question{Name: at, Type: dnsrecord.NS},
			Question{Name: parent, Type: dnsrecord.DNAME}, Question{Name: parent.Child("*"), Type: dnsrecord.CNAME},
		)
	}
	return keys
}

// names are all that have to be looked at to answer the questions, sorted.
func names(zone dnsrecord.Name, questions []Question) []dnsrecord.Name {
	var all []dnsrecord.Name
	for _, q := range questions {
		all = append(all, q.Name)
		for _, k := range inTheWay(zone, q.Name) {
			all = append(all, k.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// halving has each group done in one request. One that the provider refuses as a whole is cut in halves, until those parts
// that are at fault stand alone: one bad record never holds up another, and n good ones cost no n requests. After an error
// that concerns all, nothing more is asked.
func halving[P any](groups [][]P, send func([]P) error, done func(P, error)) {
	var over error
	var try func([]P)
	try = func(parts []P) {
		err := over
		if err == nil {
			err = send(parts)
		}
		if concernsAll(err) {
			over = err
		}
		if err == nil || over != nil || len(parts) == 1 {
			for _, p := range parts {
				done(p, err)
			}
			return
		}
		try(parts[:len(parts)/2])
		try(parts[len(parts)/2:])
	}
	for _, g := range groups {
		if len(g) > 0 {
			try(g)
		}
	}
}

// concernsAll says whether an error is about the provider, not about what it was asked.
func concernsAll(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Reason {
	case Unreachable, Throttled, Unauthorized, ZoneNotFound, NotReady, NotBuiltIn:
		return true
	case Refused, Invalid, Unknown:
		return false
	}
	return false
}
