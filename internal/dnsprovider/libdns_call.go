// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"regexp"
)

// caller calls a module that may ignore its context, panic, hang for ever, and print its credentials into an error. One
// call is under way at a time: what a caller gave up may still be carried out, and must not meet another.
type caller struct {
	*generic
	busy chan struct{}
}

func newCaller(d *generic) *caller { return &caller{generic: d, busy: make(chan struct{}, 1)} }

// do returns when f has, or when the context ends.
func (c *caller) do(ctx context.Context, f func(context.Context) error) error {
	if err := turn(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, libdnsCallTimeout)
	select {
	case c.busy <- struct{}{}:
	case <-ctx.Done():
		cancel()
		return c.fail(Unreachable, ctx.Err(), "a call that was given up is still under way")
	}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		defer func() { <-c.busy }()
		done <- guarded(func() error { return f(ctx) })
	}()
	select {
	case err := <-done:
		return c.explain(err)
	case <-ctx.Done():
	}
	select {
	case err := <-done: // its end is what ended the context
		return c.explain(err)
	default:
		return c.fail(Unreachable, ctx.Err(), "no answer in time")
	}
}

// The modules' errors are texts. These words are in what providers answer to bad credentials and to too many requests.
var (
	saysUnauthorized = regexp.MustCompile(`(?i)\b(401|403|unauthori[sz]ed|forbidden|authentication|invalid (api )?(token|key|credential))`)
	saysThrottled    = regexp.MustCompile(`(?i)\b(429|too many requests|rate.?limit|throttl)`)
)

func (c *caller) explain(err error) error {
	if err == nil {
		return nil
	}
	reason, text := Unknown, plain(err)
	switch {
	case saysUnauthorized.MatchString(err.Error()):
		reason = Unauthorized
	case saysThrottled.MatchString(err.Error()):
		reason = Throttled
	}
	return c.fail(reason, err, "%s", text)
}
