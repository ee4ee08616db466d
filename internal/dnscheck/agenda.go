// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import "container/heap"

// agenda holds the entries that wait for their next survey, as a heap: those that someone waits for first, which are always
// due, then in the order of their times.
type agenda []*entry

func (a *agenda) Len() int { return len(*a) }

func (a *agenda) Less(i, j int) bool {
	first, second := (*a)[i], (*a)[j]
	if first.asked != second.asked {
		return first.asked
	}
	return first.due.Before(second.due)
}

func (a *agenda) Swap(i, j int) {
	all := *a
	all[i], all[j] = all[j], all[i]
	all[i].at, all[j].at = i+1, j+1
}

// Push and Pop are heap's; use put.
func (a *agenda) Push(x any) {
	e, _ := x.(*entry)
	e.at = len(*a) + 1
	*a = append(*a, e)
}

func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*a, e.at = old[:len(old)-1], 0
	return e
}

// put brings an entry to where it belongs, after anything that says so has changed: nowhere, while it is surveyed or
// when nobody has it surveyed any more.
func (a *agenda) put(e *entry) {
	waits := !e.running && !e.gone && e.policy.mode() != None
	switch listed := e.at > 0; {
	case waits && listed:
		heap.Fix(a, e.at-1)
	case waits:
		heap.Push(a, e)
	case listed:
		heap.Remove(a, e.at-1)
	}
}
