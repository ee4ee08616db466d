// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// tarpit is a provider that never answers.
type tarpit struct{ *fakeZone }

func (z tarpit) Zone(dnsrecord.Name) Zone { return z }

func (z tarpit) Read(ctx context.Context, _ []Question) (map[Question]dnsrecord.Set, error) {
	<-ctx.Done()
	return nil, newError(Unreachable, ctx.Err(), "no answer")
}

// A tenant with more zones than there are calls at the same time, at servers that hang, holds up nobody else.
func TestATenantWhoseServersHangHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newFakeZone(), "us")
		hanging := ProviderKey{Kind: "DNSProvider", Namespace: "tarpit", Name: "p"}
		b.accounts.Set(hanging, &Account{Driver: tarpit{newFakeZone()}, Fingerprint: "hangs", RequestsPerSecond: 1000, Burst: 1000})
		for i := range 5 * defaultMaxCalls {
			s := submission(fmt.Sprint("t", i), txt("_dmarc.example.org", "x"))
			s.Provider, s.Zone = hanging, dnsrecord.Name(fmt.Sprintf("z%d.example", i))
			b.queue.Submit(s)
		}
		b.pass(time.Second)
		s := submission("a", txt("_dmarc.example.org", "x"))
		b.queue.Submit(s)
		b.pass(time.Second)
		if r, ok := b.queue.Result(s.Owner); !ok || !r.Settled() {
			t.Errorf("%+v", r)
		}
	})
}

func TestALaneIsForgottenWhenNobodyIsInIt(t *testing.T) {
	l := newLanes(1)
	leave, err := l.enter(t.Context(), "mail")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.enter(gone, "mail"); err == nil || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("a second call got in: %v", err)
	}
	leave()
	if len(l.lanes) != 0 {
		t.Errorf("%d lanes are kept for nothing", len(l.lanes))
	}
}

// Where more wait than one round carries out, whoever waits longest is next: a domain that wants something else all the time
// keeps none of the others from being done.
func TestWhoWaitsLongestIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := newFakeZone()
		b := start(t, zone, "us")
		const objects = 4 * defaultBatch
		submitted := func(i int) Submission {
			return submission(fmt.Sprint("o", (i*37)%objects), txt(dnsrecord.Name(fmt.Sprintf("n%d.example.org", i)), "x"))
		}
		w := &worker{account: &Account{Driver: zone}, entries: map[Owner]*entry{}, key: workerKey{zone: "example.org"}}
		for i := range objects {
			s := submitted(i)
			w.entries[s.Owner] = &entry{sub: s, dirty: true, since: b.queue.opts.Now().Add(time.Duration(i) * time.Millisecond)}
		}
		b.pass(time.Minute)
		for i := range objects / defaultBatch {
			taken, _, _ := b.queue.take(t.Context(), w)
			if taken == nil || len(taken.jobs) != defaultBatch {
				t.Fatalf("round %d: %+v", i, taken)
			}
			for _, j := range taken.jobs {
				var n int
				if _, err := fmt.Sscanf(string(j.sub.Wishes[0].Name), "n%d.", &n); err != nil || n/defaultBatch != i {
					t.Errorf("number %d is in round %d (%v)", n, i, err)
				}
				w.entries[j.sub.Owner].hurry(b.queue.opts.Now()) // at once it wants something else
			}
			b.pass(time.Second)
		}
	})
}
