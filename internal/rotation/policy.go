// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// Policy is what the MailDomain asks for. A domain without DKIM has no Keys: then nothing signs.
type Policy struct {
	Keys      []WantedKey
	Selectors Selectors
	// RotateAt is the moment from which a key that began to sign earlier is to be replaced; zero: no rotation is due.
	// See Calendar.
	RotateAt time.Time
	// Undo is a person's word (the annotation maildomain.dev/rotate-undo): keys that began to sign earlier make way for
	// those that signed before them, as long as these are Retiring.
	Undo      time.Time
	Lifetimes Lifetimes
}

// WantedKey is one algorithm with which every message is signed. Bits is 0 for Ed25519.
type WantedKey struct {
	Algorithm dkim.Algorithm
	Bits      int
}

func (p Policy) wants(a dkim.Algorithm) bool {
	return slices.ContainsFunc(p.Keys, func(w WantedKey) bool { return w.Algorithm == a })
}

// rotates tells whether the time has come to replace the key that signs. newest is when the last one began to.
func (p Policy) rotates(newest, now time.Time) bool {
	return !p.RotateAt.IsZero() && !now.Before(p.RotateAt) && newest.Before(p.RotateAt)
}

// unfit tells whether the key that signs has to make way whatever the time.
func (w WantedKey) unfit(incumbent Key) bool {
	return incumbent.Deleting || !incumbent.KeyPair || !w.fits(incumbent)
}

// fits tells whether the key is of the wanted size. An adopted key fits whatever its size: it signs today.
func (w WantedKey) fits(k Key) bool { return k.Adopted || k.Bits == w.Bits }

// begins tells whether a key that is ready may be put into the signing Secret: a fresh sweep precedes the switch, because
// what was verified a month ago may have been deleted since (invariant 1). While our clock is in doubt no wait is known to
// be over, but for one that was over when the key signed before.
func (p Policy) begins(k Key) bool {
	return k.Fresh && (!p.Lifetimes.ClockInDoubt || !k.SigningSince.IsZero())
}

// Selectors says how new selectors are named: a ring of fixed names, or else a prefix.
type Selectors struct {
	Prefix string
	Ring   []string
	// Used are selectors that may not be given again, whoever used them: RFC 6376 §3.1 has verifiers
	// and senders confuse two keys that ever shared a selector. A slot of the ring is free when its DKIMKey is gone,
	// which is after overlap, tombstone and the longest TTL.
	Used []string
	// Revoked are selectors that a person named as compromised. A slot of the ring among them is given no more as long as
	// it is named: whatever key gets it would be revoked at once.
	Revoked []string
}

// next names the next selector: <prefix><date><letter of the algorithm>, with a counter on a clash.
func (s Selectors) next(a dkim.Algorithm, now time.Time, taken map[string]bool) (string, bool) {
	if len(s.Ring) > 0 {
		i := slices.IndexFunc(s.Ring, func(name string) bool { return !taken[name] })
		if i < 0 {
			return "", false
		}
		return s.Ring[i], true
	}
	base := s.Prefix + now.UTC().Format("20060102") + a.KeyType()[:1]
	for n, name := 2, base; ; n++ {
		if !taken[name] {
			return name, true
		}
		name = fmt.Sprintf("%s%d", base, n)
	}
}

// taken are the selectors that no new key may have.
func taken(s Selectors, keys []Key, given []string) map[string]bool {
	all := map[string]bool{}
	if len(s.Ring) == 0 {
		given = slices.Concat(given, s.Used)
	}
	for _, selector := range slices.Concat(given, s.Revoked) {
		all[selector] = true
	}
	for _, k := range keys {
		all[k.Selector] = true
	}
	return all
}

// freeAt is when the first slot of the ring comes free, as far as that is known; zero: not known.
func (s Selectors) freeAt(keys []Key, l Lifetimes) time.Time {
	var first time.Time
	for _, k := range keys {
		if slices.Contains(s.Ring, k.Selector) && k.retired() && !k.Adopted {
			first = earliest(first, k.goneAt(l))
		}
	}
	return first
}
