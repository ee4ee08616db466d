// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Zone is one zone's data with its history.
//
// Every change makes a new version, so that a secondary can go on answering
// an older one. All methods may be called from several goroutines.
type Zone struct {
	origin string

	mu       sync.Mutex
	versions []*version // the last one is current; never empty
}

// historyLimit bounds how many versions a Zone remembers.
const historyLimit = 64

// version is one immutable state of a zone: owner name → type → RRset.
type version struct {
	origin string
	sets   map[string]map[uint16][]dns.RR
	// below counts, for every name, the names with records at or under it:
	// a name with a count and no records is an empty non-terminal (RFC 4592 §2.2.2).
	below map[string]int
}

// ParseZone reads zone-file text; relative names and "@" are below origin.
//
// A zone without SOA gets one (TTL 300 s, minimum 60 s), so that a test may list its records alone.
func ParseZone(origin, text string) (*Zone, error) {
	origin = dns.CanonicalName(origin)
	sets := map[string]map[uint16][]dns.RR{}
	parser := dns.NewZoneParser(strings.NewReader(text), origin, "")
	parser.SetDefaultTTL(300)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if err := insert(sets, origin, rr); err != nil {
			return nil, err
		}
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	if len(sets[origin][dns.TypeSOA]) == 0 {
		soa, err := dns.NewRR(fmt.Sprintf("%s 300 IN SOA ns1.%s hostmaster.%s 1 3600 600 86400 60", origin, bare(origin), bare(origin)))
		if err != nil {
			return nil, fmt.Errorf("zone %s: %w", origin, err)
		}
		if err := insert(sets, origin, soa); err != nil {
			return nil, err
		}
	}
	return &Zone{origin: origin, versions: []*version{newVersion(origin, sets)}}, nil
}

// bare is origin as the tail of another name: the root has no dot of its own.
func bare(origin string) string { return strings.TrimPrefix(origin, ".") }

func newVersion(origin string, sets map[string]map[uint16][]dns.RR) *version {
	v := &version{origin: origin, sets: sets, below: map[string]int{}}
	for name := range sets {
		for n := name; ; n = parentOf(n) {
			v.below[n]++
			if n == origin || n == "." {
				break
			}
		}
	}
	return v
}

// parentOf is the name without its first label; the root is its own parent.
func parentOf(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end || next >= len(name) {
		return "."
	}
	return name[next:]
}

// canonical returns rr as it would arrive from the wire, with its owner in
// lower case, so that two spellings of one value compare equal.
func canonical(rr dns.RR) (dns.RR, error) {
	rr = dns.Copy(rr) // packing writes the length into it, and others may read it now
	buf := make([]byte, dns.Len(rr)+16)
	off, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", rr.String(), err)
	}
	out, _, err := dns.UnpackRR(buf[:off], 0)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", rr.String(), err)
	}
	out.Header().Name = dns.CanonicalName(out.Header().Name)
	return out, nil
}

var errOutOfZone = errors.New("the name is not in the zone")

// insert adds rr to its RRset; an RRset has one TTL, that of the last record
// (RFC 2181 §5.2), and no duplicates.
func insert(sets map[string]map[uint16][]dns.RR, origin string, rr dns.RR) error {
	rr, err := canonical(rr)
	if err != nil {
		return err
	}
	name, rrtype := rr.Header().Name, rr.Header().Rrtype
	if !dns.IsSubDomain(origin, name) {
		return fmt.Errorf("zone %s: record of %s: %w", origin, name, errOutOfZone)
	}
	if sets[name] == nil {
		sets[name] = map[uint16][]dns.RR{}
	}
	var set []dns.RR
	for _, old := range sets[name][rrtype] {
		if single(rrtype) || dns.IsDuplicate(old, rr) {
			continue
		}
		old = dns.Copy(old)
		old.Header().Ttl = rr.Header().Ttl
		set = append(set, old)
	}
	sets[name][rrtype] = append(set, rr)
	return nil
}

// single says that a name holds at most one record of the type.
func single(rrtype uint16) bool {
	return rrtype == dns.TypeSOA || rrtype == dns.TypeCNAME || rrtype == dns.TypeDNAME
}

// Origin is the zone's name, absolute and in lower case.
func (z *Zone) Origin() string { return z.origin }

func (z *Zone) current() *version { return z.ago(0) }

// ago returns the version of n changes ago, or the oldest remembered.
func (z *Zone) ago(n int) *version {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.versions[max(0, len(z.versions)-1-n)]
}

// change makes a new version from a copy of the current one. The serial grows
// if edit changed anything and did not set the serial itself.
func (z *Zone) change(edit func(v *version, sets map[string]map[uint16][]dns.RR) (int, error)) (int, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.versions[len(z.versions)-1]
	sets := make(map[string]map[uint16][]dns.RR, len(now.sets))
	for name, types := range now.sets {
		sets[name] = maps.Clone(types)
	}
	rcode, err := edit(now, sets)
	if err != nil || rcode != dns.RcodeSuccess {
		return rcode, err
	}
	for name, types := range sets {
		maps.DeleteFunc(types, func(_ uint16, set []dns.RR) bool { return len(set) == 0 })
		if len(types) == 0 {
			delete(sets, name)
		}
	}
	if same(now.sets, sets) {
		return dns.RcodeSuccess, nil
	}
	if serialOf(now.sets, z.origin) == serialOf(sets, z.origin) {
		soa, ok := dns.Copy(sets[z.origin][dns.TypeSOA][0]).(*dns.SOA)
		if !ok {
			return dns.RcodeServerFailure, fmt.Errorf("zone %s: its SOA is not a SOA", z.origin)
		}
		soa.Serial++
		sets[z.origin][dns.TypeSOA] = []dns.RR{soa}
	}
	z.versions = append(z.versions, newVersion(z.origin, sets))
	if len(z.versions) > historyLimit {
		z.versions = slices.Delete(z.versions, 0, len(z.versions)-historyLimit)
	}
	return dns.RcodeSuccess, nil
}

func same(a, b map[string]map[uint16][]dns.RR) bool {
	return slices.Equal(lines(a), lines(b))
}

func serialOf(sets map[string]map[uint16][]dns.RR, origin string) uint32 {
	for _, rr := range sets[origin][dns.TypeSOA] {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}

// lines is the zone as sorted text, one record a line.
func lines(sets map[string]map[uint16][]dns.RR) []string {
	var out []string
	for _, types := range sets {
		for _, set := range types {
			for _, rr := range set {
				out = append(out, rr.String())
			}
		}
	}
	slices.Sort(out)
	return out
}

// Serial is the current SOA serial.
func (z *Zone) Serial() uint32 { return serialOf(z.current().sets, z.origin) }

// Dump is the current content in presentation form, one record a line,
// sorted, without the SOA: two dumps are equal if every record is, with its
// TTL, its character-strings and each octet.
func (z *Zone) Dump() string { return z.current().dump() }

// History is the content after each change that is remembered, as Dump has it, the current one last.
func (z *Zone) History() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	var dumps []string
	for _, v := range z.versions {
		dumps = append(dumps, v.dump())
	}
	return dumps
}

func (v *version) dump() string {
	all := lines(v.sets)
	all = slices.DeleteFunc(all, func(line string) bool {
		return slices.ContainsFunc(v.sets[v.origin][dns.TypeSOA], func(soa dns.RR) bool { return soa.String() == line })
	})
	return strings.Join(all, "\n") + "\n"
}

// Records returns the RRset at a name, absolute or relative; empty when there is none.
func (z *Zone) Records(name string, rrtype uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range z.current().sets[z.absolute(name)][rrtype] {
		out = append(out, dns.Copy(rr))
	}
	return out
}

// TXT returns the TXT values at a name, each joined to one string of raw
// octets, sorted.
func (z *Zone) TXT(name string) []string {
	var out []string
	for _, rr := range z.Records(name, dns.TypeTXT) {
		if txt, ok := rr.(*dns.TXT); ok {
			out = append(out, joined(txt))
		}
	}
	slices.Sort(out)
	return out
}

// joined is a TXT record's value: its character-strings with nothing between
// (RFC 6376 §3.6.2.2), freed of miekg/dns's presentation escapes.
func joined(txt *dns.TXT) string {
	buf := make([]byte, dns.Len(txt)+16)
	off, err := dns.PackRR(txt, buf, 0, nil, false)
	if err != nil {
		return strings.Join(txt.Txt, "")
	}
	_, start, _ := dns.UnpackDomainName(buf, 0)
	var value []byte
	for data := buf[start+10 : off]; len(data) > 0; data = data[1+int(data[0]):] {
		value = append(value, data[1:1+int(data[0])]...)
	}
	return string(value)
}

func (z *Zone) absolute(name string) string {
	switch {
	case name == "@" || name == "":
		return z.origin
	case dns.IsFqdn(name):
		return dns.CanonicalName(name)
	default:
		return dns.CanonicalName(name + "." + bare(z.origin))
	}
}

// Add adds zone-file lines, as someone who edits the zone by hand would.
func (z *Zone) Add(text string) error {
	_, err := z.change(func(_ *version, sets map[string]map[uint16][]dns.RR) (int, error) {
		parser := dns.NewZoneParser(strings.NewReader(text), z.origin, "")
		parser.SetDefaultTTL(300)
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			if err := insert(sets, z.origin, rr); err != nil {
				return dns.RcodeNotZone, err
			}
		}
		return dns.RcodeSuccess, parser.Err()
	})
	if err != nil {
		return fmt.Errorf("add to zone %s: %w", z.origin, err)
	}
	return nil
}

// Remove deletes the RRset of a type at a name, or, with dns.TypeANY, every
// record there. The apex keeps its SOA.
func (z *Zone) Remove(name string, rrtype uint16) error {
	name = z.absolute(name)
	_, err := z.change(func(_ *version, sets map[string]map[uint16][]dns.RR) (int, error) {
		for t := range sets[name] {
			if (rrtype == dns.TypeANY || t == rrtype) && (t != dns.TypeSOA || name != z.origin) {
				delete(sets[name], t)
			}
		}
		return dns.RcodeSuccess, nil
	})
	return err
}

// Replace does Remove and Add as one change.
func (z *Zone) Replace(name string, rrtype uint16, text string) error {
	name = z.absolute(name)
	_, err := z.change(func(_ *version, sets map[string]map[uint16][]dns.RR) (int, error) {
		delete(sets[name], rrtype)
		parser := dns.NewZoneParser(strings.NewReader(text), z.origin, "")
		parser.SetDefaultTTL(300)
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			if err := insert(sets, z.origin, rr); err != nil {
				return dns.RcodeNotZone, err
			}
		}
		return dns.RcodeSuccess, parser.Err()
	})
	if err != nil {
		return fmt.Errorf("replace in zone %s: %w", z.origin, err)
	}
	return nil
}
