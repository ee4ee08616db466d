// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"slices"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Unsupported lists the fields of the spec that this release accepts but does not act upon, so that none is silent.
func Unsupported(spec v1alpha1.MailDomainSpec) []string {
	var fields []string
	note := func(set bool, field string) {
		if set {
			fields = append(fields, field)
		}
	}
	if d := spec.DKIM; d != nil {
		note(len(d.SigningFormats) > 0, "spec.dkim.signingFormats")
	}
	note(spec.DMARC != nil && spec.DMARC.Rollout != nil, "spec.dmarc.rollout")
	note(spec.DMARC != nil && len(spec.DMARC.OwnNetworks) > 0, "spec.dmarc.ownNetworks")
	note(spec.Parked != nil && spec.Parked.NullMX, "spec.parked.nullMX")
	if spec.DMARC != nil {
		note(elsewhere(spec.Domain, spec.DMARC.AggregateReportsTo), "spec.dmarc.aggregateReportsTo: the permission of other domains to report to them is neither published nor checked")
		note(elsewhere(spec.Domain, spec.DMARC.FailureReportsTo), "spec.dmarc.failureReportsTo: as aggregateReportsTo")
	}
	note(spec.Parked != nil && elsewhere(spec.Domain, spec.Parked.AggregateReportsTo), "spec.parked.aggregateReportsTo: as in spec.dmarc")
	return fields
}

// elsewhere tells whether a report address is surely not of the domain's own organisation by its name: neither below the
// domain nor above it. Receivers ask such a destination for its permission (RFC 9990 §4).
func elsewhere(domain string, addresses []v1alpha1.ReportAddress) bool {
	name, err := dnsrecord.ParseDomain(domain)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a v1alpha1.ReportAddress) bool {
		uri, err := dmarc.ParseReportURI(a)
		return err == nil && !uri.Domain().In(name) && !name.In(uri.Domain())
	})
}
