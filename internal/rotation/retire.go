// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import "time"

// Lifetimes say how long the record of a retired key stays, and whether time can be told at all.
type Lifetimes struct {
	Overlap         time.Duration // as it was, after signers dropped the key: mail that it signed is on its way
	Tombstone       time.Duration // then with an empty p=
	RevocationGrace time.Duration // as long signers may lag behind the signing Secret
	LongestTTL      time.Duration // once it is removed, as long as a cache may know it
	// ClockInDoubt says that our clock and the API server's do not agree: no wait ends, nothing irreversible is done.
	ClockInDoubt bool
}

// maxSkew is how far two clocks may be apart that agree.
const maxSkew = 5 * time.Minute

// ClocksAgree compares our clock with the API server's. While they do not agree, no wait may begin (a time that is noted
// then is wrong for ever) and none ends: see Lifetimes.ClockInDoubt.
func ClocksAgree(ours, theirs time.Time) bool { return ours.Sub(theirs).Abs() <= maxSkew }

// Stage is what shall stand under a selector, each stage after the one before.
type Stage int

// The stages.
const (
	Keep   Stage = iota // the record, as it is
	Empty               // the tombstone: the same record with an empty p=
	Remove              // nothing
	Gone                // nothing, nor in any cache: the DKIMKey may go, and then its Secret
)

func (s Stage) String() string { return [...]string{"Keep", "Empty", "Remove", "Gone"}[s] }

// Retirement is what shall stand under the selector of a key now, until when at least (zero: until something happens),
// and why, in words that stay the same until the wait ends. A key that is not retired is kept, without a reason.
type Retirement struct {
	Stage Stage
	Until time.Time
	Why   string
}

// WaitingFor is the reason and the end of the wait.
func (r Retirement) WaitingFor() string {
	if r.Until.IsZero() {
		return r.Why
	}
	return r.Why + ", until " + r.Until.UTC().Format(time.RFC3339)
}

// Retire decides what shall stand under the selector of one key. A stage that was reached stays reached.
func Retire(k Key, l Lifetimes, now time.Time) Retirement {
	reached := Retirement{Stage: k.reached()}
	for _, hold := range []struct {
		holds bool
		why   string
	}{
		{!k.retired(), ""},
		{k.Unsure != "", k.Unsure}, // invariant 7
		{k.Signs, "another key to sign: the signing Secret holds it"}, // invariant 2
		{k.Adopted && !k.Revoked, "a person's word that nobody else signs with it: its record was there before (revoked: true)"},
		{k.HeldBy != "" && !k.Revoked, "signers to drop it: " + k.HeldBy},
		{k.Conflict && k.reached() < Remove, "a person to resolve the conflict at its record"},
	} {
		if hold.holds {
			reached.Why = hold.why
			return reached
		}
	}
	next := nextStage(k, l)
	switch {
	case next.Why != "" && (next.Until.IsZero() || now.Before(next.Until)):
		return Retirement{Stage: reached.Stage, Until: next.Until, Why: next.Why}
	case l.ClockInDoubt: // invariant 8
		reached.Why = "our clock and the API server's to agree"
		return reached
	}
	return Retirement{Stage: next.Stage}
}

// nextStage is what follows the stage that was reached, from when on, and what is waited for until then.
func nextStage(k Key, l Lifetimes) Retirement {
	neverSigned := k.SigningSince.IsZero()
	switch reached := k.reached(); {
	case reached == Remove:
		return Retirement{Stage: Gone, Until: k.RemovedAt.Add(l.LongestTTL), Why: "caches to forget its record"}
	case reached == Empty:
		return Retirement{Stage: Remove, Until: k.RevokedAt.Add(l.Tombstone), Why: "receivers to see its empty record"}
	case neverSigned && k.Revoked: // somebody else may sign with it
		return Retirement{Stage: Empty}
	case neverSigned:
		return Retirement{Stage: Remove}
	case k.RetiredAt.IsZero():
		return Retirement{Stage: Keep, Why: "the note that signers hold it no more"}
	case k.Revoked:
		return Retirement{Stage: Empty, Until: k.RetiredAt.Add(l.RevocationGrace), Why: "signers to drop it"}
	default:
		return Retirement{Stage: Empty, Until: k.overlapEnds(l), Why: "mail on its way that it signed"}
	}
}

// overlapEnds is when no mail can be on its way any more that the key signed: a signer that lags behind the signing Secret
// may have signed with it until the grace was over.
func (k Key) overlapEnds(l Lifetimes) time.Time {
	return k.RetiredAt.Add(l.RevocationGrace).Add(l.Overlap)
}

// reached is the last stage that was carried out.
func (k Key) reached() Stage {
	switch {
	case !k.RemovedAt.IsZero():
		return Remove
	case !k.RevokedAt.IsZero():
		return Empty
	default:
		return Keep
	}
}

// goneAt is when nothing of a retired key is left in any cache, if nothing holds it up; zero while that is not known.
func (k Key) goneAt(l Lifetimes) time.Time {
	left := time.Duration(0)
	next := nextStage(k, l)
	for stage := next.Stage; stage < Gone; stage++ {
		left += map[Stage]time.Duration{Empty: l.Tombstone, Remove: l.LongestTTL}[stage]
	}
	if next.Until.IsZero() {
		return time.Time{}
	}
	return next.Until.Add(left)
}
