// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// gate is what every removal passes: it lets records go as long as they are few, or a person agrees. Its lock is held while
// the census is taken, which reads caches and waits for nothing.
type gate struct {
	limit  brake.Limit
	census func(context.Context) (brake.Census, error)
	now    func() time.Time

	mu      sync.Mutex
	let     map[dnsplan.Key]time.Time // what may go without a person's word, since when
	counted brake.Census
	at      time.Time // of the count
}

// fresh is how old a census may be: hundreds of domains ask within a second, and what was let go since is known.
const fresh = time.Second

func newGate(o Options) *gate {
	return &gate{limit: o.Removals, census: o.Census, now: o.Now, let: map[dnsplan.Key]time.Time{}}
}

// holds tells whether the records have to stay; if not they are let go, and counted. Ask for all that goes together: what
// was let go once may go on.
func (g *gate) holds(ctx context.Context, keys []dnsplan.Key) (bool, error) {
	if g.census == nil || len(keys) == 0 {
		return false, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	gone, asked := brake.Records{}, brake.Records{}
	for k, since := range g.let {
		if now.Sub(since) >= g.limit.Window {
			delete(g.let, k)
			continue
		}
		gone[k] = true
	}
	for _, k := range keys {
		if !gone[k] {
			asked[k] = true
		}
	}
	if len(asked) == 0 {
		return false, nil
	}
	if now.Sub(g.at) >= fresh {
		counted, err := g.census(ctx)
		if err != nil {
			return true, newError(Unknown, err, "the records of this installation could not be counted, and nothing is removed uncounted")
		}
		g.counted, g.at = counted, now
	}
	if g.limit.Holds(g.counted, gone, asked) {
		return true, nil
	}
	for k := range asked {
		g.let[k] = now
	}
	return false, nil
}

// words say why records stay. They name no number that changes, so that they are told once.
func (g *gate) words() string {
	return g.limit.String() + ": none of them goes until a person agrees, by the annotation " + v1alpha1.AnnotationAllowRemoval +
		" with the present time on the MailDomain, or decides that they stay, by spec.deletionPolicy Retain"
}

// RemovalHeld says why records of a domain may not go now; "" if they may. Whoever is to take other things down with
// them asks before: the queue holds the records anyway.
func (q *Queue) RemovalHeld(ctx context.Context, keys []dnsplan.Key, agreed bool) (string, error) {
	if agreed {
		return "", nil
	}
	held, err := q.gate.holds(ctx, keys)
	if err != nil || !held {
		return "", err
	}
	return q.gate.words(), nil
}

// holdRemovals takes out of the plan what a person has to agree to.
func (r *round) holdRemovals(ctx context.Context) {
	removals := map[dnsrecord.Name][]dnsplan.Key{}
	var asked []dnsplan.Key
	for _, d := range r.all() {
		if d.open() && !r.agreed(d) {
			removals[d.name] = dnsplan.Removals(d.changes, d.wishes)
			asked = append(asked, removals[d.name]...)
		}
	}
	held, err := r.q.gate.holds(ctx, asked)
	if !held {
		return
	}
	state, words := dnsplan.Held, r.q.gate.words()
	if err != nil {
		state, words = dnsplan.Failed, asError(err).Message
	}
	for name, keys := range removals {
		r.domains[name].hold(keys, state, words)
	}
}

// agreed: a person speaks for all records of a domain.
func (r *round) agreed(d *domain) bool {
	return slices.ContainsFunc(r.families[d.name], func(s Submission) bool { return s.RemovalAgreed })
}

func (d *domain) hold(keys []dnsplan.Key, state dnsplan.OutcomeState, words string) {
	d.changes = slices.DeleteFunc(d.changes, func(c dnsplan.Change) bool { return slices.Contains(keys, c.Key()) })
	for i, o := range d.outcomes {
		if slices.Contains(keys, dnsplan.Key{Name: o.Name, Type: o.Type}) {
			d.outcomes[i] = dnsplan.Outcome{Name: o.Name, Type: o.Type, State: state, Found: o.Found, Message: words}
		}
	}
}
