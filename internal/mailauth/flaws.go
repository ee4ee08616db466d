// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

// Flaws are what may make an MTA further on change the message, and so break its signature.
type Flaws uint8

// The flaws. A message with one is signed all the same.
const (
	EightBit Flaws = 1 << iota // 8-bit octets: may be downgraded to 7 bit
	LongLine                   // a line over 998 octets: may be broken in two (RFC 5321 §4.5.3.1.6)
	BareCR                     // CR without LF: may be removed or become CRLF (RFC 6376 §5.3)
	BareLF                     // LF without CR: becomes CRLF on the way
)

// Names lists the flaws by the names that metrics and logs use.
func (f Flaws) Names() []string {
	var names []string
	for _, n := range flawNames {
		if f&n.flaw != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// flawNames keeps the order of the constants.
var flawNames = []struct {
	flaw Flaws
	name string
}{
	{EightBit, "8bit"},
	{LongLine, "long_line"},
	{BareCR, "bare_cr"},
	{BareLF, "bare_lf"},
}
