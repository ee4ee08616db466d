// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package changeover

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var day = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func at(name string) *Place {
	return &Place{Provider: v1alpha1.ProviderRef{Name: name}, Zone: "example.org"}
}

// servers is a delegation that was seen just now.
func servers(names ...string) Delegation {
	return Delegation{Zone: "example.org", Servers: names, TTL: time.Hour}
}

// world is a domain whose places are followed through time.
type world struct {
	t      *testing.T
	now    time.Time
	seen   Seen
	places []v1alpha1.PlaceStatus
	last   Decision
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: day, seen: Seen{Named: at("old"), Standing: true, Delegation: servers("ns.old")}}
	w.step("old InUse")
	return w
}

// step decides once, twice to be sure that nothing changes by itself, and compares the places.
func (w *world) step(want ...string) {
	w.t.Helper()
	w.seen.Delegation.SeenAt = w.now
	w.last = Next(w.places, w.seen, w.now)
	w.places = w.last.Places
	if diff := cmp.Diff(w.places, Next(w.places, w.seen, w.now).Places); diff != "" {
		w.t.Errorf("the same evidence changes it: %s", diff)
	}
	var got []string
	for _, p := range w.places {
		line := p.ProviderRef.Name + " " + string(p.State)
		if p.State == v1alpha1.PlaceKept {
			line += ": " + p.WaitingFor
		}
		got = append(got, line)
	}
	if len(got) != len(want) {
		w.t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			w.t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

func TestAFormerPlaceIsKeptUntilCachesHaveForgottenItsServers(t *testing.T) {
	w := newWorld(t)
	w.seen.Named, w.seen.Missing = at("new"), "m1._domainkey.example.org"
	w.step("new InUse", "old Kept: DNSProvider new, zone example.org to hold every record; do not change the delegation before: m1._domainkey.example.org")
	if w.last.Reason != v1alpha1.ReasonFillingPlace {
		t.Error(w.last.Reason)
	}
	w.seen.Missing = ""
	w.step("new InUse", "old Kept: the parent of example.org, and the zone itself, to name other servers than ns.old: both places are equal")
	w.pass(48 * time.Hour)
	w.seen.Delegation = servers("ns.new", "ns.old") // the parent is first, the zone itself follows
	w.step("new InUse", "to name other servers than ns.old")
	w.seen.Delegation = servers("ns.new")
	w.seen.Delegation.TTL = time.Minute // the new zone's; caches hold the old one's
	w.step("new InUse", "old Kept: caches to forget its name servers, until 2026-11-25T05:00:01Z (NS TTL 3600 s)")
	if !w.last.LookAgain.Equal(day.Add(49*time.Hour + time.Second)) {
		t.Error("looks again", w.last.LookAgain)
	}
	w.pass(30 * time.Minute)
	w.seen.Delegation = servers("ns.old") // they come back: the wait begins anew
	w.step("new InUse", "to name other servers than ns.old")
	w.seen.Delegation = servers("ns.new")
	w.step("new InUse", "until 2026-11-25T05:30:01Z")
	w.pass(time.Hour)
	w.step("new InUse", "until 2026-11-25T05:30:01Z")
	w.pass(time.Second)
	w.step("new InUse", "old Left")
	if w.last.Reason != "" || w.last.Message != "" {
		t.Errorf("%s: %s", w.last.Reason, w.last.Message)
	}
}

func TestAPlaceIsLeftOnAFreshLookAlone(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = at("new")
	w.step("new InUse", "to name other servers")
	w.seen.Delegation = servers("ns.new")
	w.step("new InUse", "caches to forget")
	w.pass(2 * time.Hour)
	for name, change := range map[string]func(*Seen){
		"a last look at the delegation":                               func(s *Seen) { s.Delegation.SeenAt = w.now.Add(-3 * time.Minute) },
		"a look at the delegation: no server of the root answers":     func(s *Seen) { s.Delegation = Delegation{Unknown: "no server of the root answers"} },
		"our clock and the API server's to agree":                     func(s *Seen) { s.ClockInDoubt = true },
		"the parent of example.org, and the zone itself, to name oth": func(s *Seen) { s.Delegation.Servers = []string{"ns.old"} },
	} {
		seen := w.seen
		seen.Delegation.SeenAt = w.now
		change(&seen)
		d := Next(w.places, seen, w.now)
		if p := d.Places[1]; p.State != v1alpha1.PlaceKept || !strings.HasPrefix(p.WaitingFor, name) {
			t.Errorf("%s, waiting for %q, not for %q", p.State, p.WaitingFor, name)
		}
		if d.Sweep != (name == "a last look at the delegation") {
			t.Errorf("%s: sweeps %t", name, d.Sweep)
		}
	}
	w.step("new InUse", "old Left")
}

func TestAClockInDoubtBeginsNoWait(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = at("new")
	w.step("new InUse", "to name other servers")
	w.seen.Delegation, w.seen.ClockInDoubt = servers("ns.new"), true
	w.step("new InUse", "to name other servers")
	w.seen.ClockInDoubt = false
	w.step("new InUse", "caches to forget")
}

func TestAChangeBackKeepsBothAsWell(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = at("new")
	w.step("new InUse", "to name other servers than ns.old")
	w.seen.Named = at("old") // before the delegation changed: the new place was never asked, and is waited for once
	w.step("old InUse", "new Kept: caches to forget its name servers")
	w.pass(time.Hour + time.Second)
	w.step("old InUse", "new Left")

	w = newWorld(t)
	w.seen.Named = at("new")
	w.step("new InUse", "to name other servers than ns.old")
	w.seen.Delegation = servers("ns.new")
	w.step("new InUse", "old Kept: caches to forget")
	w.seen.Named = at("old") // after it changed
	w.step("old InUse", "new Kept: the parent of example.org, and the zone itself, to name other servers than ns.new")
	w.seen.Delegation = servers("ns.old")
	w.step("old InUse", "new Kept: caches to forget")
	w.pass(2 * time.Hour)
	w.step("old InUse", "new Left")
	w.seen.Named = at("new") // a place that was left comes back
	w.step("new InUse", "old Kept: the parent of example.org, and the zone itself, to name other servers than ns.old")
}

func TestSeveralChangesKeepEveryPlaceThatIsStillAsked(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = at("second")
	w.step("second InUse", "old Kept")
	w.seen.Named = at("third")
	w.step("third InUse", "second Kept: caches to forget", "old Kept: the parent")
	w.seen.Delegation = servers("ns.third")
	w.pass(2 * time.Hour)
	w.step("third InUse", "second Left", "old Kept: caches to forget")
	for i := range 10 {
		w.seen.Named = at("next" + string(rune('a'+i)))
		w.last = Next(w.places, w.seen, w.now)
		w.places = w.last.Places
	}
	if len(w.places) != maxPlaces || w.last.Refused == "" || w.places[0].ProviderRef.Name != "nextf" {
		t.Errorf("%d places, the first %s: %q", len(w.places), w.places[0].ProviderRef.Name, w.last.Refused)
	}
}

func TestAPlaceWhereNothingStandsIsNoFormerPlace(t *testing.T) {
	w := newWorld(t)
	w.seen.Named, w.seen.Standing = at("new"), false
	w.step("new InUse")
}

func TestAPlaceThatCannotBeUsedChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = nil
	w.step("old InUse")
}

func TestAZoneOfItsOwnOnTheSameServers(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = &Place{Provider: w.seen.Named.Provider, Zone: "sub.example.org"}
	w.step("old InUse", "old Kept: the parent of example.org, and the zone itself, to name other servers than ns.old")
	w.seen.Delegation.Zone = "sub.example.org"
	w.step("old InUse", "old Kept: caches to forget its name servers")
	w.pass(2 * time.Hour)
	w.step("old InUse", "old Left")
}

func TestAPersonMayLeaveAPlaceOfWhichNobodyCanTell(t *testing.T) {
	w := newWorld(t)
	w.seen.Leave = day.Add(-time.Hour) // said of an earlier change
	w.seen.Named, w.seen.Delegation = at("new"), Delegation{Unknown: "verification is None"}
	w.step("new InUse", "old Kept: a look at the delegation: verification is None")
	w.pass(time.Minute)
	w.seen.Leave = w.now
	w.step("new InUse", "old Left")
	if w.places[1].DroppedTime != nil {
		t.Error("nobody saw that it was dropped")
	}
}

func TestAPlaceIsCleanedOnlyIfNobodyAsksThere(t *testing.T) {
	w := newWorld(t)
	w.seen.Named = at("new")
	w.step("new InUse", "old Kept")
	w.seen.Delegation = servers("ns.new")
	w.step("new InUse", "old Kept")
	w.pass(2 * time.Hour)
	w.step("new InUse", "old Left")
	for name, c := range map[string]struct {
		change func(*v1alpha1.PlaceStatus, *Delegation)
		why    string
		sweep  bool
	}{
		"nobody asks there":           {func(*v1alpha1.PlaceStatus, *Delegation) {}, "", false},
		"it was left by word alone":   {func(p *v1alpha1.PlaceStatus, _ *Delegation) { p.DroppedTime = nil }, "a person to remove the records there", false},
		"nobody can tell":             {func(_ *v1alpha1.PlaceStatus, d *Delegation) { d.Unknown = "no route" }, "a look at the delegation: no route", false},
		"its servers came back":       {func(_ *v1alpha1.PlaceStatus, d *Delegation) { d.Servers = []string{"ns.new", "ns.old"} }, "the parent of example.org", false},
		"the last look was long ago":  {func(_ *v1alpha1.PlaceStatus, d *Delegation) { d.SeenAt = day }, "a last look", true},
		"another zone of the servers": {func(p *v1alpha1.PlaceStatus, d *Delegation) { p.Zone, d.Servers = "org", []string{"ns.old"} }, "", false},
	} {
		p, d := *w.places[1].DeepCopy(), w.seen.Delegation
		c.change(&p, &d)
		if why, sweep := Clean(p, w.places[0], d, w.now); !strings.HasPrefix(why, c.why) || (why == "") != (c.why == "") || sweep != c.sweep {
			t.Errorf("%s: %q, sweeps %t", name, why, sweep)
		}
	}
}
