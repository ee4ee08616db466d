// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// verdict is what the fake does with a call.
type verdict int

const (
	works      verdict = iota
	fails              // does nothing and says so
	losesReply         // does it and says that it failed
	lies               // does nothing and says that it did
	halves             // adds, does not delete, and says that it failed
	panics
)

var errFake = errors.New("fake: told to fail")

// fakeZone is a Driver with one zone in memory.
type fakeZone struct {
	mu    sync.Mutex
	sets  map[Question]dnsrecord.Set
	log   []string // "read" and "apply"
	hook  func(n int, op string) verdict
	err   error                    // what fails returns; errFake if nil
	deny  map[dnsrecord.Name]error // changes of these names fail
	after func(z *fakeZone)        // looks at the zone after every change
	blind map[dnsrecord.Name]bool  // names that cannot be read
	noCAS bool
}

func newFakeZone() *fakeZone {
	return &fakeZone{sets: map[Question]dnsrecord.Set{}}
}

func (z *fakeZone) Zones(context.Context) ([]dnsrecord.Name, error) { return nil, ErrUnsupported }
func (z *fakeZone) Check(context.Context, []dnsrecord.Name) error   { return nil }
func (z *fakeZone) Zone(dnsrecord.Name) Zone                        { return z }
func (z *fakeZone) MinimumTTL() uint32                              { return 60 }

func (z *fakeZone) begin(ctx context.Context, op string) (verdict, error) {
	z.log = append(z.log, op)
	v := works
	if z.hook != nil {
		v = z.hook(len(z.log), op)
	}
	if v == panics {
		panic("fake: told to panic")
	}
	return v, ctx.Err()
}

func (z *fakeZone) fault() error {
	if z.err != nil {
		return z.err
	}
	return errFake
}

func (z *fakeZone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	if err := turn(ctx); err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	v, err := z.begin(ctx, "read")
	if err != nil {
		return nil, err
	}
	if v != works {
		return nil, z.fault()
	}
	seen := map[Question]dnsrecord.Set{}
	for _, q := range questions {
		if z.blind[q.Name] {
			err = z.fault()
			continue
		}
		set := z.sets[q]
		set.Name, set.Type, set.Values = q.Name, q.Type, slices.Clone(set.Values)
		seen[q] = set
	}
	return seen, err
}

func (z *fakeZone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	err := turn(ctx)
	z.mu.Lock()
	defer z.mu.Unlock()
	errs := make([]error, len(changes))
	v, begun := z.begin(ctx, "apply")
	err = errors.Join(err, begun)
	for i, c := range changes {
		errs[i] = z.change(c, v)
		if err != nil {
			errs[i] = err
		}
	}
	return errs
}

func (z *fakeZone) change(c dnsplan.Change, v verdict) error {
	set := z.sets[c.Key()]
	if err := z.deny[c.Name]; err != nil {
		return err
	}
	if !z.noCAS && !set.SameValues(c.Prerequisite) {
		return ErrChanged
	}
	if c.Name == "" || c.Type == "" || slices.Contains(c.Delete, "") || slices.Contains(c.Add, "") {
		return errors.New("fake: an empty name, type or value means all")
	}
	switch v {
	case works, losesReply:
		z.sets[c.Key()] = c.Apply(set)
	case halves:
		c.Delete = nil
		z.sets[c.Key()] = c.Apply(set)
	case fails, lies, panics:
	}
	if z.after != nil {
		z.after(z)
	}
	if v == works || v == lies {
		return nil
	}
	return z.fault()
}

// put sets what stands at a name, as somebody else would.
func (z *fakeZone) put(name dnsrecord.Name, values ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	k := Question{Name: name, Type: dnsrecord.TXT}
	z.sets[k] = dnsrecord.Set{Name: name, Type: dnsrecord.TXT, TTL: 3600, Values: values}
}

func (z *fakeZone) values(name dnsrecord.Name) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Sorted(slices.Values(z.sets[Question{Name: name, Type: dnsrecord.TXT}].Values))
}

func (z *fakeZone) calls() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.log)
}

// records are all names with their values, without the markers.
func (z *fakeZone) records() map[dnsrecord.Name][]string {
	z.mu.Lock()
	defer z.mu.Unlock()
	all := map[dnsrecord.Name][]string{}
	for k, s := range z.sets {
		values := slices.DeleteFunc(slices.Sorted(slices.Values(s.Values)), dnsplan.IsMarker)
		if len(values) > 0 {
			all[k.Name] = values
		}
	}
	return all
}

// marker is the one marker of example.org; the zero Marker if there is none.
func (z *fakeZone) marker(tb testing.TB) dnsplan.Marker {
	tb.Helper()
	var found []string
	for _, v := range z.values("_maildomain.example.org") {
		if dnsplan.IsMarker(v) {
			found = append(found, v)
		}
	}
	if len(found) == 0 {
		return dnsplan.Marker{}
	}
	m, err := dnsplan.ParseMarker(found[0])
	if err != nil || len(found) > 1 {
		tb.Fatalf("markers: %q %v", found, err)
	}
	return m
}

// bench is a queue over one fake zone, example.org, inside a synctest bubble.
type bench struct {
	t        testing.TB
	accounts *Accounts
	queue    *Queue
	stop     func()
	mu       sync.Mutex
	woken    map[Owner]int
	stale    int
}

var provider = ProviderKey{Kind: "DNSProvider", Namespace: "mail", Name: "p"}

func start(tb testing.TB, driver Driver, ownerID string) *bench {
	tb.Helper()
	accounts := NewAccounts()
	accounts.Set(provider, &Account{Driver: driver, Fingerprint: "one", RequestsPerSecond: 1000, Burst: 1000})
	q := NewQueue(Options{OwnerID: ownerID, Accounts: accounts, Now: time.Now, Jitter: func() float64 { return 0.5 }}) //nolint:forbidigo // the time of the bubble
	ctx, cancel := context.WithCancel(context.Background())
	b := &bench{t: tb, accounts: accounts, queue: q, woken: map[Owner]int{}}
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	go func() {
		for {
			select {
			case o := <-q.Wake():
				b.mu.Lock()
				b.woken[o]++
				b.mu.Unlock()
			case <-accounts.Wake():
				b.mu.Lock()
				b.stale++
				b.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	}()
	b.stop = sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(b.stop)
	return b
}

// wait lets all that is due be done.
func (b *bench) wait() { synctest.Wait() }

// pass lets time go by.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the time of the bubble
	synctest.Wait()
}

func (b *bench) result(o Owner) Result {
	b.t.Helper()
	r, ok := b.queue.Result(o)
	if !ok {
		b.t.Fatalf("no result for %v", o)
	}
	return r
}

func (b *bench) states(o Owner) []dnsplan.OutcomeState {
	var states []dnsplan.OutcomeState
	for _, out := range b.result(o).Outcomes {
		states = append(states, out.State)
	}
	return states
}

func txt(name dnsrecord.Name, value string, ours ...string) dnsplan.Wish {
	return dnsplan.Wish{Name: name, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: value, TTL: 300, Ours: ours, Adoption: dnsplan.Never}
}

func submission(name string, wishes ...dnsplan.Wish) Submission {
	return Submission{
		Owner: Owner{Kind: "MailDomain", Namespace: "mail", Name: name}, Provider: provider,
		Zone: "example.org", Domain: "example.org", Wishes: wishes,
	}
}

// remember is what a controller does with a result: it notes it in the status and submits again.
func remember(s Submission, r Result) Submission {
	s.RememberedGeneration = r.MarkerGeneration
	s.Wishes = slices.Clone(s.Wishes)
	for i, o := range r.Outcomes {
		if o.State == dnsplan.InPlace {
			s.Wishes[i].Ours = []string{s.Wishes[i].Value}
		}
		if o.State == dnsplan.Absent {
			s.Wishes[i].Ours = nil
		}
	}
	return s
}

func sameRecords(tb testing.TB, got, want map[dnsrecord.Name][]string) {
	tb.Helper()
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		tb.Errorf("the zone holds %v, want %v", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// fakeDoor is a second way into a fake zone, with delays of its own before each call.
type fakeDoor struct {
	*fakeZone
	delays []int
	n      int
}

func (d *fakeDoor) Zone(dnsrecord.Name) Zone { return d }

func (d *fakeDoor) delay() {
	if d.n < len(d.delays) {
		time.Sleep(time.Duration(d.delays[d.n]) * time.Millisecond) //nolint:forbidigo // the time of the bubble
	}
	d.n++
}

func (d *fakeDoor) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	d.delay()
	return d.fakeZone.Read(ctx, questions)
}

func (d *fakeDoor) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	d.delay()
	return d.fakeZone.Apply(ctx, changes)
}

func manualSpec() v1alpha1.DNSProviderSpec {
	return v1alpha1.DNSProviderSpec{Manual: &v1alpha1.Manual{}}
}
