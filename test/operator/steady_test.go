// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/rest"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

func TestASteadyDomainIsNeitherWrittenNorAskedForAtTheProvider(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	writes := b.countEveryWrite()
	b.provider("dns")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
		d.Spec.SPF.HeloNames = []v1alpha1.DomainName{"mail.example.org"}
	})
	b.awaitReady(d)
	b.awaitSpares(d)
	b.awaitQuiet(writes, d)

	writes.reset()
	b.resetDNS()
	b.awaitRounds(d, 2)
	b.report("two drift rounds", writes)

	// A restart has to look at everything again, and to find it as it was.
	b.stop()
	writes.reset()
	b.resetDNS()
	b.start()
	b.awaitRounds(d, 2)
	if got := writes.seen(); len(got) != 0 {
		t.Errorf("after a restart: API writes %q", got)
	}
	if got := b.primary().Updates(); got != 0 {
		t.Errorf("after a restart: %d updates at the provider", got)
	}
	t.Logf("a restart: %d API writes, %d updates, %d signed reads (the credentials are tried), %d plain queries",
		len(writes.seen()), b.primary().Updates(), b.primary().SignedQueries(), b.plainQueries())
}

// report fails for any write and any call to the provider since the counters were reset.
func (b *bench) report(when string, writes *tally) {
	b.Helper()
	if got := writes.seen(); len(got) != 0 {
		b.Errorf("%s: API writes %q", when, got)
	}
	if updates, reads := b.primary().Updates(), b.primary().SignedQueries(); updates != 0 || reads != 0 {
		b.Errorf("%s: %d updates and %d reads at the provider", when, updates, reads)
	}
	b.Logf("%s: %d API writes, %d provider calls, %d plain queries", when, len(writes.seen()), b.primary().Updates()+b.primary().SignedQueries(), b.plainQueries())
}

// tally notes every API call that is no read, beneath the manager: events and leases too.
type tally struct {
	mu    sync.Mutex
	calls []string
}

// countEveryWrite restarts the manager with a tally.
func (b *bench) countEveryWrite() *tally {
	b.Helper()
	counts := &tally{}
	b.stop()
	b.config = rest.CopyConfig(b.config)
	b.config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				counts.note(r.Method + " " + r.URL.Path)
			}
			return next.RoundTrip(r)
		})
	})
	b.start()
	return counts
}

func (c *tally) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

func (c *tally) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

func (c *tally) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// byKind counts the calls by method and resource, names left out.
func (c *tally) byKind() map[string]int {
	counts := map[string]int{}
	for _, call := range c.seen() {
		method, path, _ := strings.Cut(call, " ")
		part := strings.Split(path, "/")
		at := slices.Index(part, "namespaces")
		if at < 0 || at+2 >= len(part) {
			counts[call]++
			continue
		}
		kind := method + " " + part[at+2]
		if len(part) > at+4 {
			kind += "/" + part[at+4]
		}
		counts[kind]++
	}
	return counts
}

func (b *bench) primary() interface {
	Updates() int
	SignedQueries() int
} {
	return b.world.Server("127.0.0.3")
}

func (b *bench) resetDNS() {
	for _, s := range b.world.Servers() {
		s.ResetCounts()
	}
}

func (b *bench) plainQueries() int {
	total := -b.world.Server("127.0.0.3").SignedQueries()
	for _, s := range b.world.Servers() {
		total += s.Queries("", dns.TypeANY)
	}
	return total
}

// awaitSpares waits until each algorithm has a spare and every record of the domain is verified.
func (b *bench) awaitSpares(d *v1alpha1.MailDomain) {
	b.Helper()
	b.await(d, "a spare of each algorithm", func() bool {
		standby := 0
		for _, k := range d.Status.Keys {
			if k.Phase == v1alpha1.PhaseStandby {
				standby++
			}
		}
		verified := !slices.ContainsFunc(d.Status.Records, func(r v1alpha1.RecordStatus) bool { return r.State != v1alpha1.RecordVerified })
		return verified && standby == len(d.Spec.DKIM.WantedKeys())
	})
}

// awaitRounds waits until the authoritative servers were asked again for every record of the domain, n times.
func (b *bench) awaitRounds(d *v1alpha1.MailDomain, n int) {
	b.Helper()
	before := map[string]int{}
	for _, r := range d.Status.Records {
		before[r.Name] = b.asked(r.Name)
	}
	b.until("a drift round of every record", func() bool {
		for name, count := range before {
			if b.asked(name) < count+n {
				return false
			}
		}
		return true
	})
}

func (b *bench) asked(name string) int {
	return b.world.Server("127.0.0.3").Queries(name+".", dns.TypeTXT) + b.world.Server("127.0.0.4").Queries(name+".", dns.TypeTXT)
}

// awaitQuiet waits for a drift round in which nothing is written.
func (b *bench) awaitQuiet(writes *tally, domains ...*v1alpha1.MailDomain) {
	b.Helper()
	for range 10 {
		before, updates := len(writes.seen()), b.primary().Updates()
		for _, d := range domains {
			b.awaitRounds(d, 1)
		}
		if len(writes.seen()) == before && b.primary().Updates() == updates {
			return
		}
	}
	b.Fatalf("it never becomes quiet; the last writes: %q", last(writes.seen(), 10))
}

func last(all []string, n int) []string { return all[max(0, len(all)-n):] }

// until waits for something that no object tells of.
func (b *bench) until(what string, is func() bool) {
	b.Helper()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-deadline:
			b.Fatal("never came to", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
