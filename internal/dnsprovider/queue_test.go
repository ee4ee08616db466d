// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestTheMarkerStandsBeforeTheFirstRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		var order []dnsrecord.Name
		zone.after = func(z *fakeZone) {
			for k, s := range z.sets {
				if len(s.Values) > 0 && !slices.Contains(order, k.Name) {
					order = append(order, k.Name)
				}
			}
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "v=DMARC1; p=none"))
		b.queue.Submit(s)
		b.wait()
		if want := []dnsrecord.Name{"_maildomain.example.org", "_dmarc.example.org"}; !slices.Equal(order, want) {
			t.Errorf("written in the order %v", order)
		}
		if got, want := zone.calls(), []string{"read", "apply", "read", "apply", "read"}; !slices.Equal(got, want) {
			t.Errorf("calls %v, want %v", got, want)
		}
		r := b.result(s.Owner)
		m := zone.marker(t)
		if !r.Settled() || !r.Outcomes[0].Changed || r.MarkerGeneration != 1 || r.MarkerValue != m.String() || r.Fingerprint != s.Fingerprint() {
			t.Errorf("got %+v", r)
		}
		if m.Owner != dnsplan.OwnerHash("us") || len(m.Digests) != 1 {
			t.Errorf("marker %s", m)
		}
	})
}

func TestASettledSubmissionMakesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"), txt("m0._domainkey.example.org", "", "old"))
		b.queue.Submit(s)
		b.wait()
		calls := len(zone.calls())
		s.Wishes[1].Ours = nil
		s = submission("a", txt("_dmarc.example.org", "x"), s.Wishes[1])
		for range 3 {
			b.queue.Submit(remember(s, b.result(s.Owner)))
			b.pass(time.Hour)
		}
		// What was to go is gone and forgotten: that is looked at once more.
		if got := len(zone.calls()); got > calls+1 {
			t.Errorf("%d calls at rest", got-calls)
		}
		b.queue.Recheck(s.Owner)
		b.wait()
		if got := zone.calls(); got[len(got)-1] != "read" || len(got) > calls+2 {
			t.Errorf("a recheck in place made the calls %v", got[calls:])
		}
	})
}

func TestDriftIsRepairedOnRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		zone.put("_dmarc.example.org")
		b.queue.Recheck(s.Owner)
		b.wait()
		if r := b.result(s.Owner); !r.Settled() || !r.Outcomes[0].Changed || !slices.Equal(zone.values("_dmarc.example.org"), []string{"x"}) {
			t.Errorf("got %+v", r)
		}
		repaired := b.result(s.Owner).Time
		b.queue.Recheck(s.Owner)
		if _, answered := b.queue.Result(s.Owner); answered {
			t.Error("the answer from before is still one")
		}
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.Changed || !o.ChangedTime.Equal(repaired) {
			t.Errorf("a later answer forgets the repair: %+v", o)
		}
	})
}

// Whoever is asked again after a conflict, before the owner has heard of it, leaves alone what is left.
func TestWhatIsLeftOfAConflictIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		wish := txt("example.org", "v=spf1 mx ~all")
		wish.Kind = dnsplan.SPF
		s := submission("a", wish)
		b.queue.Submit(s)
		b.wait()
		s = remember(s, b.result(s.Owner))
		s.Wishes[0].Ours = []string{"v=spf1 mx ~all"}
		b.queue.Submit(s)
		b.wait()
		zone.put("example.org", "v=spf1 mx ~all", "v=spf1 -all")
		b.queue.Recheck(s.Owner)
		b.wait()
		zone.put("example.org", "v=spf1 -all")
		b.queue.Recheck(s.Owner)
		b.queue.Submit(s)
		b.wait()
		if got := b.states(s.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Conflict}) || !slices.Equal(zone.values("example.org"), []string{"v=spf1 -all"}) {
			t.Fatalf("%v, and %q stands there", got, zone.values("example.org"))
		}
		zone.put("example.org", "v=spf1 mx ~all")
		b.queue.Recheck(s.Owner)
		b.wait()
		zone.put("example.org", "v=spf1 a ~all")
		b.queue.Recheck(s.Owner)
		b.wait()
		if got := zone.values("example.org"); !slices.Equal(got, []string{"v=spf1 mx ~all"}) {
			t.Errorf("ours stood alone again, and is not repaired: %q", got)
		}
	})
}

func TestWhatCameTogetherIsDoneInFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		gate := make(chan struct{})
		zone.hook = func(n int, _ string) verdict {
			if n == 1 {
				<-gate
			}
			return works
		}
		b.queue.Submit(submission("first", txt("first.example.org", "x")))
		synctest.Wait()
		for i := range 30 {
			s := submission(fmt.Sprint("d", i), txt(dnsrecord.Name(fmt.Sprintf("m._domainkey.d%d.example.org", i)), "x"))
			s.Domain = dnsrecord.Name(fmt.Sprintf("d%d.example.org", i))
			b.queue.Submit(s)
		}
		close(gate)
		b.wait()
		if got := len(zone.calls()); got != 10 {
			t.Errorf("%d calls for two rounds, want 10", got)
		}
		if got := len(zone.records()); got != 31 {
			t.Errorf("%d records", got)
		}
	})
}

func TestNothingIsWrittenAfterAFailedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.hook = func(n int, _ string) verdict {
			if n <= 3 {
				return fails
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		r := b.result(s.Owner)
		var e *Error
		if !errors.As(r.Err, &e) || !e.Temporary() || slices.Contains(zone.calls(), "apply") {
			t.Fatalf("got %v, calls %v", r.Err, zone.calls())
		}
		b.pass(time.Second - 1)
		if n := len(zone.calls()); n != 1 {
			t.Errorf("%d calls before the first wait was over", n)
		}
		b.pass(time.Minute)
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
		if b.woken[s.Owner] != 2 {
			t.Errorf("woken %d times for two different results", b.woken[s.Owner])
		}
	})
}

func TestAnUnreadNameDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.blind = map[dnsrecord.Name]bool{"b.example.org": true}
		b := start(t, zone, "us")
		s := submission("a", txt("a.example.org", "x"), txt("b.example.org", "x"), txt("a.example.net", "x"))
		b.queue.Submit(s)
		b.wait()
		if got := b.states(s.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.InPlace, dnsplan.Failed, dnsplan.Failed}) {
			t.Errorf("got %v", got)
		}
		if m := b.result(s.Owner).Outcomes[2].Message; !strings.Contains(m, "not in the zone") {
			t.Errorf("message %q", m)
		}
	})
}

func TestWithoutTheMarkerReadNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.blind = map[dnsrecord.Name]bool{"_maildomain.example.org": true}
		b := start(t, zone, "us")
		s := submission("a", txt("a.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		if b.result(s.Owner).Err == nil || slices.Contains(zone.calls(), "apply") {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestOneRefusedRecordDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.deny = map[dnsrecord.Name]error{"b.example.org": newError(Refused, nil, "not this one")}
		b := start(t, zone, "us")
		s := submission("a", txt("a.example.org", "x"), txt("b.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		r := b.result(s.Owner)
		if got := b.states(s.Owner); r.Err != nil || !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.InPlace, dnsplan.Failed}) {
			t.Errorf("got %v %v", got, r.Err)
		}
		if m := r.Outcomes[1].Message; m != "b.example.org was not changed: not this one" {
			t.Errorf("message %q", m)
		}
		markers := zone.marker(t)
		b.pass(10 * time.Minute)
		if after := zone.marker(t); after.Generation != markers.Generation {
			t.Error("retries of a refused record wear out the marker")
		}
	})
}

func TestAProviderThatLiesIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.hook = func(n int, _ string) verdict {
			if n == 4 { // the records, after the marker
				return lies
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.Failed || !strings.Contains(o.Message, "nothing stands there") {
			t.Errorf("got %+v", o)
		}
		b.pass(time.Minute)
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestWhatStandsCountsNotWhatTheProviderSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.hook = func(_ int, op string) verdict {
			if op == "apply" {
				return losesReply
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		if r := b.result(s.Owner); !r.Settled() {
			t.Errorf("got %+v", r)
		}
	})
}

func TestADriverThatPanicsIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.hook = func(n int, _ string) verdict {
			if n == 1 || n == 6 {
				return panics
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		if b.result(s.Owner).Err == nil {
			t.Error("no error")
		}
		b.pass(time.Minute)
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestRemovingTheLastRecordRemovesTheMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.put("_maildomain.example.org", "hello")
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"), txt("a.example.org", "y"))
		b.queue.Submit(s)
		b.wait()
		s = remember(s, b.result(s.Owner))
		s.Wishes[0].Value = ""
		b.queue.Submit(s)
		b.wait()
		if m := zone.marker(t); len(m.Digests) != 1 || m.Generation != 2 {
			t.Fatalf("marker %s", m)
		}
		s = remember(s, b.result(s.Owner))
		s.Wishes[1].Value = ""
		b.queue.Submit(s)
		b.wait()
		if got := zone.records(); len(got) != 1 || b.result(s.Owner).MarkerValue != "" || b.result(s.Owner).MarkerGeneration != 3 {
			t.Errorf("left over: %v, %+v", got, b.result(s.Owner))
		}
		sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"_maildomain.example.org": {"hello"}})
	})
}

func TestAReplacedValueLeavesTheMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		for i := range 5 {
			// The status is always lost: only the marker says whose the record is.
			b.queue.Submit(submission("a", txt("_dmarc.example.org", fmt.Sprint("v", i))))
			b.wait()
		}
		m := zone.marker(t)
		if want := dnsplan.Digest("_dmarc.example.org", dnsrecord.TXT, "v4"); !slices.Equal(m.Digests, []string{want}) {
			t.Errorf("marker %s", m)
		}
		sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"_dmarc.example.org": {"v4"}})
	})
}

func TestWhatWasReplacedIsToldUntilSomethingElseIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.put("_dmarc.example.org", "theirs")
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "ours"))
		s.Wishes[0].Adoption = dnsplan.Always
		b.queue.Submit(s)
		b.wait()
		b.queue.Recheck(s.Owner) // before the owner has read the first answer
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.Changed || o.Replaced != "theirs" {
			t.Errorf("the second answer is %+v", o)
		}
		s.Wishes = append(s.Wishes, txt("x.example.org", "ours")) // nor when more is wanted by then
		b.queue.Submit(s)
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.Changed || o.Replaced != "theirs" || o.ChangedTime.IsZero() {
			t.Errorf("the third answer is %+v", o)
		}
		s.Wishes[0].Value = "others"
		s.Wishes[0].Ours = []string{"ours"}
		b.queue.Submit(s)
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; !o.Changed || o.Replaced != "" {
			t.Errorf("the answer about another value is %+v", o)
		}
	})
}

// An update whose answer is lost is made all the same: what it replaced is known from before.
func TestWhatWasReplacedByAnUpdateWithoutAnAnswerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.put("_dmarc.example.org", "theirs")
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "ours"))
		s.Wishes[0].Adoption = dnsplan.Always
		written := false
		zone.hook = func(n int, op string) verdict { // read, marker written and read, record written: and nothing is heard any more
			written = written || n == 4 && op == "apply"
			if n == 4 {
				return losesReply
			}
			return []verdict{works, fails}[min(n/5, 1)]
		}
		b.queue.Submit(s)
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.Failed || o.Replaced != "" {
			t.Errorf("the first answer is %+v", o)
		}
		if !written {
			t.Fatal("the record was not written")
		}
		zone.mu.Lock()
		zone.hook = nil
		zone.mu.Unlock()
		b.pass(time.Hour)
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.InPlace || o.Replaced != "theirs" {
			t.Errorf("the second answer is %+v", o)
		}
	})
}

func TestAnotherInstallationsDomainIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		them := start(t, zone, "them")
		theirs := submission("a", txt("_dmarc.example.org", "theirs"))
		them.queue.Submit(theirs)
		them.wait()
		us := start(t, zone, "us")
		ours := submission("a", txt("_dmarc.example.org", "ours"), txt("x.example.org", "ours"))
		us.queue.Submit(ours)
		us.wait()
		if got := us.states(ours.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Conflict, dnsplan.Conflict}) {
			t.Fatalf("got %v", got)
		}
		sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"_dmarc.example.org": {"theirs"}})
		{ // until a person says take over
			ours.TakeOver = "them"
			us.queue.Submit(ours)
			us.wait()
			sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"_dmarc.example.org": {"ours"}, "x.example.org": {"ours"}})
			if m := zone.marker(t); m.Owner != dnsplan.OwnerHash("us") || len(m.Digests) != 2 || m.Generation != 3 {
				t.Errorf("marker %s", m)
			}
		}
		{ // and then the other one stops
			them.queue.Recheck(theirs.Owner)
			them.wait()
			if got := them.states(theirs.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Conflict}) {
				t.Errorf("got %v", got)
			}
		}
	})
}

// The objects of a domain do not all hear at once that a person had it taken over.
func TestARivalThatIsNoneAnyMoreIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		them := start(t, zone, "them")
		them.queue.Submit(submission("a", txt("_dmarc.example.org", "theirs")))
		them.wait()
		us := start(t, zone, "us")
		key, domain := submission("key", txt("m1._domainkey.example.org", "p=1")), submission("domain", txt("_dmarc.example.org", "ours"))
		us.queue.Submit(key)
		us.wait()
		if us.result(key.Owner).Rival == "" {
			t.Fatal("no rival")
		}
		domain.TakeOver = "them"
		us.queue.Submit(domain)
		us.wait()
		if r := us.result(key.Owner); r.Rival != "" || !slices.Equal(us.states(key.Owner), []dnsplan.OutcomeState{dnsplan.InPlace}) {
			t.Errorf("still told of %q: %v", r.Rival, us.states(key.Owner))
		}
	})
}

func TestASecondCopyOfUsIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		first := start(t, zone, "us")
		s := submission("a", txt("m1._domainkey.example.org", "p=1"))
		first.queue.Submit(s)
		first.wait()
		backup := remember(s, first.result(s.Owner))
		moved := submission("a", txt("m1._domainkey.example.org", "p=1"), txt("m2._domainkey.example.org", "p=first"))
		first.queue.Submit(remember(moved, first.result(s.Owner)))
		first.wait()

		second := start(t, zone, "us")
		backup.Wishes = append(backup.Wishes, txt("m2._domainkey.example.org", "p=second"))
		second.queue.Submit(backup)
		second.wait()
		if got := second.states(s.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Pending, dnsplan.Pending}) {
			t.Errorf("while objects may still tell of records: %v", got)
		}
		second.pass(10 * time.Minute)
		r := second.result(s.Owner)
		if got := second.states(s.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Conflict, dnsplan.Conflict}) {
			t.Errorf("got %v", got)
		}
		if r.MarkerGeneration != 1 {
			t.Errorf("a status that remembers %d would forget the conflict", r.MarkerGeneration)
		}
		sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"m1._domainkey.example.org": {"p=1"}, "m2._domainkey.example.org": {"p=first"}})
	})
}

func TestObjectsOfOneDomainAreNoSecondCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		domain, key := submission("a", txt("_dmarc.example.org", "x")), submission("key", txt("m1._domainkey.example.org", "p=1"))
		b.queue.Submit(domain)
		b.wait()
		domain = remember(domain, b.result(domain.Owner))
		b.queue.Submit(key)
		b.wait()
		{ // each is told of the generation that another made
			if r := b.result(domain.Owner); r.MarkerGeneration != 2 || b.woken[domain.Owner] != 2 {
				t.Errorf("got %+v, woken %d times", r, b.woken[domain.Owner])
			}
		}
		b.stop()
		{ // after a restart that lost that, one waits for the other
			b := start(t, zone, "us")
			b.queue.Submit(domain) // remembers 1, the marker has 2
			b.wait()
			if got := b.states(domain.Owner); !slices.Equal(got, []dnsplan.OutcomeState{dnsplan.Pending}) {
				t.Errorf("got %v", got)
			}
			b.queue.Submit(key)
			b.pass(time.Minute)
			if !b.result(domain.Owner).Settled() || !b.result(key.Owner).Settled() {
				t.Errorf("got %+v %+v", b.result(domain.Owner), b.result(key.Owner))
			}
		}
	})
}

func TestAKeyThatLeftDoesNotMakeTheRestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		domain, stays, leaves := submission("a", txt("_dmarc.example.org", "x")), submission("m1", txt("m1._domainkey.example.org", "p=1")), submission("m2", txt("m2._domainkey.example.org", "p=2"))
		for _, s := range []Submission{domain, stays, leaves} {
			b.queue.Submit(s)
		}
		b.wait()
		domain, leaves = remember(domain, b.result(domain.Owner)), remember(leaves, b.result(leaves.Owner))
		b.stop()

		// After a restart all is steady: nobody submits anything but the key that leaves, and then nobody is there who
		// could note the new generation of the marker.
		b = start(t, zone, "us")
		leaves.Wishes = []dnsplan.Wish{{Name: "m2._domainkey.example.org", Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Ours: []string{"p=2"}}}
		b.queue.Submit(leaves)
		b.wait()
		b.queue.Forget(leaves.Owner)
		b.pass(time.Hour)

		domain.Wishes[0].Value = "y"
		domain.Known = []string{dnsplan.Digest("m1._domainkey.example.org", dnsrecord.TXT, "p=1"), dnsplan.Digest("_dmarc.example.org", dnsrecord.TXT, "x")}
		b.queue.Submit(domain)
		b.wait()
		if r := b.result(domain.Owner); !r.Settled() {
			t.Errorf("got %+v", r)
		}
	})
}

func TestRefusedCredentialsAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.err = newError(Unauthorized, nil, "wrong token")
		bad := true
		zone.hook = func(int, string) verdict {
			if bad {
				return fails
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.pass(time.Minute)
		if b.stale != 1 || len(zone.calls()) != 1 || !b.accounts.IsStale(provider) {
			t.Errorf("told %d times, calls %v", b.stale, zone.calls())
		}
		b.accounts.Set(provider, &Account{Driver: zone, Fingerprint: "one"})
		b.wait()
		if len(zone.calls()) != 1 {
			t.Error("the same credentials once more are tried in a hurry")
		}
		bad = false
		b.accounts.Set(provider, &Account{Driver: zone, Fingerprint: "two"})
		b.wait()
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestWithoutAnAccountNothingRunsAndItIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		b.accounts.Delete(provider)
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		var e *Error
		if !errors.As(b.result(s.Owner).Err, &e) || e.Reason != NotReady || len(zone.calls()) != 0 {
			t.Errorf("got %+v", b.result(s.Owner))
		}
		b.accounts.Set(provider, &Account{Driver: zone, Fingerprint: "one"})
		b.wait()
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestTheProvidersRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.err = &Error{Reason: Throttled, Message: "slow down", RetryAfter: 10 * time.Minute}
		zone.hook = func(n int, _ string) verdict {
			if n == 1 {
				return fails
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		b.queue.Submit(submission("b", txt("b.example.org", "x"))) // no way around it
		b.pass(10*time.Minute - time.Second)
		if got := zone.calls(); len(got) != 1 {
			t.Errorf("%d calls", len(got))
		}
		b.pass(2 * time.Second)
		if !b.result(s.Owner).Settled() {
			t.Errorf("got %+v", b.result(s.Owner))
		}
	})
}

func TestCallsKeepTheRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		b.accounts.Set(provider, &Account{Driver: zone, Fingerprint: "one", RequestsPerSecond: 1, Burst: 2})
		for i := range 4 {
			s := submission(fmt.Sprint("s", i), txt("_dmarc.example.org", "x"))
			s.Zone = dnsrecord.Name(fmt.Sprintf("z%d.example", i))
			s.Domain = s.Zone
			s.Wishes = []dnsplan.Wish{txt(s.Zone.Child("_dmarc"), "x")}
			b.queue.Submit(s)
		}
		b.wait()
		for second := range 20 {
			if got := len(zone.calls()); got > 2+second {
				t.Fatalf("%d calls after %d s", got, second)
			}
			b.pass(time.Second)
		}
		if got := len(zone.calls()); got != 20 {
			t.Errorf("%d calls, want 20", got)
		}
	})
}

func TestATemporaryFailureIsRetriedEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.hook = func(int, string) verdict { return fails }
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.pass(time.Hour)
		if n := len(zone.calls()); n < 15 || n > 25 {
			t.Errorf("%d calls in an hour", n)
		}
		for range 100 { // a controller that reconciles often changes nothing
			b.queue.Submit(remember(s, b.result(s.Owner)))
		}
		b.wait()
		if n := len(zone.calls()); n > 25 {
			t.Errorf("%d calls in an hour", n)
		}
		if b.woken[s.Owner] != 1 {
			t.Errorf("woken %d times for one and the same result", b.woken[s.Owner])
		}
	})
}

func TestSomethingElseWantedMeanwhileIsDoneNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		gate := make(chan struct{})
		zone.hook = func(n int, _ string) verdict {
			if n == 1 {
				<-gate
			}
			return works
		}
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "first"))
		b.queue.Submit(s)
		synctest.Wait()
		last := submission("a", txt("_dmarc.example.org", "last"))
		b.queue.Submit(last)
		close(gate)
		b.wait()
		if r := b.result(s.Owner); r.Fingerprint != last.Fingerprint() || !r.Settled() {
			t.Errorf("got %+v", r)
		}
		sameRecords(t, zone.records(), map[dnsrecord.Name][]string{"_dmarc.example.org": {"last"}})
	})
}

func TestWhatIsForgottenIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.wait()
		b.queue.Forget(s.Owner)
		if _, ok := b.queue.Result(s.Owner); ok {
			t.Error("still there")
		}
		b.wait()
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		if len(b.queue.workers) != 0 || len(b.queue.entries) != 0 || len(b.queue.domains) != 0 {
			t.Error("memory is kept for nothing")
		}
	})
}

func TestTwoObjectsAtOneNameDoNotTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		first, second := submission("a", txt("_dmarc.example.org", "1")), submission("b", txt("_dmarc.example.org", "2"))
		b.queue.Submit(first)
		b.wait()
		b.queue.Submit(second)
		b.wait()
		if got := b.states(second.Owner); got[0] != dnsplan.Conflict || !slices.Equal(zone.values("_dmarc.example.org"), []string{"1"}) {
			t.Errorf("got %v, %v", got, zone.records())
		}
	})
}

func TestRecordsOfOthersThatGoWithOursAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		zone.put("example.org", "google-site-verification=x")
		zone.after = func(z *fakeZone) { // a provider that replaces the whole RRset
			k := Question{Name: "example.org", Type: dnsrecord.TXT}
			if s := z.sets[k]; len(s.Values) == 2 {
				s.Values = s.Values[1:]
				z.sets[k] = s
			}
		}
		b := start(t, zone, "us")
		w := txt("example.org", "v=spf1 -all")
		w.Kind = dnsplan.SPF
		s := submission("a", w)
		b.queue.Submit(s)
		b.wait()
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.InPlace || !strings.Contains(o.Message, "google-site-verification=x") {
			t.Errorf("got %+v", o)
		}
	})
}

func TestAManualZoneSaysWhatToPaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newFakeZone(), "us")
		account, err := openManual(context.Background(), manualSpec(), OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.accounts.Set(provider, account)
		s := submission("a", txt("_dmarc.example.org", "v=DMARC1; p=none"), txt("old.example.org", "", "x"), txt("none.example.org", ""))
		b.queue.Submit(s)
		b.pass(time.Hour)
		o := b.result(s.Owner).Outcomes
		if o[0].State != dnsplan.Pending || o[0].Message != `add this record by hand: _dmarc.example.org TXT "v=DMARC1; p=none"` {
			t.Errorf("got %+v", o[0])
		}
		if o[1].State != dnsplan.Pending || o[1].Message != `remove this record by hand: old.example.org TXT "x"` || o[2].State != dnsplan.Absent {
			t.Errorf("got %+v", o[1:])
		}
		if b.woken[s.Owner] != 1 {
			t.Errorf("woken %d times", b.woken[s.Owner])
		}
	})
}

func TestAZoneThatDoesNotHoldTheDomainHasAMarkerOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		record := txt("m1.keys.example.org", "x")
		s := submission("a", record)
		s.Domain = "acme.test"
		b.queue.Submit(s)
		b.wait()
		marker := dnsplan.Marker{Owner: dnsplan.OwnerHash("us"), Generation: 1, Digests: []string{dnsplan.Digest(record.Name, record.Type, record.Value)}}
		if got := zone.values("acme.test._maildomain.example.org"); !slices.Equal(got, []string{marker.String()}) {
			t.Errorf("the marker is %q, want %s", got, marker)
		}
		elsewhere := s
		elsewhere.Owner.Name, elsewhere.Zone, elsewhere.RememberedGeneration, elsewhere.Wishes = "b", "acme.test", 7, nil
		b.queue.Submit(elsewhere)
		s.Wishes = append(s.Wishes, txt("m2.keys.example.org", "y"))
		b.queue.Submit(s)
		b.wait()
		if got := b.result(s.Owner).MarkerGeneration; got != 2 {
			t.Errorf("generation %d: that of another zone's marker counts", got)
		}
	})
}

func TestAMarkerWhoseNameWouldBeTooLongIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newFakeZone(), "us")
		s := submission("a", txt("m1.keys.example.org", "x"))
		s.Domain = dnsrecord.Name(strings.Repeat("a.", 115) + "test")
		b.queue.Submit(s)
		b.wait()
		var e *Error
		if !errors.As(b.result(s.Owner).Err, &e) || e.Reason != Invalid || !strings.Contains(e.Message, "shorter name") {
			t.Errorf("got %v", b.result(s.Owner).Err)
		}
	})
}

func TestABusyReaderNeverHoldsUpAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWakeSet[int]()
		stop := make(chan struct{})
		defer close(stop)
		go w.run(stop)
		for range 3 {
			for i := range 100 {
				w.add(i)
			}
		}
		synctest.Wait()
		seen := map[int]int{}
		for {
			select {
			case k := <-w.out:
				seen[k]++
				continue
			case <-time.After(time.Second):
			}
			break
		}
		if len(seen) != 100 {
			t.Errorf("%d of 100 keys came", len(seen))
		}
		for k, n := range seen {
			if n > 2 { // once, and once more for the one that was on its way
				t.Errorf("%d came %d times", k, n)
			}
		}
	})
}
