// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package desired decides which DNS records a mail domain should have, when each may be published, and what has
// become of it.
package desired

import (
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// Record is one record that an object wants.
type Record struct {
	Name    dnsrecord.Name
	Type    dnsrecord.Type
	Kind    dnsplan.Kind
	Purpose v1alpha1.RecordPurpose
	Value   string // logical, as one string
	Hold    string // why it is not published yet, for people; "" publishes it
}

// Records lists the records of a domain but for its selectors, which the DKIMKeys own. What the spec leaves out is
// unmanaged and not in the list. Each fault names the field that admission could not judge; what it has no part in is in
// the list all the same.
func Records(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) (records []Record, faults []error) {
	for _, wanted := range []func(dnsrecord.Name, v1alpha1.MailDomainSpec) ([]Record, error){parked, spfRecords, heloRecords, dmarcRecords} {
		wants, err := wanted(domain, spec)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, record := range wants {
			if err := fits(record); err != nil {
				faults = append(faults, err)
				continue
			}
			records = append(records, record)
		}
	}
	return records, faults
}

// fits refuses a record that no zone or no status can hold: each of its parts is short enough, the whole is not.
func fits(r Record) error {
	if _, err := dnsrecord.ParseName(string(r.Name)); err != nil {
		return fmt.Errorf("spec.domain leaves no room for its %s record: %w", r.Purpose, err)
	}
	if n := len(r.Value); n > v1alpha1.MaxRecordValueLength {
		return fmt.Errorf("the %s record at %s would have %d octets, more than %d: list fewer or shorter mechanisms or addresses",
			r.Purpose, r.Name, n, v1alpha1.MaxRecordValueLength)
	}
	return nil
}

// parked says in every way that the domain sends no mail.
func parked(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) ([]Record, error) {
	if spec.Parked == nil {
		return nil, nil
	}
	reports, err := reportURIs("aggregateReportsTo", spec.Parked.AggregateReportsTo)
	if err != nil {
		return nil, fmt.Errorf("spec.parked.%w", err)
	}
	policy := dmarc.Record{
		Policy: dmarc.Reject, SubdomainPolicy: dmarc.Reject, NonexistentSubdomainPolicy: dmarc.Reject,
		DKIMAlignment: dmarc.Strict, SPFAlignment: dmarc.Strict, AggregateReportsTo: reports,
	}
	records := []Record{
		spfRecord(domain, v1alpha1.PurposeSPF, spf.Parked),
		dmarcRecord(domain, policy),
		{
			Name: domain.Child("*._domainkey"), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive,
			Purpose: v1alpha1.PurposeWildcardDKIM, Value: dkim.Record{}.String(),
		},
	}
	if spec.Parked.NullMX {
		records = append(records, Record{
			Name: domain, Type: dnsrecord.MX, Kind: dnsplan.Exclusive, Purpose: v1alpha1.PurposeNullMX, Value: nullMX,
		})
	}
	return records, nil
}

// nullMX says that a domain takes no mail (RFC 7505 §3). Without any MX it would take mail at its address (RFC 5321 §5.1).
const nullMX = "0 ."

func spfRecord(name dnsrecord.Name, purpose v1alpha1.RecordPurpose, value string) Record {
	return Record{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.SPF, Purpose: purpose, Value: value}
}

func dmarcRecord(domain dnsrecord.Name, policy dmarc.Record) Record {
	return Record{
		Name: domain.Child("_dmarc"), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive,
		Purpose: v1alpha1.PurposeDMARC, Value: policy.String(),
	}
}

func spfRecords(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) ([]Record, error) {
	if spec.SPF == nil {
		return nil, nil
	}
	all := map[v1alpha1.SPFAll]spf.Qualifier{
		v1alpha1.SPFAllFail: spf.Fail, v1alpha1.SPFAllSoftFail: spf.SoftFail, v1alpha1.SPFAllNeutral: spf.Neutral,
	}
	record, err := spf.New(spec.SPF.Mechanisms, all[spec.SPF.AllOrDefault()])
	if err != nil {
		return nil, fmt.Errorf("spec.spf: %w", err)
	}
	return []Record{spfRecord(domain, v1alpha1.PurposeSPF, record.String())}, nil
}

// heloRecords: bounces are judged by the HELO name, which needs a record of its own (RFC 7208 §2.3).
func heloRecords(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) ([]Record, error) {
	if spec.SPF == nil {
		return nil, nil
	}
	var records []Record
	for i, n := range spec.SPF.HeloNames {
		name, err := dnsrecord.ParseDomain(n)
		if err != nil {
			return nil, fmt.Errorf("spec.spf.heloNames[%d]: %w", i, err)
		}
		if name != domain && name.In(domain) {
			records = append(records, spfRecord(name, v1alpha1.PurposeHeloSPF, spf.HELO))
		}
	}
	return records, nil
}

// ForeignHeloNames lists the HELO names outside of the domain: whoever owns their domain has to publish their record.
func ForeignHeloNames(domain dnsrecord.Name, s *v1alpha1.SPF) []string {
	var foreign []string
	if s == nil {
		return nil
	}
	for _, n := range s.HeloNames {
		if name, err := dnsrecord.ParseDomain(n); err == nil && !name.In(domain) {
			foreign = append(foreign, string(name))
		}
	}
	return foreign
}

func dmarcRecords(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) ([]Record, error) {
	d := spec.DMARC
	if d == nil {
		return nil, nil
	}
	rua, err := reportURIs("aggregateReportsTo", d.AggregateReportsTo)
	if err != nil {
		return nil, fmt.Errorf("spec.dmarc.%w", err)
	}
	ruf, err := reportURIs("failureReportsTo", d.FailureReportsTo)
	if err != nil {
		return nil, fmt.Errorf("spec.dmarc.%w", err)
	}
	record := dmarc.Record{
		Policy: policy(d.Policy), SubdomainPolicy: policy(d.SubdomainPolicy), NonexistentSubdomainPolicy: policy(d.NonexistentSubdomainPolicy),
		Testing: d.Testing, AggregateReportsTo: rua, FailureReportsTo: ruf,
	}
	// Relaxed is what an absent tag means; a shorter record is easier to read.
	if d.DKIMAlignment == v1alpha1.AlignmentStrict {
		record.DKIMAlignment = dmarc.Strict
	}
	if d.SPFAlignment == v1alpha1.AlignmentStrict {
		record.SPFAlignment = dmarc.Strict
	}
	for _, o := range d.FailureOptions {
		record.FailureOptions = append(record.FailureOptions, dmarc.FailureOption(o))
	}
	return []Record{dmarcRecord(domain, record)}, nil
}

func policy(p v1alpha1.DMARCPolicy) dmarc.Policy { return dmarc.Policy(strings.ToLower(string(p))) }

func reportURIs(field string, addresses []v1alpha1.ReportAddress) ([]dmarc.ReportURI, error) {
	var uris []dmarc.ReportURI
	for i, a := range addresses {
		uri, err := dmarc.ParseReportURI(a)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		uris = append(uris, uri)
	}
	return uris, nil
}
