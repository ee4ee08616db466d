// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keymaker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// shop is a Maker whose key pairs are made when the test says so.
type shop struct {
	*Maker
	making   chan string // which size has begun
	finish   chan error
	told     chan dnsprovider.Owner
	parallel atomic.Int32
	most     atomic.Int32
	made     atomic.Int32
	stop     func() // and wait until it has ended
}

func open(t *testing.T, workers int) *shop {
	t.Helper()
	s := &shop{making: make(chan string, 100), finish: make(chan error), told: make(chan dnsprovider.Owner, 100)}
	s.Maker = New(Options{
		Workers: workers,
		Tell:    func(_ context.Context, o dnsprovider.Owner) { s.told <- o },
		Generate: func(ctx context.Context, a dkim.Algorithm, bits int) (dkim.KeyPair, error) {
			s.most.Store(max(s.most.Load(), s.parallel.Add(1)))
			defer s.parallel.Add(-1)
			s.making <- fmt.Sprintf("%s %d", a, bits)
			select {
			case err := <-s.finish:
				if err != nil {
					return dkim.KeyPair{}, err
				}
			case <-ctx.Done():
				return dkim.KeyPair{}, ctx.Err()
			}
			s.made.Add(1)
			return dkim.Generate(ctx, dkim.Ed25519, 0)
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	s.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func order(uid types.UID) Order {
	return Order{UID: uid, For: dnsprovider.Owner{Name: string(uid)}, Algorithm: dkim.RSA, Bits: 4096}
}

func TestAPairIsMadeOnceHoweverOftenItIsAskedFor(t *testing.T) {
	s := open(t, 2)
	for range 10 {
		if _, made, err := s.Make(order("a")); made || err != nil {
			t.Fatalf("made %v before it was (%v)", made, err)
		}
	}
	s.finish <- nil
	if about := <-s.told; about.Name != "a" {
		t.Fatalf("%v was told", about)
	}
	first, made, err := s.Make(order("a"))
	second, again, _ := s.Make(order("a"))
	if !made || !again || err != nil || !first.Equal(second) || s.made.Load() != 1 {
		t.Errorf("made %v and %v, %d times (%v)", made, again, s.made.Load(), err)
	}
	s.Forget("a")
	if _, made, _ := s.Make(order("a")); made {
		t.Error("a pair that was stored is handed out again")
	}
}

func TestNoMoreAreMadeAtOnceThanThereAreWorkers(t *testing.T) {
	s := open(t, 2)
	for i := range 20 {
		_, _, _ = s.Make(order(types.UID(fmt.Sprint(i))))
	}
	<-s.making
	<-s.making // both are at work
	for range 20 {
		s.finish <- nil
		<-s.told
	}
	if s.most.Load() != 2 {
		t.Errorf("%d at once", s.most.Load())
	}
}

func TestAnErrorIsToldOnceAndTheNextOrderBeginsAnew(t *testing.T) {
	s := open(t, 1)
	_, _, _ = s.Make(order("a"))
	failed := errors.New("no entropy")
	s.finish <- failed
	<-s.told
	if _, _, err := s.Make(order("a")); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if _, made, err := s.Make(order("a")); made || err != nil {
		t.Fatalf("made %v (%v)", made, err)
	}
	s.finish <- nil
	<-s.told
	if _, made, err := s.Make(order("a")); !made || err != nil {
		t.Errorf("made %v (%v)", made, err)
	}
}

func TestWhatNobodyWantsAnyMoreIsNotMade(t *testing.T) {
	s := open(t, 1)
	_, _, _ = s.Make(order("a"))
	<-s.making
	_, _, _ = s.Make(order("b"))
	s.Forget("a") // in the middle of it
	if what := <-s.making; what != "RSA 4096" {
		t.Error(what)
	}
	s.finish <- nil
	if about := <-s.told; about.Name != "b" || s.made.Load() != 1 {
		t.Errorf("%v was told, %d were made", about, s.made.Load())
	}
}

func TestAMakerThatIsToldToStopLeavesNothingBehind(t *testing.T) {
	others := goleak.IgnoreCurrent()
	s := open(t, 2)
	for _, uid := range []types.UID{"a", "b", "c", "d"} {
		_, _, _ = s.Make(order(uid))
	}
	<-s.making
	<-s.making // both are at work, and two wait
	s.stop()
	goleak.VerifyNone(t, others)
	if s.made.Load() != 0 || len(s.told) != 0 || len(s.making) != 0 {
		t.Errorf("%d pairs were made, %d were told, %d more were begun", s.made.Load(), len(s.told), len(s.making))
	}
	for _, uid := range []types.UID{"a", "c"} {
		if _, made, _ := s.Make(order(uid)); made {
			t.Errorf("a pair is handed out for %s", uid)
		}
	}

	next := open(t, 2) // what was begun is made once more by another process, and once
	_, _, _ = next.Make(order("a"))
	_, _, _ = next.Make(order("a"))
	next.finish <- nil
	<-next.told
	if _, made, err := next.Make(order("a")); !made || err != nil || next.made.Load() != 1 || len(next.making) != 1 {
		t.Errorf("made %t (%v), %d times", made, err, next.made.Load())
	}
}

// A pair that comes after its order has ended is nobody's, also if another one of the same UID was ordered meanwhile.
func TestAPairThatComesTooLateIsNobodys(t *testing.T) {
	s := open(t, 1)
	_, _, _ = s.Make(order("a"))
	<-s.making
	s.Forget("a")
	_, _, _ = s.Make(order("a"))
	<-s.making // anew
	if _, made, err := s.Make(order("a")); made || err != nil {
		t.Fatalf("the pair of the former order is handed out (%v)", err)
	}
	s.finish <- nil
	<-s.told
	if _, made, err := s.Make(order("a")); !made || err != nil || s.made.Load() != 1 || len(s.told) != 0 {
		t.Errorf("made %t (%v), %d times", made, err, s.made.Load())
	}
}
