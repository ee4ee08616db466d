// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Claim is what this installation knows about a domain before it reads the marker.
type Claim struct {
	Domain dnsrecord.Name
	// Zone is the one that is written; the domain has a marker in each.
	Zone dnsrecord.Name
	// Owner is the OwnerHash of this installation.
	Owner string
	// Remembered is the highest marker generation that we have seen; 0 if none.
	Remembered int64
	// Known are the digests of every value that our objects want or published.
	Known map[string]bool
	// TakeOver is the OwnerHash that a person told us to take the records over
	// from; "" for none. Our own says that the copy which moved on was ours.
	TakeOver string
}

// Standing is the marker as it stands, judged.
type Standing struct {
	// Marker is ours, also if none stands yet (Generation is then the one that
	// we remember). After a take-over it lists the records taken over.
	Marker Marker
	// Conflict says why nothing of this domain may be written; "" if we may.
	Conflict string
	// Rival: the conflict is with another installation, or a second copy of this one.
	Rival bool
	// Unknown: the conflict is that the marker lists records of which nobody here has told yet.
	Unknown bool

	name   dnsrecord.Name // of the marker
	read   dnsrecord.Set
	values []string // the markers among what was read
	stale  bool     // what stands has to be written anew, even with the same digests
}

// Judge reads the marker of a domain out of the TXT records that stand at its name.
func (c Claim) Judge(read dnsrecord.Set) Standing {
	s := Standing{name: MarkerName(c.Domain, c.Zone), read: read, Marker: Marker{Owner: c.Owner, Generation: c.Remembered}}
	found, err := markersIn(read)
	if err != nil {
		s.Conflict = fmt.Sprintf("the marker at %s cannot be read (%v): if no newer version of this program writes it, remove it there", MarkerName(c.Domain, c.Zone), err)
		return s
	}
	for _, f := range found {
		s.values = append(s.values, f.text)
		s.Marker.Generation = max(s.Marker.Generation, f.Generation)
		s.Marker.Digests = sortedSet(append(s.Marker.Digests, f.Digests...))
	}
	if s.Conflict, s.Unknown = c.conflict(found); s.Conflict != "" {
		s.Rival = true
		// A generation that we have not accepted must not be remembered as ours.
		s.Marker = Marker{Owner: c.Owner, Generation: c.Remembered}
		return s
	}
	// Two markers of ours are a write that a provider did by halves.
	s.stale = len(found) > 1 || slices.ContainsFunc(found, func(f foundMarker) bool { return f.Owner != c.Owner })
	return s
}

// conflict says why the markers found forbid us to write.
func (c Claim) conflict(found []foundMarker) (message string, unknown bool) {
	for _, f := range found {
		if f.Owner != c.Owner && f.Owner != c.TakeOver {
			return fmt.Sprintf("the marker at %s says that another installation (owner hash %s) manages the records of %s: "+
				"let only one of the two manage this domain, or take its records over with the annotation maildomain.dev/take-over: <its --owner-id>",
				MarkerName(c.Domain, c.Zone), f.Owner, c.Domain), false
		}
		if c.isClone(f.Marker) {
			return fmt.Sprintf("the marker at %s has moved on without us: a second copy of this installation (same --owner-id) manages %s, "+
				"such as a cluster restored from a backup; stop one of them, or give it another --owner-id; "+
				"if this one is to go on, set the annotation maildomain.dev/take-over: <our own --owner-id>", MarkerName(c.Domain, c.Zone), c.Domain), true
		}
	}
	return "", false
}

// isClone: a generation that we have not seen, with records that none of our
// objects knows. Our own crash between marker and status is not like that: its
// records are still wanted by the object that comes back.
func (c Claim) isClone(m Marker) bool {
	if m.Owner != c.Owner || c.TakeOver == c.Owner || c.Remembered == 0 || m.Generation <= c.Remembered {
		return false
	}
	return slices.ContainsFunc(m.Digests, func(d string) bool { return !c.Known[d] })
}

type foundMarker struct {
	Marker
	text string
}

func markersIn(read dnsrecord.Set) ([]foundMarker, error) {
	var found []foundMarker
	for _, text := range sortedSet(read.Values) {
		if !IsMarker(text) {
			continue
		}
		m, err := ParseMarker(text)
		if err != nil {
			return nil, err
		}
		found = append(found, foundMarker{Marker: m, text: text})
	}
	return found, nil
}

// Lacks reports whether the marker has to be written before records with these digests are.
func (s Standing) Lacks(digests []string) bool {
	return s.stale || slices.ContainsFunc(digests, func(d string) bool { return !s.Marker.Lists(d) })
}

// With returns the marker of the next generation that lists these digests too.
func (s Standing) With(digests []string) (Marker, error) {
	m := s.Marker
	m.Generation++
	m.Digests = sortedSet(slices.Concat(m.Digests, digests))
	if len(m.Digests) > maxDigests {
		return Marker{}, fmt.Errorf("more than %d records of one domain", maxDigests)
	}
	return m, nil
}

// Without returns the marker of the next generation without these digests.
func (s Standing) Without(digests []string) Marker {
	m := s.Marker
	m.Generation++
	m.Digests = slices.DeleteFunc(slices.Clone(m.Digests), func(d string) bool { return slices.Contains(digests, d) })
	return m
}

// Change returns the change that puts m in the place of what stands. A marker
// that lists nothing is taken away. Foreign records at the name stay.
func (s Standing) Change(m Marker, ttl uint32) Change {
	ch := Change{Name: s.name, Type: dnsrecord.TXT, TTL: ttl, Delete: s.values, Prerequisite: s.read}
	if len(m.Digests) > 0 {
		ch.Add = []string{m.String()}
	}
	if len(s.values) < len(s.read.Values) {
		ch.TTL = s.read.TTL
	}
	return ch
}

// ErrOvertaken says that the marker was written, but another one stands.
var ErrOvertaken = errors.New("what stands at the marker's name is not what was written")

// Written returns the standing after m was written, if that is what was read back.
func (s Standing) Written(m Marker, read dnsrecord.Set) (Standing, error) {
	found, err := markersIn(read)
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrOvertaken, err)
	}
	after := Standing{Marker: m, name: s.name, read: read}
	switch {
	case len(found) == 0 && len(m.Digests) == 0:
		return after, nil
	case len(found) != 1 || found[0].text != m.String():
		return s, ErrOvertaken
	}
	after.values = []string{found[0].text}
	return after, nil
}

// Value returns the text that stands as our marker; "" if none does.
func (s Standing) Value() string {
	if len(s.values) == 0 {
		return ""
	}
	return s.values[0]
}

// Needed returns the digests that the marker must list before the changes may
// be made or the outcomes may be called ours: those of every record that stands
// or will stand as wanted.
func Needed(wishes []Wish, outcomes []Outcome) []string {
	var needed []string
	for i, w := range wishes {
		if st := outcomes[i].State; w.Value != "" && (st == InPlace || st == Pending) {
			needed = append(needed, Digest(w.Name, w.Type, w.Value))
		}
	}
	return sortedSet(needed)
}

// Gone returns the digests that the marker lists for the names of the wishes
// although nothing of that value stands there and none of them wants it.
// Names that are not in seen were not read: their digests stay.
func Gone(seen map[Key]dnsrecord.Set, m Marker, wishes []Wish) []string {
	keep, of := map[string]bool{}, map[string]bool{}
	for _, w := range wishes {
		set, ok := seen[w.Key()]
		if !ok {
			continue
		}
		of[digestOfKey(w.Key())] = true
		for _, v := range append(slices.Clone(set.Values), w.Value) {
			keep[Digest(w.Name, w.Type, v)] = true
		}
	}
	var gone []string
	for _, d := range m.Digests {
		if of[d[:nameLen]] && !keep[d] {
			gone = append(gone, d)
		}
	}
	return gone
}
