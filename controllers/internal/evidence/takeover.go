// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import "github.com/maildomain-operator/maildomain-operator/api/v1alpha1"

// TakeOver is the owner id whose records a person told a MailDomain to take over; "" if that is done, or nobody did. The
// word counts once: who has taken over and loses the records to somebody else again does not fight for them. A word that
// is longer than an owner id can be is nobody's, and more than the status could keep.
func TakeOver(domain *v1alpha1.MailDomain) string {
	if domain == nil {
		return ""
	}
	word := domain.Annotations[v1alpha1.AnnotationTakeOver]
	if word == domain.Status.LastHandledTakeOver || len(word) > maxOwnerID {
		return ""
	}
	return word
}

// maxOwnerID is the longest that --owner-id may be.
const maxOwnerID = 253
