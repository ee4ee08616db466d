// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// delegation finds out which name servers the parent of a name's zone and the zone itself name. Only a walk from the
// root can tell: resolvers and servers that a policy gives stand for a world that the parent knows nothing of.
func (s *surveyor) delegation(ctx context.Context, w walk, name dnsrecord.Name, p Policy) (node, error) {
	n := node{name: name}
	if p.mode() != Authoritative || len(p.Nameservers) > 0 {
		n.failure = "the delegation of " + name.String() + " cannot be seen with this spec.verification of the provider"
		return n, nil
	}
	z, err := w.zone(ctx, name)
	if fatal := fatal(ctx, err); fatal != nil && !errors.Is(fatal, errExhausts) {
		return n, fatal
	}
	if err != nil {
		n.failure = fmt.Sprintf("the name servers for %s cannot be found: %v", name, err)
		return n, nil
	}
	n.zone, n.notes, n.names, n.ttl = z.Apex, z.Notes, union(z.ParentNS, z.ChildNS), z.NSTTL
	return n, nil
}

// judgeDelegation: what was found is what is so.
func judgeDelegation(s survey) finding {
	n := s.nodes[0]
	if n.failure != "" {
		return finding{state: Unreachable, message: n.failure}
	}
	return finding{state: Verified, zone: n.zone, names: n.names, nsTTL: n.ttl, notes: n.notes}
}
