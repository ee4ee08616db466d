// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import "time"

// undoMargin is how long before the end of its overlap a key does not come back any more, for its controller may be about
// to empty the record: a tenth of the overlap, ten minutes at most.
const undoMargin = 10 * time.Minute

// undoes tells whether a person wants the key that signs now to make way for the one before it. What was said later
// counts: a rotation that is due since is not undone. And once another key signs than the newest, it was done.
func (p Policy) undoes(incumbent Key, newest, now time.Time) bool {
	asked := !p.Undo.IsZero() && !now.Before(p.Undo) && incumbent.SigningSince.Before(p.Undo) && !p.RotateAt.After(p.Undo)
	return asked && incumbent.SigningSince.Equal(newest)
}

// lastBefore is the key that signed last before the incumbent and may still come back: its record stands unchanged, and
// will for long enough.
func lastBefore(l Lifetimes, want WantedKey, keys []Key, now time.Time) (Key, bool) {
	var last Key
	for _, k := range keys {
		comesBack := !k.Signs && !k.SigningSince.IsZero() && k.sound() && want.fits(k)
		ends := k.overlapEnds(l).Add(-min(l.Overlap/10, undoMargin))
		if comesBack && (k.RetiredAt.IsZero() || k.Adopted || now.Before(ends)) && k.SigningSince.After(last.SigningSince) {
			last = k
		}
	}
	return last, last.Name != ""
}
