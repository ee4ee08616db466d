// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// braked is a queue that lets three of ten records go within an hour.
func braked(t *testing.T, zone *fakeZone, census *brake.Census) *bench {
	t.Helper()
	b := start(t, zone, "us")
	b.queue.gate = newGate(Options{
		Now:      time.Now, //nolint:forbidigo // the time of the bubble
		Removals: brake.Limit{Share: 0.3, Floor: 3, Window: time.Hour},
		Census:   func(context.Context) (brake.Census, error) { return *census, nil },
	})
	return b
}

// member is record i of an installation of ten.
func member(i int) dnsrecord.Name { return dnsrecord.Name(fmt.Sprintf("r%d.example.org", i)) }

// removal wishes one of them away.
func removal(i int) Submission {
	return submission(fmt.Sprint("d", i), txt(member(i), "", "ours"))
}

// ten records of ours stand.
func ten(zone *fakeZone) *brake.Census {
	census := &brake.Census{Published: brake.Records{}}
	for i := range 10 {
		zone.put(member(i), "ours")
		census.Published[dnsplan.Key{Name: member(i), Type: dnsrecord.TXT}] = true
	}
	return census
}

func TestManyRemovalsAreHeldUntilAPersonAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := braked(t, zone, ten(zone))
		for i := range 3 {
			b.queue.Submit(removal(i))
		}
		b.pass(time.Minute)
		if left := len(zone.records()); left != 7 {
			t.Fatalf("%d records are left: three may go", left)
		}
		for i := 3; i < 10; i++ {
			b.queue.Submit(removal(i))
		}
		b.pass(time.Hour / 2)
		for i := 3; i < 10; i++ {
			b.mu.Lock()
			if w := b.woken[removal(i).Owner]; w != 1 {
				t.Errorf("record %d: told %d times", i, w)
			}
			b.mu.Unlock()
		}
		// A record that comes, one that changes and a key that is made empty are no removals.
		b.queue.Submit(submission("new", txt("m1._domainkey.example.org", "v=DKIM1; k=rsa; p=AAAA")))
		b.pass(time.Minute)
		revoked := submission("new", txt("m1._domainkey.example.org", "v=DKIM1; k=rsa; p=", "v=DKIM1; k=rsa; p=AAAA"))
		b.queue.Submit(revoked)
		b.pass(time.Minute)
		if got := zone.values("m1._domainkey.example.org"); !slices.Equal(got, []string{"v=DKIM1; k=rsa; p="}) {
			t.Errorf("a revocation waits: %q", got)
		}
		for i := 3; i < 10; i++ {
			o := b.result(removal(i).Owner).Outcomes[0]
			if o.State != dnsplan.Held || o.Changed || o.Message != b.queue.gate.words() {
				t.Errorf("record %d: %+v", i, o)
			}
		}
		if left := len(zone.records()); left != 8 {
			t.Errorf("%d records are left", left)
		}
		agreed := removal(7)
		agreed.RemovalAgreed = true
		b.queue.Submit(agreed)
		b.pass(time.Minute)
		if r := b.result(agreed.Owner); !r.Settled() {
			t.Errorf("a person agrees, and it says %+v", r)
		}
	})
}

// Hundreds of domains that retire a key in one hour: each record is emptied and then removed, and nobody is asked.
func TestRotationsOfHundredsOfDomainsAreNotHeld(t *testing.T) {
	const live, empty = "v=DKIM1; k=rsa; p=AAAA", "v=DKIM1; k=rsa; p="
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := braked(t, zone, ten(zone))
		b.queue.gate.limit = brake.Default
		retire := func(value, ours string) {
			for i := range 300 {
				domain := dnsrecord.Name(fmt.Sprintf("d%d.example.org", i))
				s := submission(string(domain), txt(domain.Child("m1._domainkey"), value, ours))
				s.Domain = domain
				b.queue.Submit(s)
			}
			b.pass(20 * time.Minute)
		}
		for i := range 300 {
			zone.put(dnsrecord.Name(fmt.Sprintf("m1._domainkey.d%d.example.org", i)), live)
		}
		retire(empty, live)
		emptied := slices.DeleteFunc(slices.Collect(maps.Values(zone.records())), func(v []string) bool { return v[0] != empty })
		if len(emptied) != 300 {
			t.Fatalf("%d records are empty", len(emptied))
		}
		retire("", empty)
		if left := len(zone.records()); left != 10 {
			t.Errorf("%d records are left", left)
		}
		for i := range 300 { // the same without the step between is a disaster
			zone.put(dnsrecord.Name(fmt.Sprintf("m1._domainkey.d%d.example.org", i)), live)
		}
		retire("", live)
		if left := len(zone.records()); left < 310-brake.Default.Floor {
			t.Errorf("%d records are left", left)
		}
	})
}

func TestWhatIsUncountedIsNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		census := ten(zone)
		b := braked(t, zone, census)
		var filled atomic.Bool
		b.queue.gate.census = func(context.Context) (brake.Census, error) {
			if !filled.Load() {
				return brake.Census{}, errors.New("no cache")
			}
			return *census, nil
		}
		b.queue.Submit(removal(0))
		b.pass(time.Minute)
		if o := b.result(removal(0).Owner).Outcomes[0]; o.State != dnsplan.Failed || len(zone.records()) != 10 {
			t.Errorf("%+v", o)
		}
		filled.Store(true)
		b.pass(10 * time.Minute)
		if r := b.result(removal(0).Owner); !r.Settled() {
			t.Errorf("%+v", r)
		}
	})
}

func TestTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		census := ten(zone)
		b := braked(t, zone, census)
		keys := func(from, to int) []dnsplan.Key {
			var all []dnsplan.Key
			for i := from; i < to; i++ {
				all = append(all, dnsplan.Key{Name: member(i), Type: dnsrecord.TXT})
			}
			return all
		}
		ask := func(what string, want bool, from, to int, agreed bool) {
			t.Helper()
			words, err := b.queue.RemovalHeld(t.Context(), keys(from, to), agreed)
			if err != nil || (words != "") != want {
				t.Errorf("%s: %q %v", what, words, err)
			}
		}
		ask("few", false, 0, 3, false)
		ask("a fourth", true, 3, 4, false)
		ask("a fourth to which a person agrees", false, 3, 4, true)
		ask("what was let go goes on", false, 0, 3, false)
		b.pass(time.Hour)
		ask("an hour later", false, 3, 6, false)
		ask("all at once", true, 3, 10, false)
		b.pass(time.Hour)
		census.Leaving = brake.Records{}
		for _, k := range keys(0, 10) {
			census.Leaving[k] = true
		}
		ask("the first of many, after the operator was started anew", true, 0, 1, false)
		census.Leaving, census.Held = nil, true
		b.pass(time.Second)
		ask("what was held before", true, 0, 1, false)
		census.Held = false
		b.pass(time.Second)
		ask("once nothing is held any more", false, 0, 1, false)
	})
}
