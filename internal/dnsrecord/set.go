// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord

import "slices"

// Type is the type of a record, as zone files write it.
type Type string

// The types that this project reads or writes.
const (
	A     Type = "A"
	AAAA  Type = "AAAA"
	CNAME Type = "CNAME"
	DNAME Type = "DNAME"
	MX    Type = "MX"
	NS    Type = "NS"
	SOA   Type = "SOA"
	TXT   Type = "TXT"
)

// Set is all records of one name and type: the unit that the DNS caches and replaces (RFC 2181 §5).
type Set struct {
	Name Name
	Type Type
	// TTL is in seconds; a set has one (RFC 2181 §5.2).
	TTL uint32
	// Values hold what the records say. For TXT each is one logical string, any octet allowed; for the other types it is the
	// presentation form with absolute names. Their order means nothing.
	Values []string
}

// Has says whether one of the records says exactly this.
func (s Set) Has(value string) bool {
	return slices.Contains(s.Values, value)
}

// SameValues says whether both sets say the same, in whatever order.
func (s Set) SameValues(other Set) bool {
	mine, theirs := slices.Clone(s.Values), slices.Clone(other.Values)
	slices.Sort(mine)
	slices.Sort(theirs)
	return slices.Equal(mine, theirs)
}
