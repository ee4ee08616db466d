// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestWhoHasKeptMemoryForLongestIsClosedForOthers(t *testing.T) {
	m := newMemory(100, func() {})
	var closed []string
	hold := func(name string) *holder {
		return &holder{memory: m, evict: func() { closed = append(closed, name) }}
	}
	first, second, third := hold("first"), hold("second"), hold("third")
	for _, step := range []struct {
		h *holder
		n int
	}{{first, 40}, {second, 50}, {first, 0}, {first, 30}} { // first ended its message and began another.
		if err := step.h.keep(ownShare + step.n); err != nil {
			t.Fatal(err)
		}
	}
	if err := third.keep(ownShare + 30); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if len(closed) != 1 || closed[0] != "second" || !second.wasEvicted() {
		t.Errorf("closed: %v", closed)
	}
	if err := second.keep(ownShare + 1); !errors.Is(err, errNoMemory) {
		t.Errorf("one that was closed: %v", err)
	}
	if err := third.keep(ownShare + 101); !errors.Is(err, errNoMemory) {
		t.Errorf("more than there is: %v", err)
	}
	if err := hold("small").keep(ownShare); err != nil {
		t.Errorf("its own share: %v", err)
	}
}

// TestMemoryAddsUp: whatever connections keep, it is never more than the limit, and what is counted is what is kept.
func TestMemoryAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(1000, func() {})
		holders := make([]*holder, 5)
		kept := make([]int, len(holders))
		for i := range holders {
			holders[i] = &holder{memory: m, evict: func() { kept[i] = 0 }}
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			i := rapid.IntRange(0, len(holders)-1).Draw(t, "which")
			n := rapid.IntRange(0, 600).Draw(t, "octets")
			if kept[i] = n; holders[i].keep(ownShare+n) != nil {
				kept[i] = 0
			}
			sum := 0
			for _, k := range kept {
				sum += k
			}
			if m.used != sum || m.used > m.limit {
				t.Fatalf("%d counted, %d kept, limit %d", m.used, sum, m.limit)
			}
		}
	})
}
