// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"errors"
	"sync"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// zoneIDs remembers by which ids a provider knows its zones. Nothing is asked under its lock: two lookups at the same
// time are one too many, not a mistake.
type zoneIDs struct {
	mu  sync.Mutex
	ids map[dnsrecord.Name]string
}

func (z *zoneIDs) get(name dnsrecord.Name) (string, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	id, ok := z.ids[name]
	return id, ok
}

func (z *zoneIDs) put(name dnsrecord.Name, id string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.ids == nil {
		z.ids = map[dnsrecord.Name]string{}
	}
	z.ids[name] = id
}

// judge forgets the id of a zone as soon as it leads nowhere: the zone may have been made anew. It returns err.
func (z *zoneIDs) judge(name dnsrecord.Name, err error) error {
	var e *Error
	if errors.As(err, &e) && (e.Reason == ZoneNotFound || e.Reason == Unauthorized) {
		z.mu.Lock()
		defer z.mu.Unlock()
		delete(z.ids, name)
	}
	return err
}
