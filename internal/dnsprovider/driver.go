// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnsprovider reads and writes zones at DNS providers. It is the only
// door to them, and it assumes nothing: read, plan, change little, read back.
//
//	controllers ──Submit──► Queue ──► one worker per (account, zone) ──► Zone of a Driver
//	            ◄──Wake───        ◄── read, marker, write, read back ◄──
package dnsprovider

import (
	"context"
	"errors"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Driver speaks to one account at a provider. Safe for concurrent use.
type Driver interface {
	// Zones lists the zones that the account holds; ErrUnsupported if the provider has no such list.
	Zones(ctx context.Context) ([]dnsrecord.Name, error)
	// Check tries the credentials on these zones (on the account alone if there are none).
	Check(ctx context.Context, zones []dnsrecord.Name) error
	// Zone returns the zone of this name, without asking whether it exists.
	Zone(name dnsrecord.Name) Zone
	// MinimumTTL is the lowest TTL in seconds that the provider takes; 0 if any.
	MinimumTTL() uint32
}

// Broad is a Driver to which many names cost little more than few: it lists zones and changes them in batches.
type Broad interface {
	// Batch is how many submissions one round may carry out.
	Batch() int
}

// Reserved is a Driver that leaves some records to a person.
type Reserved interface {
	// Refuses says why this change, which a wish asks for, is not made here, and what to do; "" if it may be.
	Refuses(zone dnsrecord.Name, w dnsplan.Wish, c dnsplan.Change) string
}

// Zone reads and changes one zone. The queue uses it from one goroutine at a time.
type Zone interface {
	// Read returns an entry for each question that was answered, an empty one
	// if nothing stands there, never what a wildcard made up. A question without
	// an entry was not answered, and the error then says why. CNAME, DNAME and NS
	// sets (zone cuts) that stand in the way of a name are added under their own keys.
	Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error)
	// Apply makes the changes, each only while its prerequisite stands, as far as
	// the provider can tell. It returns one error per change, nil for those made;
	// one that fails never stops another. ErrChanged says that the prerequisite
	// does not stand any more.
	Apply(ctx context.Context, changes []dnsplan.Change) []error
}

// Settler is a Zone that knows when what was applied has reached all of its name servers.
type Settler interface {
	// Settle returns when everything that was applied is served everywhere.
	Settle(ctx context.Context) error
}

// Question names one RRset to read.
type Question = dnsplan.Key

var (
	// ErrUnsupported says that a provider has no such function.
	ErrUnsupported = errors.New("this provider cannot do that")
	// ErrChanged says that a name does not hold any more what was read there.
	ErrChanged = errors.New("the record was changed by someone else in the meantime")
	// ErrByHand says that a person makes the changes of this zone.
	ErrByHand = errors.New("the records of this zone are made by hand")
)
