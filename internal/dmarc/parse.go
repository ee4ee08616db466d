// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Is says whether a TXT value is meant as DMARC: its first tag is v=DMARC1, in this case (RFC 9989 §4.8, §4.10).
//
// More than one such value at a name, and receivers use none of them.
func Is(value string) bool {
	first, _, _ := strings.Cut(value, ";")
	tag, err := dnsrecord.ParseTag(first)
	return err == nil && strings.EqualFold(tag.Name, "v") && tag.Value == version
}

// Parse reads the logical value of a DMARC record as a receiver would (RFC 9989 §4.7, §4.10.1).
//
// Tags that the RFC does not know are passed over; so are tags with a wrong value, each with an entry in Problems. Names of
// tags and the words in their values have no case, DMARC1 has. It is an error if v=DMARC1 is not first, a tag is there
// twice, or the record is longer than MaxRecord: a receiver takes no policy from it. A wrong p, sp or np is an error too, unless rua
// says where to report: then a receiver acts as if the record said p=none, and so does Parse.
func Parse(value string) (Record, error) {
	record, err := parse(value)
	if err != nil {
		return Record{}, fmt.Errorf("DMARC record: %w", err)
	}
	return record, nil
}

func parse(value string) (Record, error) {
	switch {
	case len(value) > MaxRecord:
		return Record{}, fmt.Errorf("is longer than %d octets", MaxRecord)
	case !Is(value):
		return Record{}, errors.New("does not begin with v=DMARC1, in capitals (RFC 9989 §4.7)")
	}
	var p parser
	seen := map[string]bool{}
	for i, spec := range strings.Split(value, ";") {
		if dnsrecord.TrimBlanks(spec) == "" {
			continue
		}
		tag, err := dnsrecord.ParseTag(spec)
		if err != nil {
			p.problem("%s", err)
			continue
		}
		name := strings.ToLower(tag.Name)
		if seen[name] {
			return Record{}, fmt.Errorf("tag %s= is there twice (RFC 6376 §3.2)", name)
		}
		seen[name] = true
		if i > 0 {
			p.read(name, tag.Value)
		}
	}
	return p.result()
}

// parser gathers a record and what is wrong with it.
type parser struct {
	record    Record
	badPolicy bool
}

func (p *parser) problem(format string, args ...any) {
	p.record.Problems = append(p.record.Problems, fmt.Sprintf(format, args...))
}

// result applies RFC 9989 §4.10.1: a wrong policy next to somewhere to report to is p=none, else no policy at all.
func (p *parser) result() (Record, error) {
	if !p.badPolicy && p.record.Policy == "" && p.record.SubdomainPolicy+p.record.NonexistentSubdomainPolicy != "" {
		p.problem("p= is missing beside sp= or np=")
		p.badPolicy = true
	}
	if !p.badPolicy {
		return p.record, nil
	}
	if len(p.record.AggregateReportsTo) == 0 {
		return Record{}, errors.New(p.record.Problems[0])
	}
	p.record.Policy, p.record.SubdomainPolicy, p.record.NonexistentSubdomainPolicy = None, "", ""
	return p.record, nil
}

func (p *parser) read(name, value string) {
	r := &p.record
	switch name {
	case "p":
		r.Policy = p.policy(name, value)
	case "sp":
		r.SubdomainPolicy = p.policy(name, value)
	case "np":
		r.NonexistentSubdomainPolicy = p.policy(name, value)
	case "psd":
		r.PSD = oneOf(p, name, value, PSDYes, PSDNo, PSDUnknown)
	case "t":
		r.Testing = oneOf(p, name, value, "y", "n") == "y"
	case "adkim":
		r.DKIMAlignment = oneOf(p, name, value, Relaxed, Strict)
	case "aspf":
		r.SPFAlignment = oneOf(p, name, value, Relaxed, Strict)
	case "rua":
		r.AggregateReportsTo = p.uris(name, value)
	case "ruf":
		r.FailureReportsTo = p.uris(name, value)
	case "fo":
		r.FailureOptions = p.options(value)
	default:
		p.historic(name, value)
	}
}

func (p *parser) historic(name, value string) {
	h := &p.record.Historic
	switch name {
	case "pct":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 100 {
			p.problem("pct=%s is no percentage", dnsrecord.Quote(value))
			return
		}
		h.Percent = &n
	case "rf":
		h.Format = strings.ToLower(value)
	case "ri":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			p.problem("ri=%s is no number of seconds", dnsrecord.Quote(value))
			return
		}
		h.Interval = uint32(n)
	}
}

func (p *parser) policy(name, value string) Policy {
	policy := oneOf(p, name, value, None, Quarantine, Reject)
	if policy == "" {
		p.badPolicy = true
	}
	return policy
}

// oneOf reads a word that has no case; "" and a problem if it is not one of those known.
func oneOf[S ~string](p *parser, name, value string, known ...S) S {
	word := S(strings.ToLower(value))
	if slices.Contains(known, word) {
		return word
	}
	p.problem("%s=%s is none of %s", name, dnsrecord.Quote(value), joined(known, ", "))
	return ""
}

func (p *parser) uris(name, value string) []ReportURI {
	var uris []ReportURI
	for item := range strings.SplitSeq(value, ",") {
		uri, err := ParseReportURI(dnsrecord.TrimBlanks(item))
		if err != nil {
			p.problem("%s=: %s", name, err)
			continue
		}
		uris = append(uris, uri)
	}
	return uris
}

func (p *parser) options(value string) []FailureOption {
	options, err := ParseFailureOptions(strings.Split(value, ":"))
	if err != nil {
		p.problem("fo=: %s", err)
	}
	return options
}

// ParseFailureOptions reads the items of fo=: "0" or "1", "d" and "s", each once, in any order.
func ParseFailureOptions(items []string) ([]FailureOption, error) {
	var options []FailureOption
	for _, item := range items {
		option := FailureOption(strings.ToLower(dnsrecord.TrimBlanks(item)))
		switch option {
		case ReportIfAllFail, ReportIfAnyFails, ReportDKIM, ReportSPF:
		default:
			return nil, fmt.Errorf("failure option %s is none of 0, 1, d and s", dnsrecord.Quote(item))
		}
		if slices.Contains(options, option) {
			return nil, fmt.Errorf("failure option %s is there twice", option)
		}
		options = append(options, option)
	}
	if slices.Contains(options, ReportIfAllFail) && slices.Contains(options, ReportIfAnyFails) {
		return nil, errors.New("failure options 0 and 1 exclude each other: 1 covers what 0 asks for")
	}
	return options, nil
}
