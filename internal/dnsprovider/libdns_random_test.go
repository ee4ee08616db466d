// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
)

// fitful is a module of which a random part of the calls fails, each in a way of its own.
type fitful struct {
	*fakeModule
	random *rand.Rand
	share  float64
}

var errFitful = errors.New("503 Service Unavailable")

// call carries f out, or does not, and says what it likes.
func (m *fitful) call(ctx context.Context, f func() error) error {
	m.mu.Lock()
	ill, how := m.random.Float64() < m.share, m.random.IntN(5)
	m.mu.Unlock()
	if !ill {
		return f()
	}
	switch how {
	case 0: // nothing is done, and said
		return errFitful
	case 1: // it is done, and the answer is lost
		_ = f()
		return errFitful
	case 2: // nothing is done, and all is well
		return nil
	case 3:
		panic("nil pointer")
	}
	<-ctx.Done() // no answer, and it is done later
	_ = f()
	return ctx.Err()
}

func (m *fitful) GetRecords(ctx context.Context, zone string) (records []libdns.Record, err error) {
	err = m.call(ctx, func() error { records, err = m.fakeModule.GetRecords(context.WithoutCancel(ctx), zone); return err })
	return records, err
}

func (m *fitful) AppendRecords(ctx context.Context, zone string, given []libdns.Record) (records []libdns.Record, err error) {
	err = m.call(ctx, func() error { records, err = m.fakeModule.AppendRecords(ctx, zone, given); return err })
	return records, err
}

func (m *fitful) DeleteRecords(ctx context.Context, zone string, given []libdns.Record) (records []libdns.Record, err error) {
	err = m.call(ctx, func() error { records, err = m.fakeModule.DeleteRecords(ctx, zone, given); return err })
	return records, err
}

// moduleRuns is how many seeds each manner gets; RUNS=10000 is the long way.
func moduleRuns(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv("RUNS"), "60"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Foreign records never change, and what is wanted stands when the faults have ended.
func TestWhateverAModuleDoesForeignRecordsStayAndOursCome(t *testing.T) {
	for name, how := range map[string]manners{"deletes exactly": {}, "deletes by name and type": {matches: byNameAndType}} {
		t.Run(name, func(t *testing.T) {
			for seed := range moduleRuns(t) {
				synctest.Test(t, func(t *testing.T) { surviveModule(t, how, seed) })
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func surviveModule(t *testing.T, how manners, seed uint64) {
	t.Helper()
	m := &fitful{fakeModule: newFakeModule(how), random: rand.New(rand.NewPCG(seed, 0))}
	b := start(t, m.driver(func() (libdnsClient, error) { return m, nil }), "us")
	s := submission("a", txt("s1._domainkey.example.org", theKey), txt("_dmarc.example.org", looking))
	for _, want := range []struct{ key, dmarc string }{{theKey, looking}, {theKey, rejectin}, {"", rejectin}} {
		s.Wishes[0].Value, s.Wishes[1].Value = want.key, want.dmarc
		m.ill(rand.New(rand.NewPCG(seed, 1)).Float64() * 0.5)
		b.queue.Submit(s)
		for range 20 {
			b.pass(15 * time.Second)
			if harmed := m.harmed(); len(harmed) > 0 {
				t.Fatalf("foreign records are not as they were: %v", harmed)
			}
		}
		m.ill(0)
		b.pass(40 * time.Minute)
		b.queue.Recheck(s.Owner)
		b.pass(20 * time.Minute)
		r := b.result(s.Owner)
		if !r.Settled() {
			t.Fatalf("%+v: %+v", want, r)
		}
		for at, value := range map[string]string{"s1._domainkey": want.key, "_dmarc": want.dmarc} {
			if got := strings.Join(m.texts(at), "|"); got != value {
				t.Errorf("%s holds %q, want %q", at, got, value)
			}
		}
		s = remember(s, r)
	}
	markers := slices.DeleteFunc(m.texts("_maildomain"), func(v string) bool { return !dnsplan.IsMarker(v) })
	if len(markers) != 1 {
		t.Errorf("markers: %q", markers)
	}
}

func (m *fitful) ill(share float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.share = share
}
