// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package load plays a busy MTA at a milter's socket: several sessions at once, each sending one message after the other
// as fast as the milter answers, in the packets that Postfix 3.7 sends.
//
// What is sent is written down once per message and set of protocol flags, so that the load costs little beside the
// milter that it measures. It shares no code with our milter.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Job is what to send.
type Job struct {
	Socket   string // path of a Unix socket
	Sessions int
	Message  Message
	// PerConnection is how many messages go over one connection.
	PerConnection int
}

// Result is what became of it.
type Result struct {
	Messages  int
	Elapsed   time.Duration
	Latencies []time.Duration // of each message, sorted
	// Signature is the value of one DKIM-Signature field that was added.
	Signature string
}

// Rate is messages per second.
func (r Result) Rate() float64 { return float64(r.Messages) / r.Elapsed.Seconds() }

// Quantile is the latency that a share of the messages stays under.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[min(len(r.Latencies)-1, int(q*float64(len(r.Latencies))))]
}

// ErrUnsigned says that a message was answered without a signature: then there is nothing to compare.
var ErrUnsigned = errors.New("a message was let go unsigned")

// For sends until the time is over; every message that began is finished and counted.
func For(ctx context.Context, job Job, d time.Duration) (Result, error) {
	end := time.Now().Add(d)
	return run(ctx, job, func() bool { return time.Now().Before(end) })
}

// Count sends so many messages.
func Count(ctx context.Context, job Job, messages int) (Result, error) {
	var begun atomic.Int64
	return run(ctx, job, func() bool { return begun.Add(1) <= int64(messages) })
}

// run sends in all sessions while more is true, which each session asks before each message.
func run(ctx context.Context, job Job, more func() bool) (Result, error) {
	results := make([]Result, job.Sessions)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range results {
		group.Go(func() error { return session(ctx, job, more, &results[i]) })
	}
	if err := group.Wait(); err != nil {
		return Result{}, fmt.Errorf("load on %s: %w", job.Socket, err)
	}
	total := Result{Elapsed: time.Since(start)}
	for _, r := range results {
		total.Messages += r.Messages
		total.Latencies = append(total.Latencies, r.Latencies...)
		total.Signature = r.Signature
	}
	slices.Sort(total.Latencies)
	return total, nil
}

// session is one client that comes again and again.
func session(ctx context.Context, job Job, more func() bool, r *Result) error {
	for going := more(); going; {
		c, err := dial(ctx, job.Socket, job.Message)
		if err != nil {
			return err
		}
		for i := 0; i < job.PerConnection && going; i++ {
			start := time.Now()
			signature, err := c.send()
			if err != nil {
				return errors.Join(err, c.close())
			}
			if signature == "" {
				return errors.Join(ErrUnsigned, c.close())
			}
			r.Latencies = append(r.Latencies, time.Since(start))
			r.Messages++
			r.Signature = signature
			going = more()
		}
		if err := c.close(); err != nil {
			return err
		}
	}
	return nil
}
