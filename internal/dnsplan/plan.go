// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnsplan decides which changes lead from the records that stand in a
// zone to the records that are wanted, and touches only what is ours.
//
// It is pure: the caller reads, Plan decides, the caller writes and reads back.
//
//	seen + marker + wishes ──► Plan ──► changes (ours only) + one outcome per wish
package dnsplan

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Kind says which of the values at a name a wish is about.
type Kind string

// Kinds of wishes.
const (
	// Exclusive is the one record of its type at the name: a selector, _dmarc,
	// a null MX. A second record beside it breaks it for every reader.
	Exclusive Kind = "Exclusive"
	// SPF is the one "v=spf1" record among other TXT records at the name; two
	// are a permerror (RFC 7208 §4.5). The other TXT records are not looked at.
	SPF Kind = "SPF"
)

// Adoption says what to do with a record of someone else that stands in the way.
type Adoption string

// Adoption policies.
const (
	// Never leaves it and reports a conflict, even if its value is the wanted one.
	Never Adoption = "Never"
	// Identical takes it over if its value is the wanted one.
	Identical Adoption = "Identical"
	// Always replaces it, if there is only one.
	Always Adoption = "Always"
)

// Key names one RRset.
type Key struct {
	Name dnsrecord.Name
	Type dnsrecord.Type
}

// Wish is one record that an object wants in the zone.
type Wish struct {
	Name dnsrecord.Name
	Type dnsrecord.Type
	Kind Kind
	// Value is the logical value; "" means that ours must go.
	Value string
	// TTL in seconds; used when the record is written, never a reason to write.
	TTL uint32
	// Ours are values that the object's status says we published at this name.
	Ours []string
	// Adoption is Never when empty.
	Adoption Adoption
}

// Key returns the RRset that the wish is about.
func (w Wish) Key() Key { return Key{Name: w.Name, Type: w.Type} }

// OutcomeState is what became of a wish.
type OutcomeState string

// Outcome states.
const (
	// InPlace: the record stands as wanted.
	InPlace OutcomeState = "InPlace"
	// Absent: nothing of ours stands there, as wanted.
	Absent OutcomeState = "Absent"
	// Conflict: someone else's record is in the way; nothing was changed.
	Conflict OutcomeState = "Conflict"
	// Pending: a change is planned, or a person has to make it.
	Pending OutcomeState = "Pending"
	// Held: the record was to go, and a person has to agree first; nothing was changed.
	Held OutcomeState = "Held"
	// Failed: the name could not be read, or the change did not take.
	Failed OutcomeState = "Failed"
)

// Outcome answers one wish.
type Outcome struct {
	Name  dnsrecord.Name
	Type  dnsrecord.Type
	State OutcomeState
	// Changed: a change was planned (from Plan) or made (from the queue).
	Changed bool
	// Adopted: the record stood there as wanted, and nobody here had published it.
	Adopted bool
	// Found are the values that stood there and are not the wanted one, sorted.
	Found []string
	// Replaced is the value of someone else that was replaced under Always; an answer later on that found the record in
	// place keeps it.
	Replaced string
	// ChangedTime is when the queue last changed the record, and ChangedFrom the
	// values that it took away then; an answer later on that found it in place keeps both.
	ChangedTime time.Time
	ChangedFrom []string
	// Message says for people what is wrong and what to do; "" if nothing is.
	Message string
}
