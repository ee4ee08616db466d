// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Trace is where a name leads in the public DNS:
//
//	m1._domainkey.example.org ──CNAME──► m1.acme.keys.example.net, in the zone keys.example.net
type Trace struct {
	// Aliases are those on the way, in their order; none where the record belongs at the name itself.
	Aliases []Alias
	// Name and Zone are where a record has to stand so that it is seen.
	Name, Zone dnsrecord.Name
	// Wildcard answers at Name as long as no record stands there; "" if none does.
	Wildcard dnsrecord.Name
}

// Alias is a CNAME at a name, or the part of a DNAME above it.
type Alias struct {
	From, To dnsrecord.Name
	Type     dnsrecord.Type
}

func (a Alias) String() string {
	if a.Type == dnsrecord.DNAME {
		return fmt.Sprintf("a DNAME leads from %s to %s", a.From, a.To)
	}
	return fmt.Sprintf("%s is a CNAME to %s", a.From, a.To)
}

// Trace asks one server of each zone on the way, found anew from the root on, or those that the policy names. It waits for
// them. A wildcard is never followed: a record at the name takes precedence (RFC 4592 §3.3.1).
func (p *Prober) Trace(ctx context.Context, name dnsrecord.Name, policy Policy) (Trace, error) {
	s, err := p.surveyor.survey(ctx, Target{Name: name, Type: dnsrecord.TXT}, Policy{Nameservers: policy.Nameservers}, tracing)
	if err != nil {
		return Trace{}, err
	}
	t, last, ok := s.trace()
	if ok {
		return t, nil
	}
	return Trace{}, last.deadEnd()
}

// trace follows the aliases that all servers of a name agree on, to the last node; ok says that it is the end.
func (s survey) trace() (t Trace, last *node, ok bool) {
	last = &node{}
	for at := 0; at < len(s.nodes); {
		last = &s.nodes[at]
		a, agreed := last.agreed()
		if !agreed {
			return t, last, false
		}
		if a.said != saidAlias || a.wildcard != "" {
			t.Name, t.Zone, t.Wildcard = last.name, last.zone, a.wildcard
			return t, last, true
		}
		t.Aliases = append(t.Aliases, Alias{From: last.name, To: a.alias, Type: a.aliasType})
		next := slices.IndexFunc(s.nodes, func(n node) bool { return n.name == a.alias })
		if next <= at {
			break // a circle, or too far
		}
		at = next
	}
	return t, last, false
}

// agreed is one of the answers of those servers that gave any, if no other one leads elsewhere.
func (n *node) agreed() (answer, bool) {
	var first *answer
	for i, a := range n.answers {
		switch {
		case a.said == saidNothing || a.said == saidNoRoute:
		case first == nil:
			first = &n.answers[i]
		case a.alias != first.alias || a.wildcard != first.wildcard:
			return answer{}, false
		}
	}
	if first == nil {
		return answer{}, false
	}
	return *first, true
}

// deadEnd says why a trace ends at the node.
func (n *node) deadEnd() error {
	if n.failure != "" {
		return errors.New(n.failure)
	}
	failed := &failures{}
	for _, a := range n.answers {
		if a.said == saidNothing {
			failed.add(a.server, a.detail)
		}
		if a.said == saidAlias {
			return fmt.Errorf("%s is an alias of %s, which leads in a circle or too far", n.name, a.alias)
		}
	}
	if len(failed.lines) > 0 {
		return failed
	}
	return fmt.Errorf("no server of %s can be asked", n.zone)
}
