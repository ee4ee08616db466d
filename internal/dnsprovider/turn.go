// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"

	"golang.org/x/time/rate"
)

type turnKey struct{}

// withTurns has whoever speaks to a provider in this context wait for the account's rate limit.
func withTurns(ctx context.Context, limiter *rate.Limiter) context.Context {
	return context.WithValue(ctx, turnKey{}, limiter)
}

// turn waits until the account may make one more request. A driver takes one for each request that its provider counts.
func turn(ctx context.Context) error {
	limiter, ok := ctx.Value(turnKey{}).(*rate.Limiter)
	if !ok {
		return nil
	}
	if err := limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return newError(Unreachable, err, "cancelled while waiting for the rate limit")
		}
		return newError(Throttled, err, "our own rate limit for this account leaves no room now")
	}
	return nil
}
