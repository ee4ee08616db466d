// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Owner is the object that wants records.
type Owner struct {
	Kind, Namespace, Name string
	// Part tells apart the submissions of one object that has records in several
	// zones, such as HELO names elsewhere; usually empty.
	Part string
}

func (o Owner) compare(other Owner) int {
	return cmp.Or(
		cmp.Compare(o.Namespace, other.Namespace), cmp.Compare(o.Name, other.Name),
		cmp.Compare(o.Kind, other.Kind), cmp.Compare(o.Part, other.Part))
}

// Submission is everything that one owner wants in one zone. Do not change it after Submit.
type Submission struct {
	Owner    Owner
	Provider ProviderKey
	// Zone holds the records and the marker.
	Zone dnsrecord.Name
	// Domain is the mail domain whose marker lists the records.
	Domain dnsrecord.Name
	Wishes []dnsplan.Wish
	// RememberedGeneration is Result.MarkerGeneration as the object's status keeps it; 0 if it has none.
	RememberedGeneration int64
	// Known are the digests of the records that the domain's other objects have published, as their statuses tell. A
	// steady object submits nothing, and the marker that lists its record is no stranger's.
	Known []string
	// TakeOver is the --owner-id whose records of this domain a person told us to take over; see the annotation of that name.
	TakeOver string
	// RemovalAgreed is a person's word that records of this domain may go, however many go with them; see the annotation
	// allow-removal.
	RemovalAgreed bool
}

// Fingerprint tells what is wanted. What the objects remember (RememberedGeneration, Known,
// and Ours of a record that is wanted) is no part of it: to note a result in the
// status is not to want something else.
func (s Submission) Fingerprint() string {
	s.Wishes = slices.Clone(s.Wishes)
	for i, w := range s.Wishes {
		if w.Value != "" {
			s.Wishes[i].Ours = nil
		}
	}
	return s.fullFingerprint()
}

// fullFingerprint tells everything that a run depends on.
func (s Submission) fullFingerprint() string {
	s.Wishes = slices.Clone(s.Wishes)
	for i := range s.Wishes {
		s.Wishes[i].Ours = slices.Sorted(slices.Values(s.Wishes[i].Ours))
	}
	s.RememberedGeneration, s.Known = 0, nil
	// Go syntax quotes every string, so it is unambiguous, and it keeps octets that are not UTF-8 (JSON would not).
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", s))
	return hex.EncodeToString(sum[:])
}

// Result answers a submission.
type Result struct {
	// Fingerprint is that of the submission that it answers, maybe an earlier one.
	Fingerprint string
	// Outcomes answer the wishes in their order; nil if Err says why there are none.
	Outcomes []dnsplan.Outcome
	// MarkerGeneration is the highest generation of the domain's marker that was
	// seen or written; keep it in the status and hand it back.
	MarkerGeneration int64
	// MarkerValue is the marker as it stands; "" if none does.
	MarkerValue string
	// Rival says that another installation, or a second copy of this one, writes the records of the domain, so that we do
	// not; "" if none does.
	Rival string
	// Err is an *Error if the provider as a whole could not be used. The queue tries again by itself.
	Err  error
	Time time.Time
}

// Settled reports whether every wish is in place or absent, so that there is nothing left to do.
func (r Result) Settled() bool {
	if r.Err != nil {
		return false
	}
	return !slices.ContainsFunc(r.Outcomes, func(o dnsplan.Outcome) bool {
		return o.State != dnsplan.InPlace && o.State != dnsplan.Absent
	})
}
