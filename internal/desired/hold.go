// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
)

// Evidence is what must be known before receivers are told to be strict.
type Evidence struct {
	// RSASigns: an RSA key signs the domain's mail, or the spec asks for no DKIM.
	RSASigns bool
	// SPFSettledAt is when the last cache forgets what stood before our SPF record; zero while it is not verified.
	// It counts only if the spec has SPF.
	SPFSettledAt time.Time
	SPFWanted    bool
	// Looked: the authoritative servers have said what stands at _dmarc. Standing is that, "" for nothing.
	Looked   bool
	Standing string
}

// NobodyLooked is why a record waits before anybody knows what stands at its name.
const NobodyLooked = "waits until the authoritative servers have said what stands there"

// Hold decides whether the _dmarc record waits. A policy that is stricter than what stands there would have receivers
// refuse mail that we do not sign yet; a looser one never waits. The time returned is when to decide again.
func Hold(record Record, before *v1alpha1.RecordStatus, e Evidence, now time.Time) (string, time.Time) {
	if before != nil && before.Value == record.Value && before.State != v1alpha1.RecordPending && before.State != v1alpha1.RecordAwaitingSigning {
		return "", time.Time{} // it stands there, or someone else's does
	}
	switch spfWaits := e.SPFWanted && (e.SPFSettledAt.IsZero() || now.Before(e.SPFSettledAt)); {
	case e.RSASigns && !spfWaits:
		return "", time.Time{}
	case !e.Looked:
		return NobodyLooked, time.Time{}
	case !stricter(record.Value, e.Standing):
		return "", time.Time{}
	case !e.RSASigns:
		return "stricter than what stands there: held until an RSA key signs this domain's mail", time.Time{}
	case e.SPFSettledAt.IsZero():
		return "stricter than what stands there: held until the SPF record is verified", time.Time{}
	default:
		return "stricter than what stands there: held until caches have forgotten the former SPF record, " +
			e.SPFSettledAt.UTC().Format(time.RFC3339), e.SPFSettledAt
	}
}

// stricter compares with what stands there. Nothing, or what receivers discard, asks for nothing: any policy is
// stricter, also p=none, whose reports would show unsigned mail as failing.
func stricter(wanted, standing string) bool {
	old, err := dmarc.Parse(standing)
	if err != nil {
		return true
	}
	record, err := dmarc.Parse(wanted)
	return err != nil || record.StricterThan(old)
}
