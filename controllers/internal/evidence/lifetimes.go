// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
)

// ClockLook is how soon clocks that do not agree are compared again: no watch tells of it.
const ClockLook = 30 * time.Second

// LongestTTL is how long a cache may know the record of a key at its place.
func LongestTTL(key *v1alpha1.DKIMKey, ttl uint32) time.Duration {
	return time.Duration(max(int64(key.Status.WaitSeconds), int64(ttl))) * time.Second
}

// Lifetimes says how long what a domain does not need any more stays; without a MailDomain, as long as by default. An API
// server that never told its time leaves the clock in doubt.
func Lifetimes(domain *v1alpha1.MailDomain, grace time.Duration, server *servertime.Watch) rotation.Lifetimes {
	var spec *v1alpha1.Rotation
	if domain != nil && domain.Spec.DKIM != nil {
		spec = domain.Spec.DKIM.Rotation
	}
	ours, theirs, known := server.Last()
	return rotation.Lifetimes{
		Overlap: spec.OverlapOrDefault(), Tombstone: spec.TombstoneOrDefault(), RevocationGrace: grace,
		ClockInDoubt: !known || !rotation.ClocksAgree(ours, theirs),
	}
}
