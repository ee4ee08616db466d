// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Change is one change of one RRset: every record whose value is in Delete
// goes, then every value in Add comes.
//
// A value that is in both stands exactly once afterwards. Name, Type and the
// values to delete are never empty: to several providers that means "all".
type Change struct {
	Name dnsrecord.Name
	Type dnsrecord.Type
	// Delete are values as they were read.
	Delete []string
	Add    []string
	// TTL in seconds for what is added: the RRset's own where other records
	// stay (an RRset has one TTL, RFC 2181 §5.2), else the wanted one.
	TTL uint32
	// Prerequisite is the RRset as it was read; the change is to be made only
	// while it stands like that (its TTL does not count).
	Prerequisite dnsrecord.Set
}

// Key returns the RRset that the change is about.
func (c Change) Key() Key { return Key{Name: c.Name, Type: c.Type} }

// Removals returns the RRsets in which the changes leave no record of ours although somebody may miss the one that goes.
func Removals(changes []Change, wishes []Wish) []Key {
	wanted := map[Key]bool{}
	for _, w := range wishes {
		wanted[w.Key()] = wanted[w.Key()] || w.Value != ""
	}
	var removed []Key
	for _, c := range changes {
		missed := func(v string) bool { return !Tombstone(v) }
		if !wanted[c.Key()] && slices.ContainsFunc(c.Delete, missed) {
			removed = append(removed, c.Key())
		}
	}
	return removed
}

// Tombstone tells whether a value is a key record of ours with an empty p= (RFC 6376 §3.6.1: revoked), which nobody misses.
func Tombstone(value string) bool {
	return strings.HasPrefix(value, "v=DKIM1") && strings.HasSuffix(value, "p=")
}

// Apply returns what stands after the change if set stood before.
func (c Change) Apply(set dnsrecord.Set) dnsrecord.Set {
	after := dnsrecord.Set{Name: c.Name, Type: c.Type, TTL: set.TTL}
	for _, v := range set.Values {
		if !slices.Contains(c.Delete, v) {
			after.Values = append(after.Values, v)
		}
	}
	for _, v := range c.Add {
		if !slices.Contains(after.Values, v) {
			after.Values = append(after.Values, v)
		}
	}
	if len(after.Values) > 0 && len(c.Add) > 0 {
		after.TTL = c.TTL
	}
	if len(after.Values) == 0 {
		after.TTL = 0
	}
	return after
}
