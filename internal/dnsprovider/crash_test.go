// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// story is a change that takes every kind of step: a record comes, one is
// replaced beside a foreign one, one goes.
func story(zone *fakeZone) []Submission {
	zone.put("example.org", "foreign", "v=spf1 -all")
	zone.put("old.example.org", "old")
	spf := txt("example.org", "v=spf1 mx -all", "v=spf1 -all")
	spf.Kind = dnsplan.SPF
	return []Submission{
		submission("a", txt("_dmarc.example.org", "v=DMARC1; p=none"), spf),
		submission("key", txt("m1._domainkey.example.org", "p=1"), txt("old.example.org", "", "old")),
	}
}

func TestACrashAtAnyCallLeadsToTheSameEnd(t *testing.T) {
	want := map[dnsrecord.Name][]string{
		"_dmarc.example.org":        {"v=DMARC1; p=none"},
		"example.org":               {"foreign", "v=spf1 mx -all"},
		"m1._domainkey.example.org": {"p=1"},
	}
	for _, how := range []verdict{works, fails, losesReply, halves} {
		for at := 1; at <= 7; at++ {
			t.Run(fmt.Sprintf("verdict %d, call %d", how, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					zone := newFakeZone()
					submissions := story(zone)
					b := start(t, zone, "us")
					dead := make(chan struct{})
					zone.hook = func(n int, _ string) verdict {
						if n == at {
							go func() { b.stop(); close(dead) }()
							return how
						}
						if n > at {
							return fails // it is dead: nothing more gets out
						}
						return works
					}
					for _, s := range submissions {
						b.queue.Submit(s)
					}
					b.pass(time.Second)
					select {
					case <-dead:
					default:
						b.stop()
					}
					zone.mu.Lock()
					zone.hook = nil
					zone.mu.Unlock()

					again := start(t, zone, "us")
					for _, s := range submissions {
						again.queue.Submit(s)
					}
					again.pass(10 * time.Minute)
					sameRecords(t, zone.records(), want)
					m := zone.marker(t)
					if len(m.Digests) != 3 || m.Owner != dnsplan.OwnerHash("us") {
						t.Errorf("marker %s", m)
					}
					for _, s := range submissions {
						if !again.result(s.Owner).Settled() {
							t.Errorf("got %+v", again.result(s.Owner))
						}
					}
				})
			})
		}
	}
}

// problem keeps the first thing that went wrong inside a bubble, in whatever
// goroutine, for rapid to shrink outside of it.
type problem struct{ text string }

func (p *problem) Fatalf(format string, args ...any) {
	if p.text == "" {
		p.text = fmt.Sprintf(format, args...)
	}
}

// TestWhateverFailsNothingOfOthersIsTouched lets calls fail, lie, do half and
// lose their replies at random, then work again.
func TestWhateverFailsNothingOfOthersIsTouched(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		verdicts := rapid.SliceOfN(rapid.SampledFrom([]verdict{works, works, fails, losesReply, lies, halves, panics}), 0, 25).Draw(rt, "verdicts")
		noCAS := rapid.Bool().Draw(rt, "no compare-and-swap")
		var p problem
		synctest.Test(t, func(t *testing.T) {
			zone := newFakeZone()
			zone.noCAS = noCAS
			submissions := story(zone)
			zone.after = func(z *fakeZone) { checkZone(&p, z) }
			zone.hook = func(n int, _ string) verdict {
				if n <= len(verdicts) {
					return verdicts[n-1]
				}
				return works
			}
			b := start(t, zone, "us")
			for _, s := range submissions {
				b.queue.Submit(s)
			}
			b.pass(3 * time.Hour)
			for _, s := range submissions {
				if r := b.result(s.Owner); !r.Settled() {
					p.Fatalf("never settled: %+v", r)
				}
			}
			if got := zone.values("example.org"); !slices.Equal(got, []string{"foreign", "v=spf1 mx -all"}) {
				p.Fatalf("apex %q", got)
			}
			if m := zone.marker(t); len(m.Digests) != 3 {
				p.Fatalf("marker %s", m)
			}
			b.stop()
		})
		if p.text != "" {
			rt.Fatal(p.text)
		}
	})
}

// checkZone: what is foreign stands, and what we wrote is listed.
func checkZone(t *problem, z *fakeZone) {
	listed := map[string]bool{}
	for _, v := range z.sets[Question{Name: "_maildomain.example.org", Type: dnsrecord.TXT}].Values {
		m, err := dnsplan.ParseMarker(v)
		if err != nil {
			t.Fatalf("marker %q: %v", v, err)
		}
		for _, d := range m.Digests {
			listed[d] = true
		}
	}
	if !z.sets[Question{Name: "example.org", Type: dnsrecord.TXT}].Has("foreign") {
		t.Fatalf("the foreign record is gone")
	}
	for k, s := range z.sets {
		for _, v := range s.Values {
			stoodBefore := v == "foreign" || v == "old" || v == "v=spf1 -all"
			if !stoodBefore && !dnsplan.IsMarker(v) && !listed[dnsplan.Digest(k.Name, k.Type, v)] {
				t.Fatalf("%s at %s stands without being listed", v, k.Name)
			}
		}
	}
}

func TestTwoInstallationsAtOnceOnOneZone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 3), 40, 40).Draw(rt, "delays")
		var p problem
		synctest.Test(t, func(t *testing.T) {
			zone := newFakeZone()
			zone.put("example.org", "foreign")
			us, them := start(t, &fakeDoor{fakeZone: zone, delays: delays}, "us"), start(t, &fakeDoor{fakeZone: zone, delays: delays[20:]}, "them")
			s := submission("a", txt("_dmarc.example.org", "ours"), txt("m1._domainkey.example.org", "ours"))
			theirs := submission("a", txt("_dmarc.example.org", "theirs"), txt("m2._domainkey.example.org", "theirs"))
			us.queue.Submit(s)
			them.queue.Submit(theirs)
			us.pass(time.Hour)
			won, lost := us.result(s.Owner), them.result(theirs.Owner)
			owner, value := "us", "ours"
			if !won.Settled() {
				won, lost, owner, value = lost, won, "them", "theirs"
			}
			if !won.Settled() || lost.Settled() {
				p.Fatalf("one wins, one is told: %+v %+v", won, lost)
				return
			}
			for _, o := range lost.Outcomes {
				if o.State != dnsplan.Conflict {
					p.Fatalf("the loser is told %+v", o)
				}
			}
			if m := zone.marker(t); m.Owner != dnsplan.OwnerHash(owner) || len(m.Digests) != 2 {
				p.Fatalf("marker %s", m)
			}
			if got := zone.values("_dmarc.example.org"); !slices.Equal(got, []string{value}) || len(zone.records()) != 3 {
				p.Fatalf("zone %v", zone.records())
			}
			us.stop()
			them.stop()
		})
		if p.text != "" {
			rt.Fatal(p.text)
		}
	})
}
