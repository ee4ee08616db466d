// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// maxCuts bounds the search for the end of a bring-up.
const maxCuts = 200

// cuts are the writes to cut after, a sample: to start a manager for each of them takes minutes. test/crash cuts after each
// one, and after those of every other step in the life of a key.
func cuts(writes int) []int {
	var at []int
	for n := 1; n <= min(writes, maxCuts); n += 8 {
		at = append(at, n)
	}
	return at
}

// axe ends a manager at its n-th write: the API server carries the write out, and nobody hears of it. From then on the
// process is as good as dead: no call of its own gets through.
type axe struct {
	mu    sync.Mutex
	at, n int
	last  string
	down  chan struct{} // closed when it fell
}

var errCrashed = errors.New("the process has crashed")

func newAxe(at int) *axe { return &axe{at: at, down: make(chan struct{})} }

func (a *axe) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if a.fell() {
			return nil, errCrashed
		}
		if !a.strike(r) {
			return next.RoundTrip(r)
		}
		response, err := next.RoundTrip(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		close(a.down)
		return nil, errCrashed
	})
}

// strike counts a write and tells whether it is the one. Events are told beside everything and prove nothing.
func (a *axe) strike(r *http.Request) bool {
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	if a.n == a.at {
		a.last = r.Method + " " + r.URL.Path
	}
	return a.n == a.at
}

func (a *axe) fell() bool {
	select {
	case <-a.down:
		return true
	default:
		return false
	}
}

// startWithAxe runs a manager that is cut at its n-th write, or never if n is 0.
func (b *bench) startWithAxe(n int) *axe {
	b.Helper()
	whole, a := b.config, newAxe(n)
	b.config = rest.CopyConfig(whole)
	b.config.Wrap(a.wrap)
	b.start()
	b.config = whole
	return a
}

// endState is what a bring-up leads to, names and keys left out.
type endState struct {
	Keys, KeySecrets, SigningSecrets, Claims int
	Records                                  map[string]int
	Signers                                  int
}

func (b *bench) endState(d *v1alpha1.MailDomain) endState {
	b.Helper()
	state := endState{Keys: len(b.keys()), KeySecrets: len(b.keySecrets()), Records: map[string]int{}}
	var signing corev1.SecretList
	if err := b.List(b.Context(), &signing, client.InNamespace(b.namespace), client.MatchingLabels{v1alpha1.LabelSecret: v1alpha1.SecretSigning}); err != nil {
		b.Fatal(err)
	}
	state.SigningSecrets = len(signing.Items)
	var leases coordinationv1.LeaseList
	if err := b.List(b.Context(), &leases, client.InNamespace(b.settings.Providers.OperatorNamespace)); err != nil {
		b.Fatal(err)
	}
	state.Claims = len(leases.Items)
	for line := range strings.Lines(b.world.Zone(d.Spec.Domain).Dump()) {
		name, _, _ := strings.Cut(line, "\t")
		if strings.Contains(name, "._domainkey.") {
			name = "a selector"
		}
		state.Records[name]++
	}
	signers, err := keydir.Decode(b.signingSecret(d).Data, "example.org")
	if err != nil {
		b.Fatal(err)
	}
	state.Signers = len(signers.Keys)
	return state
}

// everyKeyIsOne makes sure that there is one key pair under each selector, and that it is the one that is published.
func (b *bench) everyKeyIsOne(d *v1alpha1.MailDomain) {
	b.Helper()
	signers, err := keydir.Decode(b.signingSecret(d).Data, "example.org")
	if err != nil {
		b.Fatal(err)
	}
	secrets := b.keySecrets()
	for _, k := range b.keys() {
		pair, err := dkim.ParsePEM([]byte(secrets[k.Name]))
		if err != nil {
			b.Errorf("Secret %s: %v", k.Name, err)
			continue
		}
		if got := b.txt(k.Status.RecordName); !slices.Equal(got, []string{pair.Record().String()}) || pair.PublicKeySHA256() != k.Status.PublicKeySHA256 {
			b.Errorf("%s: the Secret, the status and the record %q are of different keys", k.Name, got)
		}
		for _, s := range signers.Keys {
			if s.Selector == k.Spec.Selector && !s.Pair.Equal(pair) {
				b.Errorf("%s: signers hold another key", k.Name)
			}
		}
	}
}

func bothAlgorithms(d *v1alpha1.MailDomain) {
	d.Spec.DKIM.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
}

func (b *bench) bringUp(d *v1alpha1.MailDomain) {
	b.Helper()
	b.awaitReady(d)
	b.awaitSpares(d)
}

// uncut brings a domain up and counts the writes that it takes.
func uncut(t *testing.T, change ...func(*v1alpha1.MailDomain)) (endState, int) {
	t.Helper()
	b := newBench(t, "example.org")
	b.stop()
	a := b.startWithAxe(0)
	b.provider("dns")
	d := b.domain("example.org", change...)
	b.bringUp(d)
	b.everyKeyIsOne(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	return b.endState(d), a.n
}

func TestACrashAfterAnyWriteLeadsToTheSameEnd(t *testing.T) {
	t.Parallel()
	want, writes := uncut(t)
	t.Logf("an uncut run takes %d writes and leads to %+v", writes, want)
	t.Run("cut", func(t *testing.T) {
		for _, n := range cuts(writes) {
			t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "example.org")
				b.stop()
				a := b.startWithAxe(n)
				b.provider("dns")
				d := b.domain("example.org")
				b.until("the cut, or the end of the bring-up", func() bool {
					var now v1alpha1.MailDomain
					done := b.Get(b.Context(), client.ObjectKeyFromObject(d), &now) == nil && standby(&now) == 1
					return a.fell() || done
				})
				b.stop()
				b.start()
				b.bringUp(d)
				b.everyKeyIsOne(d)
				b.sameEnd(d, want)
				t.Log("cut after", a.last)
			})
		}
	})
}

func (b *bench) sameEnd(d *v1alpha1.MailDomain, want endState) {
	b.Helper()
	got := b.endState(d)
	records := maps.Equal(got.Records, want.Records)
	got.Records, want.Records = nil, nil
	if !records || fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("it led to %+v, an uncut run to %+v; the zone:\n%s", got, want, b.world.Zone("example.org").Dump())
	}
}

func standby(d *v1alpha1.MailDomain) int {
	n := 0
	for _, k := range d.Status.Keys {
		if k.Phase == v1alpha1.PhaseStandby {
			n++
		}
	}
	return n
}

func TestAProcessThatDiesAtEveryWriteStillGetsThere(t *testing.T) {
	t.Parallel()
	want, _ := uncut(t, bothAlgorithms)
	b := newBench(t, "example.org")
	b.stop()
	b.provider("dns")
	d := b.domain("example.org", bothAlgorithms)
	lives := 0
	for done := false; !done; lives++ {
		if lives == maxCuts {
			t.Fatalf("after %d lives of one write each:\n%s", lives, describe(d))
		}
		a := b.startWithAxe(1)
		b.until("a write, or the end", func() bool {
			done = b.Get(b.Context(), client.ObjectKeyFromObject(d), d) == nil && standby(d) == 2
			return a.fell() || done
		})
		b.stop()
	}
	b.start()
	b.bringUp(d)
	b.everyKeyIsOne(d)
	b.sameEnd(d, want)
	t.Logf("%d lives of one write each", lives)
}

func TestACrashInADeletionLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	_, writes := cutDeletion(t, 0)
	t.Logf("an uncut deletion takes %d writes", writes)
	for _, n := range cuts(writes) {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			what, _ := cutDeletion(t, n)
			t.Log("cut after", what)
		})
	}
}

// cutDeletion brings a domain up and deletes it; the manager is cut at the n-th write of the deletion, or never if n is 0.
func cutDeletion(t *testing.T, n int) (what string, writes int) {
	t.Helper()
	b := newBench(t, "example.org")
	b.provider("dns")
	before := b.world.Zone("example.org").Dump()
	d := b.domain("example.org", deleting)
	b.bringUp(d)
	b.stop()
	b.delete(d)
	a := b.startWithAxe(n)
	b.until("the cut, or the end", func() bool { return a.fell() || !b.exists(&v1alpha1.MailDomain{}, d.Name) })
	b.stop()
	b.start()
	b.awaitGone(d)
	b.sameZone("example.org", before)
	b.nothingIsLeft()
	return a.last, a.n
}

// TestALostAnswerOfTheProviderLeadsToTheSameEnd loses the answer to one update after the other, with and without the end
// of the process that sent it.
func TestALostAnswerOfTheProviderLeadsToTheSameEnd(t *testing.T) {
	t.Parallel()
	want, _ := uncut(t)
	for _, crash := range []bool{false, true} {
		for _, n := range cuts(6) {
			t.Run(fmt.Sprintf("update %d, crash %v", n, crash), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "example.org")
				server := b.world.Server("127.0.0.3")
				b.provider("dns")
				d := b.domain("example.org")
				b.until("the update before", func() bool { return server.Updates() >= n-1 })
				server.SetFaults(nameserver.Faults{LoseUpdateReply: true})
				b.until("the update, or the end", func() bool {
					return server.Updates() >= n || b.Get(b.Context(), client.ObjectKeyFromObject(d), d) == nil && standby(d) == 1
				})
				if crash {
					b.stop()
				}
				server.SetFaults(nameserver.Faults{})
				if crash {
					b.start()
				}
				b.bringUp(d)
				b.everyKeyIsOne(d)
				b.sameEnd(d, want)
				t.Logf("%d updates, %d changes of TXT", server.Updates(), server.Changes("", dns.TypeTXT))
			})
		}
	}
}
