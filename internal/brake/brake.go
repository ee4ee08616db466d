// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package brake decides whether so many records are about to go at once that a person has to agree first.
//
//	published by our objects ─────┐
//	about to go, nobody agreed ───┼──► more than the limit? ──► all of them are held until a person agrees
//	gone within the window ───────┘
//
// A namespace that is deleted, a pruning GitOps tool, a script with the wrong selector: each of them is a valid wish for
// each single domain, and a disaster for all. What is a step of a rotation, a key made empty or an empty one removed, is
// no loss to anybody and is neither counted nor held.
package brake

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

// Limit is how many records may go without a person's word.
type Limit struct {
	// Share is that of all records of the installation, from 0 to 1. With 1 nothing is ever held.
	Share float64
	// Floor is how many may always go, so that a small installation can delete a domain.
	Floor int
	// Window is within which time.
	Window time.Duration
}

// Default is the limit that the manager has without flags.
var Default = Limit{Share: 0.1, Floor: 20, Window: time.Hour}

// Records are RRsets that hold a record of ours.
type Records map[dnsplan.Key]bool

// Census is what the objects of the installation say at one moment.
type Census struct {
	// Published are all records that they published.
	Published Records
	// Leaving are those about to go of which nobody has said that they may.
	Leaving Records
	// Held: the removal of some of them was held before. What was held stays so until a person agrees, also when time
	// passes or the operator is started anew.
	Held bool
}

// Holds tells whether records have to stay: asked are about to go now, and nobody has agreed; gone went within the
// window, likewise.
func (l Limit) Holds(c Census, gone, asked Records) bool {
	if l.Share >= 1 {
		return false
	}
	going := union(c.Leaving, gone, asked)
	all := union(going, c.Published)
	return c.Held || len(going) > max(l.Floor, int(l.Share*float64(len(all))))
}

func union(sets ...Records) Records {
	all := Records{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// String says the limit for people, and stays the same whatever is counted.
func (l Limit) String() string {
	window := l.Window.String()
	for _, zero := range []string{"m0s", "h0m"} { // 1h, not 1h0m0s
		if rest, ok := strings.CutSuffix(window, zero); ok {
			window = rest + zero[:1]
		}
	}
	return fmt.Sprintf("more than %g %% of all records of this installation, and more than %d, are about to go within %s", 100*l.Share, l.Floor, window)
}

const (
	// lasts is how long a person's word holds: what is deleted long after is another matter.
	lasts = 24 * time.Hour
	// ahead is how far a person's clock may be ahead of ours.
	ahead = 5 * time.Minute
)

// ErrNoTime says that the annotation cannot be read; it agrees to nothing then.
var ErrNoTime = errors.New("annotation " + v1alpha1.AnnotationAllowRemoval + " is no time such as 2026-11-01T04:00:00Z")

// Agreed tells whether one of the objects carries a person's word that its records may go, given within the last 24
// hours. The same word counts as long, however often it is applied.
func Agreed(now time.Time, annotations ...map[string]string) (bool, error) {
	for _, a := range annotations {
		text, ok := a[v1alpha1.AnnotationAllowRemoval]
		if !ok {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return false, ErrNoTime
		}
		if now.Before(at.Add(lasts)) && at.Before(now.Add(ahead)) {
			return true, nil
		}
	}
	return false, nil
}
