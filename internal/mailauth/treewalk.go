// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"fmt"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// maxWalk is how many names one walk asks: the domain, then those of seven labels and fewer (RFC 9989 §4.10).
const maxWalk = 8

// treeWalker finds DMARC records by the DNS Tree Walk of RFC 9989 §4.10. It asks for each name once.
type treeWalker struct {
	dns  Resolver
	seen map[dnsrecord.Name]dmarcAnswer
}

// dmarcAnswer is what stands at _dmarc.<name>.
type dmarcAnswer struct {
	found  bool // one record that says v=DMARC1
	record dmarc.Record
	broken error // of that record: no policy can be taken from it
	err    error // the DNS says nothing now
}

// dmarcFound is a record of a walk. The zero value is none.
type dmarcFound struct {
	domain dnsrecord.Name
	dmarcAnswer
}

// at asks for the record at one name. Several are none (RFC 9989 §4.10).
func (w *treeWalker) at(ctx context.Context, name dnsrecord.Name) dmarcAnswer {
	if a, asked := w.seen[name]; asked {
		return a
	}
	a := w.ask(ctx, name)
	w.seen[name] = a
	return a
}

func (w *treeWalker) ask(ctx context.Context, name dnsrecord.Name) dmarcAnswer {
	owner := name.Child("_dmarc").String()
	values, err := w.dns.LookupTXT(ctx, owner)
	switch {
	case notFound(err):
		return dmarcAnswer{}
	case err != nil:
		return dmarcAnswer{err: fmt.Errorf("%s cannot be asked for now: %s", owner, problem(err))}
	}
	values = slices.DeleteFunc(slices.Clone(values), func(value string) bool { return !dmarc.Is(value) })
	if len(values) != 1 {
		return dmarcAnswer{}
	}
	a := dmarcAnswer{found: true}
	if a.record, err = dmarc.Parse(values[0]); err != nil {
		a.broken = fmt.Errorf("no policy can be taken from %s: %w", owner, err)
	}
	return a
}

// walk lists the records from a domain upwards, the longest name first, up to one that says psd=n, or psd=y above the
// domain itself.
func (w *treeWalker) walk(ctx context.Context, start dnsrecord.Name) ([]dmarcFound, error) {
	var records []dmarcFound
	for name := start; !name.IsRoot(); name = above(name) {
		a := w.at(ctx, name)
		if a.err != nil {
			return records, a.err
		}
		if !a.found {
			continue
		}
		records = append(records, dmarcFound{name, a})
		if a.record.PSD == dmarc.PSDNo || a.record.PSD == dmarc.PSDYes && name != start {
			break
		}
	}
	return records, nil
}

// above is the next name of a walk: one label less, but never more than seven.
func above(name dnsrecord.Name) dnsrecord.Name {
	name = name.Parent()
	for len(name.Labels()) >= maxWalk {
		name = name.Parent()
	}
	return name
}

// policy finds the record whose policy is the author's: at the domain, else at its organisational domain, else at its
// public suffix (RFC 9989 §4.10.1). With an error about a record, that record's domain is named.
func (w *treeWalker) policy(ctx context.Context, author dnsrecord.Name) (dmarcFound, error) {
	if a := w.at(ctx, author); a.err != nil || a.found {
		if a.err != nil {
			return dmarcFound{}, a.err
		}
		return dmarcFound{author, a}, a.broken
	}
	records, err := w.walk(ctx, author)
	if err != nil || len(records) == 0 {
		return dmarcFound{}, err
	}
	organisation := organisationOf(author, records)
	at := slices.IndexFunc(records, func(f dmarcFound) bool { return f.domain == organisation })
	if at < 0 { // A public suffix has the only record above an organisational domain without one.
		at = len(records) - 1
	}
	return records[at], records[at].broken
}

// organisation is the organisational domain of a domain (RFC 9989 §4.10.2).
func (w *treeWalker) organisation(ctx context.Context, domain dnsrecord.Name) (dnsrecord.Name, error) {
	records, err := w.walk(ctx, domain)
	if err != nil {
		return "", err
	}
	records = slices.DeleteFunc(records, func(f dmarcFound) bool { return f.broken != nil })
	return organisationOf(domain, records), nil
}

// organisationOf selects the organisational domain from the records of a walk that began at start, longest name first.
func organisationOf(start dnsrecord.Name, records []dmarcFound) dnsrecord.Name {
	for _, f := range records {
		switch {
		case f.record.PSD == dmarc.PSDNo:
			return f.domain
		case f.record.PSD == dmarc.PSDYes && f.domain != start:
			return oneBelow(start, f.domain)
		}
	}
	if len(records) == 0 {
		return start
	}
	return records[len(records)-1].domain
}

// oneBelow is the name one label below suffix on the way to start.
func oneBelow(start, suffix dnsrecord.Name) dnsrecord.Name {
	for name := start; ; name = name.Parent() {
		if name.Parent() == suffix {
			return name
		}
	}
}
