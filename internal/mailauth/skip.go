// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"encoding/binary"
	"math/bits"
)

// One octet, in each of the eight of a word.
const (
	ones = 0x0101010101010101
	high = 0x80 * ones
	low  = 0x7f * ones
)

// skipOrdinary skips octets of p from i on that need no look, eight at a time, and
// gathers in or what their bits are. It stops at a control character, at a space
// that more white space or a control character may follow, or when few octets are left.
//
// Canonical form costs as much as SHA-256 itself when each octet is looked at
// alone; so it costs half of it.
func skipOrdinary(p []byte, i int, or *uint64) int {
	all := *or
	var before uint64 // 0x80 if the last octet of the word before was a space
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		// 0x80 for each octet up to 0x20. Exact: 0x7f + 0x5f leaves no carry for the next octet.
		white := ^(x&low + 0x5f*ones | x) & high
		// Of those, only a space has the bit 0x20; and one alone is well.
		stop := white&^(x<<2) | white&(white<<8|before)
		if stop != 0 {
			n := bits.TrailingZeros64(stop) / 8
			all |= x & (1<<(8*n) - 1)
			*or = all
			if n > 0 && white>>(8*n-1)&1 != 0 || n == 0 && before != 0 {
				n-- // A space before it: what follows decides about that one, too.
			}
			return i + n
		}
		all |= x
		before = white >> 56
	}
	*or = all
	if before != 0 {
		i--
	}
	return i
}
