// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// DNS looks names up as receivers do: without an error there is no value for what is not there. dnscheck.Inquiry is one.
type DNS interface {
	Lookup(ctx context.Context, name dnsrecord.Name, t dnsrecord.Type) ([]string, error)
}

// Bounds of an evaluation; each included record belongs to somebody else.
const (
	maxMailHosts = 10 // of one mx: more is permerror (RFC 7208 §4.6.4)
	// mostLookups is where counting ends: a tree that goes on has been beyond the limit for long.
	mostLookups = 100
)

// Tree is what an SPF record costs a receiver at worst: every term is tried, because no earlier one matched.
type Tree struct {
	// Lookups are the terms that ask the DNS, in this record and in all that it includes; counting ends at 100.
	Lookups int
	// VoidLookups are the questions without an answer, for senders of the address family that meets more of them.
	VoidLookups int
	// Terms are those of the record itself that cost something, in their order, each with all that it leads to.
	Terms []Term
	// PermError is why receivers give the record up whatever the counts are, in stable words; "" if nothing is wrong.
	PermError string
	// Unread names what could not be looked up; then nothing else here means anything.
	Unread string
}

// Term is one of the record's terms, as it stands there.
type Term struct {
	Text                 string
	Lookups, VoidLookups int
}

// The families of sending addresses. Each makes another question of a and mx (RFC 7208 §5).
const (
	ip4 = iota
	ip6
	families
)

// cost is what a term leads to.
type cost struct {
	lookups int
	voids   [families]int
	passes  [families]bool // an address of the family can pass
}

func (c *cost) add(o cost) {
	c.lookups += o.lookups
	for f := range families {
		c.voids[f] += o.voids[f]
		c.passes[f] = c.passes[f] || o.passes[f]
	}
}

// walk is one evaluation.
type walk struct {
	dns     DNS
	lookups int
	tree    Tree
	asked   map[question][]string
}

type question struct {
	name dnsrecord.Name
	t    dnsrecord.Type
}

// Evaluate follows the SPF record of a domain into everything that it includes (RFC 7208 §4.6.4). What depends on the
// sender, such as include:%{i}.example.net, counts as one lookup, and nobody knows what it leads to.
func Evaluate(ctx context.Context, dns DNS, domain dnsrecord.Name, record spf.Record) Tree {
	w := &walk{dns: dns, asked: map[question][]string{}}
	terms, costs := w.record(ctx, record, []dnsrecord.Name{domain})
	var whole cost
	for _, c := range costs {
		whole.add(c)
	}
	family := worst(whole)
	w.tree.Lookups, w.tree.VoidLookups = whole.lookups, whole.voids[family]
	for i, c := range costs {
		if c.lookups > 0 {
			w.tree.Terms = append(w.tree.Terms, Term{Text: terms[i], Lookups: c.lookups, VoidLookups: c.voids[family]})
		}
	}
	return w.tree
}

// worst is the family that meets more questions without an answer. One of which no address can pass is nobody's loss.
func worst(c cost) int {
	if c.passes[ip6] && (!c.passes[ip4] || c.voids[ip6] > c.voids[ip4]) {
		return ip6
	}
	return ip4
}

// ends says that what follows would change nothing.
func (w *walk) ends() bool { return w.tree.Unread != "" || w.lookups >= mostLookups }

func (w *walk) permError(format string, args ...any) {
	if w.tree.PermError == "" {
		w.tree.PermError = fmt.Sprintf(format, args...)
	}
}

// record goes through the terms that may be tried, and says what each costs. path are the domains that led here, the
// record's own last.
func (w *walk) record(ctx context.Context, r spf.Record, path []dnsrecord.Name) (terms []string, costs []cost) {
	for _, m := range r.Mechanisms {
		if m.Name == spf.All { // what follows is never tried, and redirect is ignored (§5.1)
			return terms, costs
		}
		if w.ends() {
			return terms, costs
		}
		terms, costs = append(terms, m.String()), append(costs, w.mechanism(ctx, m, path))
	}
	if r.Redirect != "" && !w.ends() {
		term := "redirect=" + r.Redirect
		terms, costs = append(terms, term), append(costs, w.follow(ctx, r.Redirect, path))
	}
	return terms, costs
}

func (w *walk) mechanism(ctx context.Context, m spf.Mechanism, path []dnsrecord.Name) cost {
	var c cost
	pass := m.Qualifier == spf.Pass
	switch m.Name {
	case spf.IP4:
		c.passes[ip4] = pass
	case spf.IP6:
		c.passes[ip6] = pass
	case spf.Include:
		return w.follow(ctx, m.Domain, path)
	case spf.A:
		c = w.one()
		if name, known := w.target(m.Domain, path); known {
			c.add(w.addresses(ctx, name, pass))
		}
	case spf.MX:
		c = w.one()
		if name, known := w.target(m.Domain, path); known {
			c.add(w.mailHosts(ctx, name, pass))
		}
	case spf.Exists: // always a question for A (§5.7)
		c = w.one()
		if name, known := w.target(m.Domain, path); known {
			c.add(w.nothing(ctx, name, dnsrecord.A))
		}
	case spf.PTR: // of names that only the sender knows
		c = w.one()
	case spf.All:
	}
	return c
}

// one counts a term that asks the DNS.
func (w *walk) one() cost {
	w.lookups++
	return cost{lookups: 1}
}

// follow goes into the record of include and redirect.
func (w *walk) follow(ctx context.Context, domainSpec string, path []dnsrecord.Name) cost {
	c := w.one()
	name, known := w.target(domainSpec, path)
	switch {
	case !known:
		return c
	case slices.Contains(path, name):
		w.permError("the SPF record of %s includes itself", name)
		return c
	}
	values, ok := w.lookup(ctx, name, dnsrecord.TXT)
	if !ok {
		return c
	}
	if len(values) == 0 {
		c.voids[ip4], c.voids[ip6] = 1, 1
	}
	records := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !spf.Is(v) })
	switch len(records) {
	case 0:
		w.permError("%s has no SPF record (RFC 7208 section 5.2)", name)
		return c
	case 1:
	default:
		w.permError("%s has more than one SPF record (RFC 7208 section 4.5)", name)
		return c
	}
	record, err := spf.Parse(records[0])
	if err != nil {
		w.permError("the record of %s cannot be read: %s", name, err)
		return c
	}
	_, costs := w.record(ctx, record, append(slices.Clone(path), name))
	for _, o := range costs {
		c.add(o)
	}
	return c
}

// addresses asks, as a receiver does, for either family of the sender's address.
func (w *walk) addresses(ctx context.Context, name dnsrecord.Name, pass bool) cost {
	var c cost
	for f, t := range [families]dnsrecord.Type{ip4: dnsrecord.A, ip6: dnsrecord.AAAA} {
		found, ok := w.lookup(ctx, name, t)
		switch {
		case !ok:
		case len(found) == 0:
			c.voids[f] = 1
		default:
			c.passes[f] = pass
		}
	}
	return c
}

// nothing counts a question of either family that has no answer.
func (w *walk) nothing(ctx context.Context, name dnsrecord.Name, t dnsrecord.Type) cost {
	if found, ok := w.lookup(ctx, name, t); ok && len(found) == 0 {
		return cost{voids: [families]int{1, 1}}
	}
	return cost{}
}

func (w *walk) mailHosts(ctx context.Context, name dnsrecord.Name, pass bool) cost {
	hosts, ok := w.lookup(ctx, name, dnsrecord.MX)
	var c cost
	switch {
	case !ok:
	case len(hosts) == 0:
		c.voids = [families]int{1, 1}
	case len(hosts) > maxMailHosts:
		w.permError("%s has more than %d mail hosts (RFC 7208 section 4.6.4)", name, maxMailHosts)
	default:
		for _, host := range hosts {
			if host != "" && !w.ends() { // the root is the host of those who take no mail (RFC 7505)
				c.add(w.addresses(ctx, dnsrecord.Name(host), pass))
			}
		}
	}
	return c
}

// lookup asks once in an evaluation. Beyond the limit only what says how far beyond it is worth a question.
func (w *walk) lookup(ctx context.Context, name dnsrecord.Name, t dnsrecord.Type) (values []string, ok bool) {
	if w.tree.Unread != "" || w.lookups > spf.MaxLookups && t != dnsrecord.TXT {
		return nil, false
	}
	q := question{name, t}
	if values, ok := w.asked[q]; ok {
		return values, true
	}
	values, err := w.dns.Lookup(ctx, name, t)
	if err != nil {
		w.tree.Unread = fmt.Sprintf("%s (%s)", name, t)
		return nil, false
	}
	w.asked[q] = values
	return values, true
}

// target is the name that a domain-spec means; not known where it depends on the sender (§7.2).
func (w *walk) target(domainSpec string, path []dnsrecord.Name) (name dnsrecord.Name, known bool) {
	if domainSpec == "" {
		return path[len(path)-1], true
	}
	expanded := strings.NewReplacer(
		"%{d}", string(path[len(path)-1]), "%{D}", string(path[len(path)-1]),
		"%{o}", string(path[0]), "%{O}", string(path[0]),
	).Replace(domainSpec)
	if strings.Contains(expanded, "%") {
		return "", false
	}
	name, err := dnsrecord.ParseName(expanded)
	if err != nil {
		w.permError("%s", err)
	}
	return name, err == nil && name != ""
}
