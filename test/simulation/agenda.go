// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"container/heap"
	"slices"
	"time"
)

// event is something that happens at a moment.
type event struct {
	at  time.Time
	seq int // of two at the same moment, the one that was planned first
	do  func()
}

type events []event

func (e *events) Len() int { return len(*e) }
func (e *events) Less(i, j int) bool {
	a, b := (*e)[i], (*e)[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.seq < b.seq
}
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *events) Push(x any)    { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// agenda is what is going to happen.
type agenda struct {
	now    time.Time
	events events
	seq    int
}

func (a *agenda) at(t time.Time, do func()) {
	if t.Before(a.now) {
		t = a.now
	}
	a.seq++
	heap.Push(&a.events, event{at: t, seq: a.seq, do: do})
}

func (a *agenda) in(d time.Duration, do func()) { a.at(a.now.Add(d), do) }

// runUntil lets everything happen that does before the end, and tells how much that was.
func (a *agenda) runUntil(end time.Time) int {
	n := 0
	for len(a.events) > 0 && a.events[0].at.Before(end) {
		e := heap.Pop(&a.events).(event)
		a.now = e.at
		e.do()
		n++
	}
	a.now = end
	return n
}

// alarm wakes somebody at every moment that was asked for, rounded up to a second, once.
type alarm struct {
	agenda *agenda
	ring   func()
	set    []time.Time
	again  time.Time // see requeue; zero when there is nothing to wait for
}

func (a *alarm) at(t time.Time) {
	if t.Before(a.agenda.now) {
		t = a.agenda.now
	}
	t = t.Add(time.Second - 1).Truncate(time.Second)
	if slices.ContainsFunc(a.set, t.Equal) {
		return
	}
	a.set = append(a.set, t)
	a.agenda.at(t, func() {
		a.set = slices.DeleteFunc(a.set, t.Equal)
		a.ring()
	})
}

func (a *alarm) in(d time.Duration) { a.at(a.agenda.now.Add(d)) }

// requeue does what a queue of requests does with one that shall come again: it holds each once, for the earliest moment
// that was asked for. Were each answer to have one of its own, there would be one more chain of them with each wake.
func (a *alarm) requeue(d time.Duration) {
	t := a.agenda.now.Add(d + time.Second - 1).Truncate(time.Second)
	if !a.again.IsZero() && !t.Before(a.again) {
		return
	}
	a.again = t
	a.agenda.at(t, func() {
		if t.Equal(a.again) {
			a.again = time.Time{}
			a.ring()
		}
	})
}
