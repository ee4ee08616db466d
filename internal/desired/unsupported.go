// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import "github.com/maildomain-operator/maildomain-operator/api/v1alpha1"

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
	return fields
}
