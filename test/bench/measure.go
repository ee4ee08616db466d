// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/test/bench/load"
)

// plan is how much is measured.
type plan struct {
	rounds int
	slice  time.Duration
	soak   int
	quick  bool
}

// benchCase is one line of the table.
type benchCase struct {
	algorithm dkim.Algorithm
	size      int
	sessions  int
}

func (c benchCase) String() string {
	return fmt.Sprintf("%s, %s, %d sessions", keyName(c.algorithm), sizeName(c.size), c.sessions)
}

// target is the case that the targets are about.
var target = benchCase{dkim.RSA, 10 << 10, 8}

func (p plan) cases() []benchCase {
	if p.quick {
		return []benchCase{target}
	}
	var cases []benchCase
	for _, a := range []dkim.Algorithm{dkim.RSA, dkim.Ed25519} {
		for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
			for _, sessions := range []int{1, 8} {
				cases = append(cases, benchCase{a, size, sessions})
			}
		}
	}
	return cases
}

// turnResult is what one contestant did in one round.
type turnResult struct {
	rate     float64 // messages per second
	p50, p99 float64 // milliseconds
	cpu      float64 // milliseconds of a processor for each message
}

// bench is a run.
type bench struct {
	plan

	contestants []*contestant
	pairs       map[dkim.Algorithm]dkim.KeyPair
	begun       time.Time

	turns map[benchCase]map[string][]turnResult // by contestant, in the order of the rounds
	speed map[dkim.Algorithm][]float64          // signatures per second of `openssl speed` on all cores
	soaks map[string]soakResult
	body  []bodyRound
}

const perConnection = 100

func (b *bench) measure(ctx context.Context) error {
	b.turns = map[benchCase]map[string][]turnResult{}
	b.speed = map[dkim.Algorithm][]float64{}
	b.soaks = map[string]soakResult{}
	for i, c := range b.cases() {
		if err := b.measureCase(ctx, fmt.Sprintf("case %d of %d", i+1, len(b.cases())), c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	b.say("a body of 1 MB in this process")
	b.body = measureBody(3 * b.rounds)
	for _, c := range b.contestants {
		if b.soak > 0 && c.algorithm == dkim.RSA && c.name != openDKIM {
			if err := b.soakOne(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) measureCase(ctx context.Context, where string, c benchCase) error {
	field := slices.DeleteFunc(slices.Clone(b.contestants), func(x *contestant) bool { return x.algorithm != c.algorithm })
	message := load.NewMessage(sender, c.size)
	results := map[string][]turnResult{}
	b.turns[c] = results
	for _, x := range field {
		if err := b.warm(ctx, x, x.job(c, message)); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for i := range field { // another first in each round
			x := field[(i+round)%len(field)]
			r, err := b.turn(ctx, x, x.job(c, message))
			if err != nil {
				return err
			}
			results[x.name] = append(results[x.name], r)
		}
		if c.size == target.size && c.sessions == target.sessions {
			rate, err := opensslSpeed(ctx, c.algorithm, b.slice)
			if err != nil {
				return err
			}
			b.speed[c.algorithm] = append(b.speed[c.algorithm], rate)
		}
		b.say(where+":", c.String()+",", "round", fmt.Sprint(round+1), "of", fmt.Sprint(b.rounds)+":", latest(field, results))
	}
	return nil
}

// warm lets a contestant begin, and somebody else judge what it signs.
func (b *bench) warm(ctx context.Context, x *contestant, job load.Job) error {
	r, err := load.For(ctx, job, b.slice/5)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", x.name, err, x.Tail(5))
	}
	if err := verify(job.Message, r.Signature, b.pairs[x.algorithm]); err != nil {
		return fmt.Errorf("the signature of %s does not verify: %w", x.name, err)
	}
	return nil
}

func (b *bench) turn(ctx context.Context, x *contestant, job load.Job) (turnResult, error) {
	before := x.processorTime()
	r, err := load.For(ctx, job, b.slice)
	if err != nil {
		return turnResult{}, fmt.Errorf("%s: %w\n%s", x.name, err, x.Tail(5))
	}
	spent := x.processorTime() - before
	return turnResult{
		rate: r.Rate(), p50: milliseconds(r.Quantile(.5)), p99: milliseconds(r.Quantile(.99)),
		cpu: milliseconds(spent) / float64(r.Messages),
	}, nil
}

func (x *contestant) job(c benchCase, m load.Message) load.Job {
	return load.Job{Socket: x.socket, Sessions: c.sessions, Message: m, PerConnection: perConnection}
}

// soakResult is the memory of a contestant in MB on its way through many messages.
type soakResult struct {
	messages int
	resident []float64 // after each tenth
}

// soakOne sends many messages through one contestant and looks at its memory after each tenth of them.
func (b *bench) soakOne(ctx context.Context, x *contestant) error {
	message := load.NewMessage(sender, target.size)
	var s soakResult
	for range 10 {
		r, err := load.Count(ctx, x.job(target, message), b.soak/10)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", x.name, err, x.Tail(5))
		}
		s.messages += r.Messages
		s.resident = append(s.resident, x.residentMB())
		b.say(x.name+":", fmt.Sprintf("%d messages, %.1f MB resident", s.messages, s.resident[len(s.resident)-1]))
	}
	b.soaks[x.name] = s
	return nil
}

// say shows that the run is alive.
func (b *bench) say(words ...string) {
	fmt.Fprintf(os.Stderr, "%5.0f s ", time.Since(b.begun).Seconds())
	for _, w := range words {
		fmt.Fprint(os.Stderr, " ", w)
	}
	fmt.Fprintln(os.Stderr)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
