// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

// Carriage is how the largest answer at a name travels.
type Carriage int

// What carries an answer, from the best to the worst.
const (
	// ByUDP: it fits into what every resolver takes.
	ByUDP Carriage = iota
	// ByEDNS: over UDP only to those who say that they take more than 512 octets (RFC 6891).
	ByEDNS
	// ByTCP: over UDP to hardly anybody, for it would be fragmented (RFC 9715 §3.1).
	ByTCP
)

// What one UDP datagram carries, in octets.
const (
	PlainLimit = 512      // RFC 1035 §4.2.1
	EDNSLimit  = ednsSize // RFC 9715
)

// Carriage says how answers at the name travel.
func (v Verdict) Carriage() Carriage { return carriage(v.AnswerSize, v.PlainSize) }

func carriage(size, plain int) Carriage {
	switch {
	case size > EDNSLimit:
		return ByTCP
	case plain > PlainLimit:
		return ByEDNS
	}
	return ByUDP
}
