// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"maps"
	"net/netip"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// maxFailing bounds the places that are remembered as failing.
const maxFailing = 4096

// place is a server in its role for a zone: where patience is counted.
type place struct {
	zone dnsrecord.Name
	addr netip.AddrPort
}

// patience says since when a place could not be asked, and when that is excused.
type patience struct {
	now    time.Time
	since  map[place]time.Time
	limit  time.Duration
	strict bool
}

// excuses says whether a server that cannot be asked blocks no longer.
func (p patience) excuses(at place) bool {
	since, failing := p.since[at]
	return failing && !p.strict && p.now.Sub(since) >= p.limit
}

// failing is since when a place could not be asked, and when that was seen last.
type failing struct{ since, last time.Time }

// noteFailing remembers which places could not be asked; the caller holds the
// lock. A failure long after the last one begins anew: nobody looked in between.
func (p *Prober) noteFailing(s survey) {
	now := p.options.Now()
	memory := 3 * p.options.Interval
	if len(p.failing) > maxFailing {
		maps.DeleteFunc(p.failing, func(_ place, f failing) bool { return now.Sub(f.last) > memory })
	}
	for _, n := range s.nodes {
		for _, a := range n.answers {
			at := place{n.zone, a.server.Addr}
			f, known := p.failing[at]
			switch {
			case a.said != saidNothing:
				delete(p.failing, at)
			case !known && len(p.failing) >= 2*maxFailing: // no patience to spare: it goes on blocking
			case !known || now.Sub(f.last) > memory:
				p.failing[at] = failing{now, now}
			default:
				p.failing[at] = failing{f.since, now}
			}
		}
	}
}

// since is the part of p.failing that a survey is about.
func (p *Prober) since(s survey) map[place]time.Time {
	out := map[place]time.Time{}
	for _, n := range s.nodes {
		for _, a := range n.answers {
			at := place{n.zone, a.server.Addr}
			if f, ok := p.failing[at]; ok {
				out[at] = f.since
			}
		}
	}
	return out
}
