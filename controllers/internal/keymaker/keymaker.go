// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keymaker makes key pairs beside the reconcile workers, a few at a time: a long RSA key takes seconds of a
// processor, and a hundred new domains must not keep the others waiting.
//
// A pair is kept until it was stored, so that a write that fails does not have it made again. What a crash takes from here
// was never stored and never published, and is made once more by the next process, which finds no Secret. A process that is
// told to stop waits for the pairs under way, seconds at most, and forgets them.
package keymaker

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// Order is a key pair that an object wants; there is one for each UID.
type Order struct {
	UID       types.UID
	For       dnsprovider.Owner // who is told when it is made
	Algorithm dkim.Algorithm
	Bits      int
}

// Options of a Maker.
type Options struct {
	Workers int
	// Tell wakes who has ordered.
	Tell func(context.Context, dnsprovider.Owner)
	// Generate is dkim.Generate if nil.
	Generate func(context.Context, dkim.Algorithm, int) (dkim.KeyPair, error)
}

// Maker makes key pairs.
type Maker struct {
	options Options
	queue   workqueue.TypedInterface[types.UID] // which takes one UID once, however often it is added

	mu   sync.Mutex
	jobs map[types.UID]*job
}

type job struct {
	order Order
	made  bool
	pair  dkim.KeyPair
	err   error
	stop  context.CancelFunc // while it is being made
}

// New makes a Maker; nothing is made before Start.
func New(o Options) *Maker {
	if o.Generate == nil {
		o.Generate = dkim.Generate
	}
	return &Maker{options: o, queue: workqueue.NewTyped[types.UID](), jobs: map[types.UID]*job{}}
}

// Start makes what is ordered until ctx ends.
func (m *Maker) Start(ctx context.Context) error {
	var group errgroup.Group
	for range m.options.Workers {
		group.Go(func() error {
			for {
				uid, over := m.queue.Get()
				if over {
					return nil
				}
				m.fill(ctx, uid)
				m.queue.Done(uid)
			}
		})
	}
	<-ctx.Done()
	m.queue.ShutDown()
	return group.Wait()
}

// Make returns the pair that was ordered, once it is made; until then it is being made. An error ends the order.
func (m *Maker) Make(o Order) (pair dkim.KeyPair, made bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.jobs[o.UID]
	if !ok {
		m.jobs[o.UID] = &job{order: o}
		m.queue.Add(o.UID)
		return dkim.KeyPair{}, false, nil
	}
	if j.err != nil {
		delete(m.jobs, o.UID)
	}
	return j.pair, j.made && j.err == nil, j.err
}

// Forget ends an order: its pair was stored, or is not wanted any more.
func (m *Maker) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j, ok := m.jobs[uid]; ok && j.stop != nil {
		j.stop()
	}
	delete(m.jobs, uid)
}

// fill carries one order out.
func (m *Maker) fill(ctx context.Context, uid types.UID) {
	if ctx.Err() != nil {
		return // what waits is not begun any more
	}
	m.mu.Lock()
	j, ok := m.jobs[uid]
	if !ok || j.made {
		m.mu.Unlock()
		return
	}
	making, stop := context.WithCancel(ctx)
	j.stop = stop
	m.mu.Unlock()

	pair, err := m.options.Generate(making, j.order.Algorithm, j.order.Bits)

	m.mu.Lock()
	stop()
	j.pair, j.err, j.made, j.stop = pair, err, true, nil
	wanted := m.jobs[uid] == j
	m.mu.Unlock()
	if wanted && ctx.Err() == nil {
		m.options.Tell(ctx, j.order.For)
	}
}
