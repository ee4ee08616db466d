// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestWhoeverWaitsIsServedInARound(t *testing.T) {
	turns := newTurns(1)
	turns.reserve = 0
	if turns.ask("holder.example") != nil {
		t.Fatal("the first has to wait")
	}
	// greedy has a queue before the others come.
	queue := []dnsrecord.Name{"greedy.example", "greedy.example", "greedy.example", "b.example", "c.example"}
	waiting := map[chan struct{}]dnsrecord.Name{}
	for _, d := range queue {
		waiting[turns.ask(d)] = d
	}
	last := dnsrecord.Name("holder.example")
	var order []dnsrecord.Name
	for range queue {
		turns.give(last)
		for turn, d := range waiting {
			select {
			case <-turn:
				order = append(order, d)
				delete(waiting, turn)
				last = d
			default:
			}
		}
	}
	want := []dnsrecord.Name{"greedy.example", "b.example", "c.example", "greedy.example", "greedy.example"}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestADomainWhoseKeysHangLeavesTurnsToOthers(t *testing.T) {
	turns := newTurns(2)
	for range 2 {
		if turns.ask("hangs.example") != nil {
			t.Fatal("no turn")
		}
	}
	if turns.ask("hangs.example") == nil {
		t.Error("more turns than processors for one domain")
	}
	if turns.ask("other.example") != nil {
		t.Error("another domain waits for one that hangs")
	}
	if turns.ask("other.example") == nil {
		t.Error("the reserve is one turn a domain")
	}
}

func TestWhoGivesUpWaitingHoldsNothing(t *testing.T) {
	turns := newTurns(1)
	turns.reserve = 0
	if err := turns.take(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns.take(ctx, "b.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	turns.give("a.example")
	if turns.lent != 0 || len(turns.held)+len(turns.waiting)+len(turns.round) != 0 {
		t.Errorf("left behind: %+v", turns)
	}
}

// TestTurnsAddUp: whatever is asked, given up and given back, turns are never
// lent beyond their number, and nobody waits who may have one.
func TestTurnsAddUp(t *testing.T) {
	domains := []dnsrecord.Name{"a.example", "b.example", "c.example", "d.example"}
	rapid.Check(t, func(t *rapid.T) {
		turns := newTurns(rapid.IntRange(1, 3).Draw(t, "processors"))
		type claim struct {
			domain dnsrecord.Name
			turn   chan struct{}
		}
		var lent, waiting []claim
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 2).Draw(t, "step"); {
			case step == 0:
				c := claim{domain: rapid.SampledFrom(domains).Draw(t, "domain")}
				if c.turn = turns.ask(c.domain); c.turn == nil {
					lent = append(lent, c)
				} else {
					waiting = append(waiting, c)
				}
			case step == 1 && len(lent) > 0:
				i := rapid.IntRange(0, len(lent)-1).Draw(t, "which")
				turns.give(lent[i].domain)
				lent = slices.Delete(lent, i, i+1)
			case step == 2 && len(waiting) > 0:
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "which")
				if !turns.leave(waiting[i].domain, waiting[i].turn) {
					t.Fatal("a turn came unseen")
				}
				waiting = slices.Delete(waiting, i, i+1)
			}
			waiting = slices.DeleteFunc(waiting, func(c claim) bool {
				select {
				case <-c.turn:
					lent = append(lent, c)
					return true
				default:
					return false
				}
			})
			if turns.lent != len(lent) || turns.lent > turns.processors+turns.reserve {
				t.Fatalf("%d lent, %d known", turns.lent, len(lent))
			}
			for _, c := range waiting {
				if turns.free(c.domain) {
					t.Fatalf("%s waits and may have a turn", c.domain)
				}
			}
		}
	})
}
