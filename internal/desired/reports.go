// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// ReportDestinations lists the other domains that are to get reports, sorted; those below the domain are its own. Receivers ask
// those of another organization for their permission (RFC 9990 §4).
func ReportDestinations(domain dnsrecord.Name, spec v1alpha1.MailDomainSpec) []dnsrecord.Name {
	var addresses []v1alpha1.ReportAddress
	if spec.DMARC != nil {
		addresses = slices.Concat(spec.DMARC.AggregateReportsTo, spec.DMARC.FailureReportsTo)
	}
	if spec.Parked != nil {
		addresses = slices.Concat(addresses, spec.Parked.AggregateReportsTo)
	}
	var all []dnsrecord.Name
	for _, a := range addresses {
		if uri, err := dmarc.ParseReportURI(a); err == nil && !uri.Domain().In(domain) {
			all = append(all, uri.Domain())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Permission is what has to stand at the name of PermissionName.
const Permission = "v=DMARC1"

// PermissionName is where a destination permits the reports about another domain (RFC 9990 §4).
func PermissionName(domain, destination dnsrecord.Name) dnsrecord.Name {
	return destination.Child(string(domain) + "._report._dmarc")
}

// ReportsRefused names the record that each destination has to publish before it gets reports about the domain.
func ReportsRefused(domain dnsrecord.Name, refusing, unread []dnsrecord.Name) []readiness.Note {
	var notes []readiness.Note
	note := func(reason, format string, args ...any) {
		notes = append(notes, readiness.Note{Condition: v1alpha1.ConditionReportsUnauthorized, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	for _, d := range refusing {
		note(v1alpha1.ReasonReportRecordMissing, `receivers send no reports to %s until it publishes: %s TXT "%s" (RFC 9990 section 4)`,
			d, PermissionName(domain, d).FQDN(), Permission)
	}
	for _, d := range unread {
		note(v1alpha1.ReasonReportRecordUnknown, "nobody answers for %s TXT: receivers send no reports to %s meanwhile", PermissionName(domain, d).FQDN(), d)
	}
	return notes
}
