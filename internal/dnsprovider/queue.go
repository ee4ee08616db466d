// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"time"
)

// Options make a Queue.
type Options struct {
	// OwnerID is the installation's --owner-id.
	OwnerID  string
	Accounts *Accounts
	Now      func() time.Time
	// Jitter returns a number from 0 to 1 for the waits between attempts; random if nil.
	Jitter func() float64
	// MaxCalls is how many calls to providers run at the same time; 16 if 0.
	MaxCalls int
}

// Queue carries out submissions, one worker for each (account, zone).
type Queue struct {
	opts Options
	wake *wakeSet[Owner]
}

// NewQueue returns a queue; nothing runs before Start.
func NewQueue(opts Options) *Queue {
	return &Queue{opts: opts, wake: newWakeSet[Owner]()}
}

// Start works until ctx ends and the calls under way have come back. Run it on the leader only.
func (q *Queue) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// NeedLeaderElection tells the manager to start the queue on the leader only.
func (q *Queue) NeedLeaderElection() bool { return true }

// Submit replaces what the owner wanted before. It never waits. What was
// answered already and is settled is not done again.
func (q *Queue) Submit(s Submission) {}

// Recheck reads the owner's records again and repairs them, although nothing else is wanted.
func (q *Queue) Recheck(o Owner) {}

// Result returns the last answer to what the owner submitted.
func (q *Queue) Result(o Owner) (Result, bool) { return Result{}, false }

// Forget drops what the owner submitted. Its records stay.
func (q *Queue) Forget(o Owner) {}

// Wake yields the owners whose result has changed. It has one reader.
func (q *Queue) Wake() <-chan Owner { return q.wake.out }
