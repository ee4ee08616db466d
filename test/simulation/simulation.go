// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulation runs the decisions of internal/rotation for years of model time, in a world that does what the real
// one does at its worst, and checks every message where it arrives. The real controllers live in the same world, on objects
// that the process keeps (controllers_test.go): what is said here of the operator's part they do themselves.
//
//	person ─► domain controller ─► signing Secret ─► pods, each with a lag ─► messages, held up to five days ─┐
//	             rotation.Next          │                                                                     ▼
//	          key controllers ──────────┴─► provider ─► name servers, each with a lag ─► caches ◄── model receiver
//	             rotation.Retire
//
// A private key is a number, and a record says which. Controllers read stale copies, crash between any two writes, meet
// conflicts and faults, and have a clock that steps. Whoever asks a name server asks it at the worst moment: one second
// before its answer changes, so that a cache holds the former one for as long as any cache can.
package simulation

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Config is how much is simulated. The same configuration gives the same result.
type Config struct {
	Seed    uint64
	Domains int
	Years   int
}

// start is when every world begins.
var start = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// Run simulates every domain in a world of its own: nothing that domains share takes part in a rotation but the clock,
// which the jitter is there for.
func Run(c Config) Report {
	return run(c, start.AddDate(c.Years, 0, 0), func(*world) {})
}

// run simulates until the end worlds whose operator somebody may change before they begin.
func run(c Config, end time.Time, change func(*world)) Report {
	reports := make([]Report, c.Domains)
	swaps := make([][]time.Time, c.Domains)
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				rng := rand.New(rand.NewPCG(c.Seed, uint64(i)))
				w := newWorld(fmt.Sprintf("domain%d.example", i), draw(rng), rng)
				change(w)
				w.run(end)
				reports[i], swaps[i] = w.report, w.swaps
			}
		})
	}
	for i := range c.Domains {
		next <- i
	}
	close(next)
	wg.Wait()

	var total Report
	for _, r := range reports {
		total.add(r)
	}
	total.AtOnce = atOnce(swaps)
	return total
}

// atOnce is the most domains that swapped their keys within one minute.
func atOnce(swaps [][]time.Time) int {
	minutes := map[time.Time]map[int]bool{}
	most := 0
	for domain, times := range swaps {
		for _, at := range times {
			m := at.Truncate(time.Minute)
			if minutes[m] == nil {
				minutes[m] = map[int]bool{}
			}
			minutes[m][domain] = true
			most = max(most, len(minutes[m]))
		}
	}
	return most
}

// Report is what happened.
type Report struct {
	Domains, Events                                             int
	Keys, Rotations, Missed, Undone, Revocations, Lost, Deleted int
	Messages, Signatures, Held, RevokedInFlight                 int
	Crashes, Conflicts, ProviderFaults, StaleReads, ClockSteps  int
	Unreadable, Relapses                                        int
	Unverifiable, Unsigned, ReusedSelectors, Unfinished         int
	AtOnce                                                      int
	LongestWait                                                 time.Duration // from the moment a rotation was due to its swap
	Violations                                                  []Violation
}

// Violation is a moment at which an invariant did not hold.
type Violation struct {
	Invariant string
	Domain    string
	At        time.Time
	What      string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s, %s: %s", v.Invariant, v.Domain, v.At.Format(time.DateTime), v.What)
}

func (r *Report) add(o Report) {
	for _, c := range r.counts(&o) {
		*c.mine += *c.other
	}
	r.LongestWait = max(r.LongestWait, o.LongestWait)
	r.Violations = append(r.Violations, o.Violations...)
}

type count struct {
	name        string
	mine, other *int
}

// counts names every count once, for adding and for printing.
func (r *Report) counts(o *Report) []count {
	return []count{
		{"domains", &r.Domains, &o.Domains},
		{"events", &r.Events, &o.Events},
		{"keys", &r.Keys, &o.Keys},
		{"rotations", &r.Rotations, &o.Rotations},
		{"schedules missed and run once", &r.Missed, &o.Missed},
		{"rotations undone", &r.Undone, &o.Undone},
		{"revocations", &r.Revocations, &o.Revocations},
		{"private keys lost", &r.Lost, &o.Lost},
		{"keys deleted", &r.Deleted, &o.Deleted},
		{"messages", &r.Messages, &o.Messages},
		{"signatures verified", &r.Signatures, &o.Signatures},
		{"held (451) and sent later", &r.Held, &o.Held},
		{"revoked in flight", &r.RevokedInFlight, &o.RevokedInFlight},
		{"crashes", &r.Crashes, &o.Crashes},
		{"API conflicts and faults", &r.Conflicts, &o.Conflicts},
		{"provider faults", &r.ProviderFaults, &o.ProviderFaults},
		{"stale reads", &r.StaleReads, &o.StaleReads},
		{"reads that failed", &r.Unreadable, &o.Unreadable},
		{"name servers that relapsed", &r.Relapses, &o.Relapses},
		{"clock steps", &r.ClockSteps, &o.ClockSteps},
		{"unverifiable", &r.Unverifiable, &o.Unverifiable},
		{"unsigned", &r.Unsigned, &o.Unsigned},
		{"reused selectors", &r.ReusedSelectors, &o.ReusedSelectors},
		{"rotations not completed", &r.Unfinished, &o.Unfinished},
	}
}

func (r *Report) String() string {
	var b strings.Builder
	for _, c := range r.counts(r) {
		fmt.Fprintf(&b, "%-32s %d\n", c.name, *c.mine)
	}
	fmt.Fprintf(&b, "%-32s %d\n", "most domains in one minute", r.AtOnce)
	fmt.Fprintf(&b, "%-32s %s\n", "longest wait of a due rotation", r.LongestWait.Round(time.Minute))
	return b.String()
}
