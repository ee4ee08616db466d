// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// broadZone is a fake to which many names cost no more than few.
type broadZone struct{ *fakeZone }

func (z broadZone) Batch() int { return listedBatch }

// Reconciles come one after the other: what they ask for within the same moments shares its calls.
func TestSubmissionsOfTheSameMomentsShareTheirCalls(t *testing.T) {
	const objects = 300
	submitAll := func(b *bench) {
		for i := range objects {
			name := dnsrecord.Name(fmt.Sprintf("k%d._domainkey.example.org", i))
			b.queue.Submit(submission(fmt.Sprint("key", i), txt(name, "v=DKIM1; p=")))
			b.pass(5 * time.Millisecond)
		}
	}
	for name, c := range map[string]struct {
		driver func(*fakeZone) Driver
		calls  func(n int) bool
	}{
		"broad: one round":                    {func(z *fakeZone) Driver { return broadZone{z} }, func(n int) bool { return n == 5 }},
		"others wait for nobody, and trickle": {func(z *fakeZone) Driver { return z }, func(n int) bool { return n > objects }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone := newFakeZone()
				b := start(t, c.driver(zone), "us")
				submitAll(b)
				b.pass(time.Minute)
				if n := len(zone.calls()); !c.calls(n) {
					t.Errorf("%d calls for %d submissions", n, objects)
				}
				if n := len(zone.records()); n != objects {
					t.Errorf("%d records stand", n)
				}
			})
		})
	}
}

// Whoever goes on submitting does not keep the first from being done.
func TestGatheringEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, broadZone{zone}, "us")
		first := submission("first", txt("_dmarc.example.org", "v=DMARC1; p=none"))
		b.queue.Submit(first)
		for i := range 30 {
			b.pass(100 * time.Millisecond)
			name := dnsrecord.Name(fmt.Sprintf("k%d._domainkey.example.org", i))
			b.queue.Submit(submission(fmt.Sprint("key", i), txt(name, "v=DKIM1; p=")))
			b.queue.Submit(first)
		}
		if r, ok := b.queue.Result(first.Owner); !ok || !r.Settled() {
			t.Errorf("after three seconds: %+v", r)
		}
	})
}
