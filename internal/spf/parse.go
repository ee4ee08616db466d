// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package spf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Is says whether a TXT value is meant as SPF: "v=spf1", then a blank or the end (RFC 7208 §4.5).
func Is(value string) bool {
	if len(value) < len(version) || !strings.EqualFold(value[:len(version)], version) {
		return false
	}
	return len(value) == len(version) || value[len(version)] == ' '
}

// Parse reads the logical value of an SPF record.
//
// Every error is one that a receiver answers with permerror (RFC 7208 §4.6), or a record longer than MaxRecord. Names of mechanisms and
// modifiers become lower case, domains stay as they are.
func Parse(value string) (Record, error) {
	record, err := parse(value)
	if err != nil {
		return Record{}, fmt.Errorf("SPF record: %w", err)
	}
	return record, nil
}

func parse(value string) (Record, error) {
	switch {
	case len(value) > MaxRecord:
		return Record{}, fmt.Errorf("is longer than %d octets", MaxRecord)
	case !Is(value):
		return Record{}, errors.New(`does not begin with "v=spf1" and a blank`)
	}
	var record Record
	for term := range strings.SplitSeq(value[len(version):], " ") {
		if term == "" {
			continue // terms stand one blank or more apart, and blanks may end the record
		}
		if err := addTerm(&record, term); err != nil {
			return Record{}, err
		}
	}
	return record, nil
}

func addTerm(r *Record, term string) error {
	if isModifier(term) {
		if err := addModifier(r, term); err != nil {
			return fmt.Errorf("modifier %s: %w", dnsrecord.Quote(term), err)
		}
		return nil
	}
	mechanism, err := parseMechanism(term)
	if err != nil {
		return fmt.Errorf("mechanism %s: %w", dnsrecord.Quote(term), err)
	}
	r.Mechanisms = append(r.Mechanisms, mechanism)
	return nil
}

// isModifier says whether a term is name "=" …, where name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ).
func isModifier(term string) bool {
	name, _, found := strings.Cut(term, "=")
	name = strings.ToLower(name)
	if !found || name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

func addModifier(r *Record, term string) error {
	name, value, _ := strings.Cut(term, "=")
	name = strings.ToLower(name)
	var known *string
	switch name {
	case "redirect":
		known = &r.Redirect
	case "exp":
		known = &r.Explanation
	default:
		if _, err := checkMacroString(value); err != nil {
			return err
		}
		r.Unknown = append(r.Unknown, Modifier{Name: name, Value: value})
		return nil
	}
	if *known != "" {
		return fmt.Errorf("%s= is there twice (RFC 7208 §6)", name)
	}
	*known = value
	return checkDomainSpec(value)
}
