// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"sync"

	"golang.org/x/time/rate"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

const (
	defaultRate  = 4
	defaultBurst = 8
)

// ProviderKey names a DNSProvider or ClusterDNSProvider object.
type ProviderKey struct{ Kind, Namespace, Name string }

// Account is an opened provider: what Open returns and the DNSProvider controller keeps.
type Account struct {
	Driver Driver
	// Fingerprint tells accounts apart: driver, endpoint and credentials, hashed.
	// Provider objects with the same one share workers and rate limit.
	Fingerprint string
	// RequestsPerSecond and Burst limit the calls to the provider; 0 is the default (4 and 8).
	RequestsPerSecond float64
	Burst             int
	// Experimental says what has not been proven of the driver; "" if it has passed the conformance suite.
	Experimental string

	limiter *rate.Limiter
}

// String names the account without telling anything about it.
func (a *Account) String() string { return "DNS provider account" }

// GoString is String: nothing of an account belongs into a log.
func (a *Account) GoString() string { return a.String() }

// limit takes what a person wrote; what is left out stays as the driver knows it.
func (a *Account) limit(l *v1alpha1.RateLimit) {
	if l.RequestsPerSecond > 0 {
		a.RequestsPerSecond = float64(l.RequestsPerSecond)
	}
	if l.Burst > 0 {
		a.Burst = int(l.Burst)
	}
}

// Accounts are the accounts of all provider objects that are usable now. Safe for concurrent use.
type Accounts struct {
	mu       sync.Mutex
	byKey    map[ProviderKey]*Account
	limiters map[string]*rate.Limiter
	stale    map[ProviderKey]bool
	wake     *wakeSet[ProviderKey]
	changed  func(ProviderKey) // the queue's; called without the lock
}

// NewAccounts returns an empty set of accounts.
func NewAccounts() *Accounts {
	return &Accounts{
		byKey:    map[ProviderKey]*Account{},
		limiters: map[string]*rate.Limiter{},
		stale:    map[ProviderKey]bool{},
		wake:     newWakeSet[ProviderKey](),
	}
}

// Set makes an account the one of a provider object. If there was none, or one
// with another fingerprint, everything that was submitted for the object runs again.
func (a *Accounts) Set(key ProviderKey, account *Account) {
	a.mu.Lock()
	old := a.byKey[key]
	mine := *account
	mine.limiter = a.limiterFor(account)
	a.byKey[key] = &mine
	delete(a.stale, key)
	a.forgetLimiters()
	changed := a.changed
	a.mu.Unlock()
	// The same credentials once more are no reason to hurry: what they were
	// refused for waits for its next attempt.
	if changed != nil && (old == nil || old.Fingerprint != account.Fingerprint) {
		changed(key)
	}
}

// Get returns the account of a provider object.
func (a *Accounts) Get(key ProviderKey) (*Account, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account, ok := a.byKey[key]
	return account, ok
}

// Delete forgets the account of a provider object that is gone or not usable.
func (a *Accounts) Delete(key ProviderKey) {
	a.mu.Lock()
	_, had := a.byKey[key]
	delete(a.byKey, key)
	delete(a.stale, key)
	a.forgetLimiters()
	changed := a.changed
	a.mu.Unlock()
	if changed != nil && had {
		changed(key)
	}
}

// Stale asks the controller of the provider object to read its credentials
// again: the provider refused them. Set or Delete is its answer.
func (a *Accounts) Stale(key ProviderKey) {
	a.mu.Lock()
	_, ok := a.byKey[key]
	again := a.stale[key]
	if ok {
		a.stale[key] = true
	}
	a.mu.Unlock()
	if ok && !again {
		a.wake.add(key)
	}
}

// IsStale reports whether the credentials wait to be read again.
func (a *Accounts) IsStale(key ProviderKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stale[key]
}

// Wake yields the provider objects whose credentials have gone stale, each once
// until it is answered. It has one reader and runs while Queue.Start does.
func (a *Accounts) Wake() <-chan ProviderKey { return a.wake.out }

// onChange registers the queue.
func (a *Accounts) onChange(f func(ProviderKey)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = f
}

// limiterFor returns the limiter of the account's fingerprint, with its limits as they are now.
func (a *Accounts) limiterFor(account *Account) *rate.Limiter {
	limit, burst := rate.Limit(account.RequestsPerSecond), account.Burst
	if limit <= 0 {
		limit = defaultRate
	}
	if burst <= 0 {
		burst = defaultBurst
	}
	l, ok := a.limiters[account.Fingerprint]
	if !ok {
		l = rate.NewLimiter(limit, burst)
		a.limiters[account.Fingerprint] = l
		return l
	}
	if l.Limit() != limit {
		l.SetLimit(limit)
	}
	if l.Burst() != burst {
		l.SetBurst(burst)
	}
	return l
}

func (a *Accounts) forgetLimiters() {
	used := map[string]bool{}
	for _, account := range a.byKey {
		used[account.Fingerprint] = true
	}
	for fp := range a.limiters {
		if !used[fp] {
			delete(a.limiters, fp)
		}
	}
}
