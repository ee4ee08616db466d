// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// scene is a Watch under the fake time of testing/synctest, and a DNS that can be changed.
type scene struct {
	*testing.T
	*Watch

	mu    sync.Mutex
	dns   names
	looks int
	told  []string
}

func play(t *testing.T, o Options, story func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t}
		o.Now = time.Now //nolint:forbidigo // the time of the bubble
		o.Inquire = func(dnscheck.Policy) DNS { s.mu.Lock(); defer s.mu.Unlock(); s.looks++; return s.dns }
		o.Tell = func(_ context.Context, owner string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, owner)
		}
		s.Watch = New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Start(ctx) }()
		story(s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time go by and tells who was told meanwhile, and how often was looked.
func (s *scene) pass(d time.Duration) (told []string, looks int) {
	s.mu.Lock()
	s.told, s.looks = nil, 0
	s.mu.Unlock()
	<-time.After(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told), s.looks
}

func (s *scene) publish(dns names) { s.mu.Lock(); defer s.mu.Unlock(); s.dns = dns }

var subject = Subject{Domain: "example.org", SPF: "v=spf1 include:a.test ~all", Destinations: []dnsrecord.Name{"reports.test"}}

const permitted = "example.org._report._dmarc.reports.test TXT v=DMARC1\n"

func TestOthersAreLookedAtAgainAndToldOfOnlyWhenTheyChange(t *testing.T) {
	play(t, Options{}, func(s *scene) {
		s.publish("a.test TXT v=spf1 -all\n" + permitted)
		s.Watch.Watch("one", subject, false)
		if told, _ := s.pass(time.Second); !slices.Equal(told, []string{"one"}) {
			s.Fatalf("told %v of the first look", told)
		}
		told, looks := s.pass(100 * time.Hour)
		if told != nil || looks < 40 || looks > 67 {
			s.Errorf("nothing changed in 100 hours: told %v after %d looks, of about 50", told, looks)
		}
		s.publish("a.test TXT v=spf1 include:b.test -all\nb.test TXT v=spf1 -all")
		if told, _ := s.pass(3 * time.Hour); !slices.Equal(told, []string{"one"}) {
			s.Errorf("told %v of a change", told)
		}
		got, ok := s.Findings("one", subject)
		want := Findings{Tree: Tree{Lookups: 2, Terms: []Term{{"include:a.test", 2, 0}}}, Refusing: []dnsrecord.Name{"reports.test"}}
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			s.Error(diff)
		}
		another := subject
		another.SPF = "v=spf1 -all"
		if _, ok := s.Findings("one", another); ok {
			s.Error("the findings are said to be those of another record")
		}
		s.Forget("one")
		if told, looks := s.pass(10 * time.Hour); told != nil || looks > 0 {
			s.Errorf("after nobody wanted to know, %d looks, told %v", looks, told)
		}
	})
}

func TestASilentServerIsAFindingOnlyAfterAnHour(t *testing.T) {
	const well = "a.test TXT v=spf1 -all\n" + permitted
	play(t, Options{Interval: 10 * time.Minute}, func(s *scene) {
		s.publish(well)
		s.Watch.Watch("one", subject, false)
		s.pass(time.Second)
		for range 2 {
			s.publish("a.test TXT SILENT\nexample.org._report._dmarc.reports.test TXT SILENT")
			if told, _ := s.pass(50 * time.Minute); told != nil {
				s.Errorf("told %v of a short silence", told)
			}
			s.publish(well)
			if told, _ := s.pass(20 * time.Minute); told != nil {
				s.Errorf("told %v when a short silence was over", told)
			}
		}
		s.publish("a.test TXT SILENT\nexample.org._report._dmarc.reports.test TXT SILENT")
		if told, _ := s.pass(3 * time.Hour); len(told) != 1 {
			s.Errorf("told %v of a long silence", told)
		}
		want := Findings{Tree: Tree{Lookups: 1, Terms: []Term{{"include:a.test", 1, 0}}, Unread: "a.test (TXT)"}, Unread: []dnsrecord.Name{"reports.test"}}
		got, _ := s.Findings("one", subject)
		if diff := cmp.Diff(want, got); diff != "" {
			s.Error(diff)
		}
		s.publish(well)
		if told, _ := s.pass(20 * time.Minute); len(told) != 1 {
			s.Errorf("told %v when it was over", told)
		}
	})
}

// What docs/probing.md says: whoever starts anew knows from the status what was found, so that the looks stay spread.
func TestAfterARestartTheLooksAreSpread(t *testing.T) {
	play(t, Options{}, func(s *scene) {
		const domains = 2000
		s.publish("a.test TXT v=spf1 -all\n" + permitted)
		for i := range domains {
			s.Watch.Watch(fmt.Sprint(i), subject, true)
		}
		s.Watch.Watch("new", subject, false)
		if told, looks := s.pass(time.Second); looks > 20 || !slices.Contains(told, "new") {
			s.Errorf("%d looks in the first second, told %v", looks, told)
		}
		for quarter := range 8 {
			if _, looks := s.pass(15 * time.Minute); looks < domains/8/2 || looks > domains/8*2 {
				s.Errorf("quarter of an hour %d: %d looks of %d", quarter, looks, domains/8)
			}
		}
	})
}

func TestNobodyIsAskedWhereVerificationIsOff(t *testing.T) {
	play(t, Options{}, func(s *scene) {
		off := subject
		off.Policy.Mode = dnscheck.None
		s.Watch.Watch("one", off, false)
		s.Watch.Watch("two", Subject{Domain: "example.org"}, false)
		if told, looks := s.pass(10 * time.Hour); told != nil || looks > 0 {
			s.Errorf("%d looks, told %v", looks, told)
		}
	})
}
