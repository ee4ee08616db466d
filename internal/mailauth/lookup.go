// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// How many questions one message may have us ask: an honest one needs a dozen.
const (
	// maxLookups bounds those of SPF, whose own bounds (RFC 7208 §4.6.4) allow two hundred.
	maxLookups = 100
	// maxKeyLookups and maxPolicyLookups need no counting: a key for each signature; for each author a walk and whether it
	// exists, and a walk for each domain that signed or sent.
	maxKeyLookups    = maxSignatures
	maxPolicyLookups = maxAuthors*(maxWalk+1) + (maxSignatures+1)*maxWalk
)

var errBudget = errors.New("the message asks for too many DNS lookups")

// budget is a resolver that answers so many questions.
type budget struct {
	Resolver

	left atomic.Int32
}

func newBudget(r Resolver) *budget {
	b := &budget{Resolver: r}
	b.left.Store(maxLookups)
	return b
}

func (b *budget) spend() error {
	if b.left.Add(-1) < 0 {
		return errBudget
	}
	return nil
}

func (b *budget) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	return b.Resolver.LookupTXT(ctx, name)
}

func (b *budget) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	return b.Resolver.LookupMX(ctx, name)
}

func (b *budget) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	return b.Resolver.LookupIPAddr(ctx, host)
}

func (b *budget) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	return b.Resolver.LookupAddr(ctx, addr)
}

func (b *budget) Exists(ctx context.Context, name string) (bool, error) {
	if err := b.spend(); err != nil {
		return false, err
	}
	return b.Resolver.Exists(ctx, name)
}

// notFound says that the DNS answered, and that there is nothing.
func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// problem is what went wrong with the DNS, in few and stable words.
func problem(err error) string {
	var e *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	case errors.Is(err, errBudget):
		return err.Error()
	case errors.As(err, &e) && e.IsTimeout:
		return "no answer"
	case errors.As(err, &e):
		return e.Err
	}
	return "no answer"
}
