// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// SPFCost notes what an SPF record costs receivers. Of a tree that nobody could read to its end only that is known.
func SPFCost(last v1alpha1.SPFStatus, tree thirdparty.Tree) v1alpha1.SPFStatus {
	if tree.Unread != "" {
		last.Unread = readiness.Cut(tree.Unread, v1alpha1.MaxMessageLength)
		return last
	}
	left := spf.MaxLookups - int32(tree.Lookups) //nolint:gosec // 100 at most
	after := v1alpha1.SPFStatus{
		Lookups: int32(tree.Lookups), LookupsLeft: &left, VoidLookups: int32(tree.VoidLookups), //nolint:gosec // a few hundred at most
		PermError: readiness.Cut(tree.PermError, v1alpha1.MaxMessageLength), AnswerOctets: last.AnswerOctets,
	}
	for _, t := range tree.Terms {
		after.Terms = append(after.Terms, v1alpha1.SPFTermStatus{
			Term: readiness.Cut(t.Text, v1alpha1.MaxMessageLength), Lookups: int32(t.Lookups), VoidLookups: int32(t.VoidLookups), //nolint:gosec // as above
		})
	}
	return after
}
