// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"text/template"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"

	_ "embed"
)

// timeline follows the keys of one world through their phases.
type timeline struct{ keys []*keyLife }

type keyLife struct {
	name, selector string
	algorithm      dkim.Algorithm
	spans          []span
	gone           bool
}

type span struct {
	phase    rotation.Phase
	from, to time.Time
}

// note looks at every key. A nil timeline follows nothing.
func (t *timeline) note(w *world) {
	if t == nil {
		return
	}
	for _, k := range w.cluster.live() {
		t.life(k).note(rotation.PhaseOf(w.view(k, w.cluster.signing.live), w.operatorNow()), w.now)
	}
	for _, l := range t.keys {
		l.gone = l.gone || w.cluster.byName(l.name) == nil
	}
}

func (t *timeline) life(k *dkimKey) *keyLife {
	for _, l := range t.keys {
		if l.name == k.name && !l.gone {
			return l
		}
	}
	l := &keyLife{name: k.name, selector: k.selector, algorithm: k.algorithm}
	t.keys = append(t.keys, l)
	return l
}

func (l *keyLife) note(phase rotation.Phase, now time.Time) {
	if n := len(l.spans); n > 0 {
		l.spans[n-1].to = now
		if l.spans[n-1].phase == phase {
			return
		}
	}
	l.spans = append(l.spans, span{phase: phase, from: now, to: now})
}

// Draw simulates a year of one domain without faults, and draws it: rotations every quarter, one by hand in June, and
// a revocation in September.
func Draw() ([]byte, error) {
	schedule, err := rotation.ParseSchedule("0 4 1 2/3 *", "Europe/Berlin", start)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	w := newWorld("example.org", profile{
		keys:      []rotation.WantedKey{rsa2048, ed25519},
		selectors: rotation.Selectors{Prefix: "m"},
		calendar:  rotation.Calendar{Schedule: &schedule}, period: 92 * day,
		lifetimes: rotation.Lifetimes{Overlap: 14 * day, Tombstone: 30 * day, RevocationGrace: maxMountLag, LongestTTL: time.Hour},
		servers:   3, resolvers: 1, pods: 2,
		ttl: time.Hour, negativeTTL: time.Hour, serverLag: time.Minute, mountLag: maxMountLag,
		clockSteps: 1000 * day, relapses: 1000 * day, sent: day,
	}, rng)
	w.trace = &timeline{}
	w.at(start.AddDate(0, 5, 14), func() { w.do(rotateNow); w.domainAlarm.in(0) })
	w.at(start.AddDate(0, 8, 19), func() { w.revoke(); w.domainAlarm.in(0) })
	w.run(start.AddDate(1, 0, 0))
	w.trace.note(w)
	return w.trace.svg()
}

//go:embed timeline.svg.tmpl
var picture string

// The measures of the picture, in its own units.
const (
	left, top, row, width = 120, 46, 22, 960
)

func x(t time.Time) float64 {
	return left + float64(t.Sub(start))/float64(start.AddDate(1, 0, 0).Sub(start))*width
}

type bar struct {
	X, Y, Width float64
	Phase       rotation.Phase
	From, To    string
}

type label struct {
	X, Y float64
	Text string
}

// svg draws a row for each key, in the order in which they were made.
func (t *timeline) svg() ([]byte, error) {
	var view struct {
		Width, Height float64
		Months, Keys  []label
		Bars          []bar
		Phases        []bar
	}
	slices.SortStableFunc(t.keys, func(a, b *keyLife) int { return a.spans[0].from.Compare(b.spans[0].from) })
	for i, l := range t.keys {
		y := float64(top + i*row)
		view.Keys = append(view.Keys, label{X: left - 8, Y: y + 13, Text: l.selector})
		for _, s := range l.spans {
			view.Bars = append(view.Bars, bar{
				X: x(s.from), Y: y, Width: max(x(s.to)-x(s.from), 1), Phase: s.phase, From: s.from.Format(time.DateTime), To: s.to.Format(time.DateTime),
			})
		}
	}
	for m := range 12 {
		at := start.AddDate(0, m, 0)
		view.Months = append(view.Months, label{X: x(at), Y: top - 8, Text: at.Format("Jan")})
	}
	view.Width, view.Height = left+width+20, float64(top+len(t.keys)*row+40)
	phases := []rotation.Phase{rotation.Pending, rotation.Publishing, rotation.Standby, rotation.Signing, rotation.Retiring, rotation.Revoked}
	for i, p := range phases {
		view.Phases = append(view.Phases, bar{X: left + float64(i)*110, Y: view.Height - 26, Phase: p})
	}
	var b bytes.Buffer
	if err := template.Must(template.New("").Parse(picture)).Execute(&b, view); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
