// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// keyID stands for a key pair. What stands under a selector is the id of the one that its record speaks of.
type keyID int

const (
	absent keyID = 0  // no record
	empty  keyID = -1 // the tombstone
)

// dkimKey is a DKIMKey as the API server holds it.
type dkimKey struct {
	name, selector string
	algorithm      dkim.Algorithm
	bits           int
	created        time.Time
	adopted        bool

	intent  rotation.Intent
	revoked bool

	pair                                      keyID // status: the key pair's hash
	asked                                     keyID // status: what the provider was asked to hold
	published, verified, usable, signingSince time.Time
	retired, emptied, removed                 time.Time

	version int
}

// signingSecret is what signers mount: the key pair of each selector, and whether mail without a signature may leave.
type signingSecret struct {
	keys     map[string]keyID
	required bool
}

// spec is what the person asks of the MailDomain, and what its status remembers.
type mailDomain struct {
	keys      []rotation.WantedKey
	revoked   map[string]bool
	asked     time.Time // the annotation maildomain.dev/rotate
	undo      time.Time // the annotation maildomain.dev/rotate-undo
	suspended bool

	handled time.Time
	used    map[string]bool // selectors that were ever given
}

// version is one state of an object and when caches show it.
type version[T any] struct {
	at    time.Time
	value T
}

// watched is an object of the API server and its copy in a cache, which lags behind.
type watched[T any] struct {
	live     T
	versions []version[T] // oldest first; the first is what the cache shows
}

func (o *watched[T]) set(value T, visible time.Time) {
	o.live = value
	if n := len(o.versions); n > 0 && visible.Before(o.versions[n-1].at) {
		visible = o.versions[n-1].at // a watch tells in order
	}
	o.versions = append(o.versions, version[T]{at: visible, value: value})
}

// cached is what the cache shows now, and whether that is outdated. ok is false if the object is not in it yet.
func (o *watched[T]) cached(now time.Time) (value T, stale, ok bool) {
	for len(o.versions) > 1 && !o.versions[1].at.After(now) {
		o.versions = o.versions[1:]
	}
	if len(o.versions) == 0 || o.versions[0].at.After(now) {
		return value, true, false
	}
	return o.versions[0].value, len(o.versions) > 1, true
}

// cluster is the API server, and the operator's caches of it.
type cluster struct {
	domain  mailDomain
	keys    map[string]*watched[*dkimKey] // by name; nil values are deletions
	names   []string                      // of them, sorted
	version int                           // of the object that was written last
	signing watched[signingSecret]
	secrets map[string]keyID // private keys, by the DKIMKey's name
}

func newCluster() cluster {
	c := cluster{keys: map[string]*watched[*dkimKey]{}, secrets: map[string]keyID{}}
	c.domain.revoked, c.domain.used = map[string]bool{}, map[string]bool{}
	c.signing.set(signingSecret{}, start)
	return c
}

// live lists the keys as the API server has them.
func (c *cluster) live() []*dkimKey {
	var keys []*dkimKey
	for _, name := range c.names {
		if k := c.keys[name].live; k != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// byName is a key as the API server has it; nil if there is none.
func (c *cluster) byName(name string) *dkimKey {
	if o := c.keys[name]; o != nil {
		return o.live
	}
	return nil
}

// put stores a new version of a key.
func (c *cluster) put(k dkimKey, visible time.Time) {
	o := c.keys[k.name]
	if o == nil {
		o = &watched[*dkimKey]{}
		c.keys[k.name] = o
		c.names = append(c.names, k.name)
		slices.Sort(c.names)
	}
	c.version++
	k.version = c.version
	o.set(&k, visible)
}

// cached lists the keys as caches show them, and tells whether any of that is outdated.
func (c *cluster) cached(now time.Time) (keys []*dkimKey, stale bool) {
	for _, name := range c.names {
		o := c.keys[name]
		k, old, ok := o.cached(now)
		stale = stale || old
		switch {
		case k != nil:
			keys = append(keys, k)
		case ok && !old: // its deletion was seen
			delete(c.keys, name)
		}
	}
	c.names = slices.DeleteFunc(c.names, func(name string) bool { return c.keys[name] == nil })
	return keys, stale
}

func (s signingSecret) clone() signingSecret {
	return signingSecret{keys: maps.Clone(s.keys), required: s.required}
}

// cacheLag is how long a cache takes to hear of a write: a moment, and now and then much longer.
func cacheLag(rng *rand.Rand) time.Duration {
	if rng.Float64() < 0.02 {
		return time.Duration(rng.IntN(120)) * time.Second
	}
	return time.Duration(rng.IntN(2000)) * time.Millisecond
}
