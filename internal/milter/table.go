// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
)

// Table is who signs with what, as it was at one moment. It never changes.
type Table struct {
	// Read is when the key tree was last read.
	Read time.Time
	// Blind is why domains may exist that the table does not have: a directory is missing or empty.
	Blind string
	// Faults are what is wrong with directories, files and domains, sorted.
	Faults []Fault

	entries map[dnsrecord.Name]*Entry
}

// Fault is one thing that is wrong with the key tree.
type Fault struct {
	Subject string `json:"subject"` // a directory, a file or a domain
	Message string `json:"message"`
}

// Entry is one domain of a table.
type Entry struct {
	keydir.Domain

	// Since is when the domain took this form.
	Since time.Time
	// Fault is why the domain could not be read the last time; what it had then holds.
	Fault string
	// Unread marks a domain that was never read well: nothing is known but that it exists.
	Unread bool

	dir      string // that it was read from the last time
	keySince []time.Time
	keys     []mailauth.Key    // that sign
	unused   map[string]string // selectors of keys that do not, and why
}

// choose lets all keys sign but those that public DNS contradicts.
func (e *Entry) choose(known map[keyID]publication) {
	e.keys, e.unused = nil, unused(e.Domain, known)
	for _, k := range e.Keys {
		if e.unused[k.Selector] == "" {
			e.keys = append(e.keys, mailauth.Key{Selector: k.Selector, Algorithm: k.Pair.Algorithm(), Signer: k.Pair.Signer()})
		}
	}
}

// Find returns the entry that speaks for a domain: its own, or that of the
// nearest parent that has one, if it allows sub-domains. Nil: nobody speaks for it.
func (t *Table) Find(domain dnsrecord.Name) *Entry {
	for name := domain; !name.IsRoot(); name = name.Parent() {
		e := t.entries[name]
		switch {
		case e == nil:
		case name == domain || e.Subdomains || e.Unread: // It may allow them: unknown is not absent.
			return e
		default:
			return nil
		}
	}
	return nil
}

// Entries lists the domains of the table by name.
func (t *Table) Entries() []*Entry {
	entries := make([]*Entry, 0, len(t.entries))
	for _, e := range t.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *Entry) int { return strings.Compare(a.Domain.Domain.String(), b.Domain.Domain.String()) })
	return entries
}

// Empty tells whether the table has no domain.
func (t *Table) Empty() bool { return len(t.entries) == 0 }

// Live holds the table that new messages begin with.
type Live struct {
	// RequireSenders makes a domain without senders a fault: several tenants share the tree.
	RequireSenders bool

	mu    sync.Mutex // of Apply and of what follows
	known map[keyID]publication
	table atomic.Pointer[Table]
}

// Table returns the table of now, never nil.
func (l *Live) Table() *Table {
	if t := l.table.Load(); t != nil {
		return t
	}
	return &Table{Blind: "the key tree was not read yet"}
}

// Change is what a reading changed about one domain.
type Change struct {
	Domain dnsrecord.Name
	Entry  *Entry // nil: the domain left the tree
}

// Apply takes what the directories say and returns what it changed, sorted by domain.
//
// Each domain swaps on its own. One that cannot be read keeps what it had, and
// says so; one that never could be read is there as Unread, so that its mail
// waits. What a directory held goes when the directory is missing or empty, and
// stays when it is there and could not be read.
func (l *Live) Apply(sources []keydir.Source, now time.Time) []Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.Table()
	next := &Table{Read: now, entries: map[dnsrecord.Name]*Entry{}}
	found := l.collect(old, next, sources)
	for name, f := range found {
		e := nextEntry(old.entries[name], f, name, now)
		e.choose(l.known)
		next.entries[name] = e
		if f.fault != "" {
			next.Faults = append(next.Faults, Fault{name.String(), f.fault})
		}
	}
	if next.Blind == "" && next.Empty() {
		next.Blind = "the key tree holds no domain"
	}
	slices.SortFunc(next.Faults, func(a, b Fault) int { return strings.Compare(a.Subject+"\x00"+a.Message, b.Subject+"\x00"+b.Message) })
	l.table.Store(next)
	return changes(old, next)
}

// reading is what one domain's files said.
type reading struct {
	domain keydir.Domain
	fault  string
	dir    string
}

// readings are what all directories say of each domain.
type readings map[dnsrecord.Name]reading

// add takes what one directory says of a domain; two of them contradict each other.
func (rs readings) add(name dnsrecord.Name, r reading) {
	if other, twice := rs[name]; twice {
		r.fault = fmt.Sprintf("is in %s and in %s: take it out of one", other.dir, r.dir)
	}
	rs[name] = r
}

// keep makes the domains of directories that are there and cannot be read stay
// as they were: too many open files must not stop the mail of good keys. What
// another directory has now is that one's.
func (rs readings) keep(old *Table, sources []keydir.Source) {
	why := map[string]error{}
	for _, s := range sources {
		if err := s.Tree.Unreadable; err != nil && !errors.Is(err, fs.ErrNotExist) {
			why[s.Dir] = err
		}
	}
	for name, e := range old.entries {
		if _, elsewhere := rs[name]; why[e.dir] != nil && !elsewhere {
			rs[name] = reading{fault: why[e.dir].Error(), dir: e.dir}
		}
	}
}

// collect brings the directories together and notes the faults that are no domain's.
func (l *Live) collect(old, next *Table, sources []keydir.Source) readings {
	found := readings{}
	if len(sources) == 0 {
		next.Blind = "no key directory is given"
	}
	for _, s := range sources {
		switch {
		case s.Tree.Unreadable != nil:
			next.blind(s.Dir, s.Tree.Unreadable.Error())
		case s.Tree.Empty():
			next.blind(s.Dir, "the key directory holds no domain")
		}
		for name, d := range s.Tree.Domains {
			found.add(name, l.read(d, s.Dir))
		}
		for subject, err := range s.Tree.Problems {
			if name, isDomain := problemDomain(subject); isDomain {
				found.add(name, reading{fault: err.Error(), dir: s.Dir})
			} else {
				next.Faults = append(next.Faults, Fault{subject, err.Error()})
			}
		}
	}
	found.keep(old, sources)
	return found
}

// read is what a domain without fault says, unless it lacks what this signer requires.
func (l *Live) read(d keydir.Domain, dir string) reading {
	r := reading{domain: d, dir: dir}
	if l.RequireSenders && d.Senders == nil {
		r.fault = "has no senders: they are required where several tenants share a signer"
	}
	return r
}

// problemDomain tells whether the subject of a Problem is a domain; otherwise it is a file.
func problemDomain(subject string) (dnsrecord.Name, bool) {
	if strings.HasSuffix(subject, ".json") {
		return "", false
	}
	name, err := dnsrecord.ParseDomain(subject)
	return name, err == nil
}

func (t *Table) blind(dir, why string) {
	if t.Blind == "" {
		t.Blind = dir + ": " + why
	}
	t.Faults = append(t.Faults, Fault{dir, why})
}

// nextEntry is what a domain becomes by a reading.
func nextEntry(old *Entry, r reading, name dnsrecord.Name, now time.Time) *Entry {
	switch {
	case r.fault == "":
		return newEntry(old, r, now)
	case old == nil:
		return &Entry{Domain: keydir.Domain{Domain: name, Required: true}, Since: now, Fault: r.fault, Unread: true, dir: r.dir}
	}
	kept := *old
	kept.Fault, kept.dir = r.fault, r.dir
	return &kept
}

// newEntry takes a domain as it was read; what did not change keeps its date.
func newEntry(old *Entry, r reading, now time.Time) *Entry {
	d := r.domain
	e := &Entry{Domain: d, Since: now, dir: r.dir}
	e.Keys = slices.Clone(d.Keys)
	if old != nil && sameDomain(old.Domain, d) && !old.Unread {
		e.Since = old.Since
	}
	for i, k := range d.Keys {
		k, since := hold(old, k, now)
		e.Keys[i] = k
		e.keySince = append(e.keySince, since)
	}
	return e
}

// hold hands a key to what signs with it, and tells since when it is here. One that was here before stays as it is, so
// that each private key is in memory once, however often the tree is read.
func hold(old *Entry, k keydir.Key, now time.Time) (keydir.Key, time.Time) {
	if old != nil {
		if i := slices.IndexFunc(old.Keys, func(o keydir.Key) bool { return sameKey(o, k) }); i >= 0 {
			return old.Keys[i], old.keySince[i]
		}
	}
	k.Pair = rsasign.Hold(k.Pair)
	return k, now
}

func sameKey(a, b keydir.Key) bool {
	return a.Selector == b.Selector && a.Pair.PublicKeySHA256() == b.Pair.PublicKeySHA256()
}

func sameDomain(a, b keydir.Domain) bool {
	return a.Required == b.Required && a.Subdomains == b.Subdomains && reflect.DeepEqual(a.Senders, b.Senders) &&
		slices.EqualFunc(a.Keys, b.Keys, sameKey)
}

// changes lists the domains that differ between two tables.
func changes(old, next *Table) []Change {
	var out []Change
	for name, e := range next.entries {
		o := old.entries[name]
		if o == nil || !sameDomain(o.Domain, e.Domain) || o.Fault != e.Fault || o.Unread != e.Unread {
			out = append(out, Change{name, e})
		}
	}
	for name := range old.entries {
		if next.entries[name] == nil {
			out = append(out, Change{name, nil})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Domain.String(), b.Domain.String()) })
	return out
}
