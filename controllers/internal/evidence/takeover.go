// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import "github.com/maildomain-operator/maildomain-operator/api/v1alpha1"

// TakeOver is the owner id whose records a person told a MailDomain to take over; "" if that is done, or nobody did. The
// word counts once: who has taken over and loses the records to somebody else again does not fight for them.
func TakeOver(domain *v1alpha1.MailDomain) string {
	if domain == nil || domain.Annotations[v1alpha1.AnnotationTakeOver] == domain.Status.LastHandledTakeOver {
		return ""
	}
	return domain.Annotations[v1alpha1.AnnotationTakeOver]
}
