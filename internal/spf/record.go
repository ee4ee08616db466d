// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package spf reads and prints SPF records (RFC 7208).
//
// It looks nothing up: macros stay the strings that they are, only their syntax is checked.
package spf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// Parked is the record of a name that sends no mail (RFC 7208 §10.1.2).
	Parked = "v=spf1 -all"
	// HELO is the record of a host that says its own name in HELO: bounces are judged by it (RFC 7208 §2.3).
	HELO = "v=spf1 a -all"
)

const (
	// MaxRecord is how long a record may be that we read, in octets; §3.4 asks for 450 and fewer.
	MaxRecord = 8192
	// MaxLookups is how many terms may ask the DNS in the whole tree of a record (RFC 7208 §4.6.4).
	MaxLookups = 10
	// MaxVoidLookups is how many of its questions may have no answer (RFC 7208 §4.6.4).
	MaxVoidLookups = 2
)

const version = "v=spf1"

// Qualifier is the result of a mechanism that matches (RFC 7208 §4.6.2).
type Qualifier string

// The qualifiers. The zero Qualifier means Pass, as its absence in a record does.
const (
	Pass     Qualifier = "+"
	Fail     Qualifier = "-"
	SoftFail Qualifier = "~"
	Neutral  Qualifier = "?"
)

// Record is an SPF record (RFC 7208 §4.6.1).
type Record struct {
	// Mechanisms are tried from first to last; the first that matches gives the result.
	Mechanisms []Mechanism
	// Redirect is the domain-spec of redirect=, "" if there is none (§6.1).
	Redirect string
	// Explanation is the domain-spec of exp=, "" if there is none (§6.2).
	Explanation string
	// Unknown are the modifiers that the RFC does not define, in their order (§6).
	Unknown []Modifier
}

// Modifier is a name=value that is not redirect or exp.
type Modifier struct {
	Name, Value string
}

// String prints the modifier as it stands in a record.
func (m Modifier) String() string {
	return m.Name + "=" + m.Value
}

// New makes a record from mechanisms, such as "mx" and "ip4:192.0.2.0/24", and what happens to everyone else.
//
// It refuses what the RFC forbids, and what it allows but no one should publish: ptr, mechanisms that let everyone pass and
// more than ten lookups. all may not be Pass. Errors say what to write instead.
func New(mechanisms []string, all Qualifier) (Record, error) {
	var record Record
	for _, s := range mechanisms {
		mechanism, err := ParseMechanism(s)
		if err == nil {
			err = mechanism.discouraged(dnsrecord.Quote(s))
		}
		if err != nil {
			return Record{}, err
		}
		record.Mechanisms = append(record.Mechanisms, mechanism)
	}
	switch all {
	case Fail, SoftFail, Neutral:
	case Pass, "":
		return Record{}, errors.New(`SPF "+all" lets everyone send as this domain: choose Fail, SoftFail or Neutral for all`)
	default:
		return Record{}, fmt.Errorf("SPF all %q is not Fail, SoftFail or Neutral", string(all))
	}
	record.Mechanisms = append(record.Mechanisms, Mechanism{Qualifier: all, Name: All})
	if n := record.Lookups(); n > MaxLookups {
		return Record{}, fmt.Errorf("SPF record needs %d DNS lookups, but receivers stop at %d with an error (RFC 7208 §4.6.4): "+
			"replace some of include, a, mx and exists by ip4 and ip6", n, MaxLookups)
	}
	if n := len(record.String()); n > MaxRecord {
		return Record{}, fmt.Errorf("SPF record has %d octets, more than the %d that are read", n, MaxRecord)
	}
	return record, nil
}

// discouraged says why a mechanism that a receiver would understand should not be published; text is how it was written.
func (m Mechanism) discouraged(text string) error {
	switch {
	case m.Name == All:
		return fmt.Errorf("SPF mechanism %s: what happens to everyone else has a field of its own, all: Fail, SoftFail or Neutral", text)
	case m.Name == PTR:
		return fmt.Errorf("SPF mechanism %s: ptr is slow, unreliable and not to be published (RFC 7208 §5.5): use ip4, ip6, a or mx", text)
	case m.Qualifier == Pass && m.matchesEveryAddress():
		return fmt.Errorf("SPF mechanism %s lets every address send as this domain: write a longer prefix than /0", text)
	case m.Domain != "" && !strings.Contains(m.Domain, "%"):
		if _, err := dnsrecord.ParseName(m.Domain); err != nil {
			return fmt.Errorf("SPF mechanism %s: %w", text, err)
		}
	}
	return nil
}

// Lookups counts the terms of this one record that make a receiver ask the DNS (RFC 7208 §4.6.4).
//
// What stands after all is never tried, and redirect is ignored beside all (§5.1, §6.1); those are not counted. What an included
// record adds is for the caller to find out.
func (r Record) Lookups() int {
	var n int
	for _, m := range r.Mechanisms {
		switch m.Name {
		case Include, A, MX, PTR, Exists:
			n++
		case All:
			return n
		case IP4, IP6:
		}
	}
	if r.Redirect != "" {
		n++
	}
	return n
}

// All returns the qualifier of the first all, and whether there is one: without it the result is Neutral (RFC 7208 §4.7).
func (r Record) All() (Qualifier, bool) {
	for _, m := range r.Mechanisms {
		if m.Name == All {
			return m.Qualifier, true
		}
	}
	return "", false
}

// String prints the record: the mechanisms, redirect, exp, and the modifiers that we do not know.
func (r Record) String() string {
	terms := []string{version}
	for _, m := range r.Mechanisms {
		terms = append(terms, m.String())
	}
	if r.Redirect != "" {
		terms = append(terms, "redirect="+r.Redirect)
	}
	if r.Explanation != "" {
		terms = append(terms, "exp="+r.Explanation)
	}
	for _, m := range r.Unknown {
		terms = append(terms, m.String())
	}
	return strings.Join(terms, " ")
}
