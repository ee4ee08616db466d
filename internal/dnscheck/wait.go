// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"fmt"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// fact is a reason for a cache to hold something older than the value, and for how long.
type fact struct {
	ttl    uint32
	reason string
}

// maxTTL bounds what a TTL may ask for: resolvers keep nothing longer than a
// week (RFC 8767 §4), whatever a hostile zone says.
const maxTTL = 7 * 24 * 3600

// negativeFact is how long a negative answer is kept: the lower of the SOA's
// TTL and its minimum field (RFC 2308 §5).
func negativeFact(zone dnsrecord.Name, ttl, minimum uint32) fact {
	if ttl < minimum {
		return fact{ttl, fmt.Sprintf("SOA TTL %d s of %s", ttl, zone)}
	}
	return fact{minimum, fmt.Sprintf("SOA minimum %d s of %s", minimum, zone)}
}

// denialFact is how long an NSEC or NSEC3 record proves to a validating
// resolver that names do not exist (RFC 8198 §5).
func denialFact(zone dnsrecord.Name, rrtype string, ttl uint32) fact {
	return fact{ttl, fmt.Sprintf("%s TTL %d s of %s", rrtype, ttl, zone)}
}

// answerFact is how long another answer than the value is kept; what is "CNAME", "wildcard answer", "other value".
func answerFact(name dnsrecord.Name, what string, ttl uint32) fact {
	return fact{ttl, fmt.Sprintf("TTL %d s of the %s at %s", ttl, what, name)}
}

// higher is the fact that asks for more; between equal ones the first in
// alphabetical order, so that the reason is stable.
func higher(a, b fact) fact {
	if b.ttl > a.ttl || b.ttl == a.ttl && (a.reason == "" || b.reason != "" && b.reason < a.reason) {
		return b
	}
	return a
}

// wait is rotation's first invariant: the highest of all facts, and of minimum.
func wait(highest fact, minimum time.Duration) (time.Duration, string) {
	d := time.Duration(min(highest.ttl, maxTTL)) * time.Second
	switch {
	case d < minimum || highest.reason == "":
		return minimum, fmt.Sprintf("minimum wait of %s", minimum)
	case highest.ttl > maxTTL:
		return d, highest.reason + ", counted as a week (RFC 8767)"
	default:
		return d, highest.reason
	}
}
