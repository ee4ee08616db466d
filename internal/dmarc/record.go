// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dmarc reads and prints DMARC policy records (RFC 9989). Its sections are cited, here and elsewhere, as the
// published RFC of May 2026 numbers them.
package dmarc

import (
	"slices"
	"strings"
)

// MaxRecord is how long a record may be that we read, in octets.
const MaxRecord = 8192

const version = "DMARC1"

// Policy is what the domain's owner asks receivers to do with mail that fails, as a record says it (RFC 9989 §4.7, p=).
type Policy string

// The policies. The zero Policy is a tag that is not there.
const (
	None       Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

// strictness orders the policies; what is no policy asks for nothing.
func (p Policy) strictness() int {
	switch p {
	case Quarantine:
		return 1
	case Reject:
		return 2
	case None:
	}
	return 0
}

// lowered is the policy that receivers apply in test mode (RFC 9989 §4.7, t=).
func (p Policy) lowered() Policy {
	if p == Reject {
		return Quarantine
	}
	return None
}

// Alignment is how near an authenticated domain must be to that of the author (RFC 9989 §4.4).
type Alignment string

// The alignments. The zero Alignment is a tag that is not there, which means Relaxed.
const (
	Relaxed Alignment = "r"
	Strict  Alignment = "s"
)

// PSD says whether the domain is a public suffix (RFC 9989 §4.7, psd=).
type PSD string

// The values of psd=. The zero PSD is a tag that is not there, which means PSDUnknown.
const (
	PSDYes     PSD = "y"
	PSDNo      PSD = "n"
	PSDUnknown PSD = "u"
)

// FailureOption says for which messages failure reports are wanted (RFC 9989 §4.7, fo=).
type FailureOption string

// The failure options. The first two exclude each other.
const (
	ReportIfAllFail  FailureOption = "0"
	ReportIfAnyFails FailureOption = "1"
	ReportDKIM       FailureOption = "d"
	ReportSPF        FailureOption = "s"
)

// Record is a DMARC policy record (RFC 9989 §4.7). The zero value of a field is a tag that is not there.
type Record struct {
	// Policy is p=, for the domain itself; missing means None.
	Policy Policy
	// SubdomainPolicy is sp=; missing means Policy.
	SubdomainPolicy Policy
	// NonexistentSubdomainPolicy is np=, for names that do not exist; missing means SubdomainPolicy.
	NonexistentSubdomainPolicy Policy
	// PSD is psd=.
	PSD PSD
	// Testing is t=y: receivers are asked to apply each policy one step lower.
	Testing bool
	// DKIMAlignment is adkim=, SPFAlignment aspf=.
	DKIMAlignment, SPFAlignment Alignment
	// AggregateReportsTo is rua=, FailureReportsTo ruf=.
	AggregateReportsTo, FailureReportsTo []ReportURI
	// FailureOptions is fo=; missing means ReportIfAllFail.
	FailureOptions []FailureOption

	// Historic holds the tags that RFC 9989 removed. They are read, never printed.
	Historic Historic
	// Problems says what a receiver passes over in this record, one sentence each, in the order of the tags. It is filled by
	// Parse and never printed.
	Problems []string
}

// Historic are the tags of RFC 7489 that RFC 9989 removed: only older receivers obey them.
type Historic struct {
	// Percent is pct=, 0 to 100: the share of failing mail that the policy is for; nil means all.
	Percent *int
	// Format is rf=, the format of failure reports.
	Format string
	// Interval is ri=, the seconds between aggregate reports; 0 is a tag that is not there.
	Interval uint32
}

// String prints the record: v first, p second for readers of RFC 7489 (§6.4 there), then the other tags.
//
// A record without a policy prints none; RFC 9990 §4 uses such records to accept the reports of another domain.
func (r Record) String() string {
	var b strings.Builder
	b.WriteString("v=" + version)
	tag := func(name, value string) {
		if value != "" {
			b.WriteString("; " + name + "=" + value)
		}
	}
	tag("p", string(r.Policy))
	tag("sp", string(r.SubdomainPolicy))
	tag("np", string(r.NonexistentSubdomainPolicy))
	tag("psd", string(r.PSD))
	if r.Testing {
		tag("t", "y")
	}
	tag("adkim", string(r.DKIMAlignment))
	tag("aspf", string(r.SPFAlignment))
	tag("rua", joined(r.AggregateReportsTo, ","))
	tag("ruf", joined(r.FailureReportsTo, ","))
	tag("fo", joined(r.FailureOptions, ":"))
	return b.String()
}

func joined[S ~string](items []S, separator string) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(string(item))
	}
	return b.String()
}

// Effective returns what receivers are asked to do with failing mail of the domain, of its subdomains and of those that do not
// exist: missing tags inherit, and test mode lowers each by one step (RFC 9989 §4.7).
func (r Record) Effective() (domain, subdomains, nonexistent Policy) {
	domain = first(r.Policy, None)
	subdomains = first(r.SubdomainPolicy, domain)
	nonexistent = first(r.NonexistentSubdomainPolicy, subdomains)
	if r.Testing {
		return domain.lowered(), subdomains.lowered(), nonexistent.lowered()
	}
	return domain, subdomains, nonexistent
}

func first(p, otherwise Policy) Policy {
	if p == "" {
		return otherwise
	}
	return p
}

// StricterThan says whether mail may fail or suffer under this record that did not under the old one: a policy that asks
// for more (p, sp or np, inherited and lowered as by Effective), an alignment that became strict, or a policy that was for a
// percentage of the mail and is now for all of it.
//
// The zero Record stands for no record at all. A record that is stricter in one respect is stricter, whatever it loosens.
func (r Record) StricterThan(old Record) bool {
	domain, subdomains, nonexistent := r.Effective()
	oldDomain, oldSubdomains, oldNonexistent := old.Effective()
	return domain.strictness() > oldDomain.strictness() ||
		subdomains.strictness() > oldSubdomains.strictness() ||
		nonexistent.strictness() > oldNonexistent.strictness() ||
		r.DKIMAlignment == Strict && old.DKIMAlignment != Strict ||
		r.SPFAlignment == Strict && old.SPFAlignment != Strict ||
		r.percent() > old.percent() && slices.ContainsFunc([]Policy{domain, subdomains, nonexistent}, Policy.asks)
}

func (r Record) percent() int {
	if r.Historic.Percent == nil {
		return 100
	}
	return *r.Historic.Percent
}

// asks says whether the policy wants anything done to failing mail.
func (p Policy) asks() bool {
	return p.strictness() > 0
}
