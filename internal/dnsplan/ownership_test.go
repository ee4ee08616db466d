// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func anyMarker(t *rapid.T) Marker {
	return Marker{
		Owner:      OwnerHash(rapid.String().Draw(t, "owner")),
		Generation: rapid.Int64Min(1).Draw(t, "generation"),
		Digests: sortedSet(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return Digest(apex, dnsrecord.TXT, rapid.String().Draw(t, "value"))
		}), 0, 30).Draw(t, "digests")),
	}
}

func TestAMarkerRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMarker(t)
		got, err := ParseMarker(m.String())
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Digests) == 0 {
			m.Digests = got.Digests
		}
		if !cmp.Equal(got, m) {
			t.Fatalf("%s: %s", m, cmp.Diff(m, got))
		}
	})
}

func FuzzParseMarker(f *testing.F) {
	f.Add("v=maildomain1; o=abcdefghijklmnop; g=1; r=abcdefghijklmnopqrstuvwx")
	f.Add("v=maildomain1; o=abcdefghijklmnop; g=12; r=; x=later")
	f.Add("v=maildomain2; o=abcdefghijklmnop")
	f.Add("v=maildomain1; o=; g=0; r=,,")
	f.Fuzz(func(t *testing.T, value string) {
		m, err := ParseMarker(value)
		if err != nil {
			return
		}
		if !IsMarker(value) {
			t.Fatalf("%q is read but not recognised", value)
		}
		again, err := ParseMarker(m.String())
		if err != nil || again.String() != m.String() {
			t.Fatalf("%q prints as %q, which reads as %q (%v)", value, m, again, err)
		}
	})
}

func TestDigestsTellNameTypeAndValueApart(t *testing.T) {
	a := Digest("a.example", dnsrecord.TXT, "x")
	for _, b := range []string{Digest("b.example", dnsrecord.TXT, "x"), Digest("a.example", dnsrecord.MX, "x")} {
		if a[:nameLen] == b[:nameLen] || a[nameLen:] == b[nameLen:] {
			t.Errorf("%s and %s share a part", a, b)
		}
	}
	if b := Digest("a.example", dnsrecord.TXT, "y"); a[:nameLen] != b[:nameLen] || a == b {
		t.Errorf("%s and %s: one RRset, two values", a, b)
	}
}

// The format is what other releases read: it does not change by accident.
func TestTheMarkerIsWhatItWas(t *testing.T) {
	m := Marker{Owner: OwnerHash("prod"), Generation: 3, Digests: []string{Digest(dmarcName, dnsrecord.TXT, "v=DMARC1; p=none")}}
	const want = "v=maildomain1; o=o4auwybye7f3ghkd; g=3; r=ypokpbi3rkcjdd74lhw6cqrg"
	if m.String() != want {
		t.Errorf("got  %s\nwant %s", m, want)
	}
}

func TestWhoseDomainIsIt(t *testing.T) {
	ours, theirs := OwnerHash("ours"), OwnerHash("theirs")
	known, unknown := Digest(apex, dnsrecord.TXT, "known"), Digest(apex, dnsrecord.TXT, "unknown")
	marker := func(owner string, generation int64, digests ...string) string {
		return Marker{Owner: owner, Generation: generation, Digests: digests}.String()
	}
	for name, c := range map[string]struct {
		claim      Claim
		stands     []string
		conflict   string
		unknown    bool
		generation int64
		lists      []string
		rewrite    bool
	}{
		"nobody's, as long as there is no marker": {},
		"ours again after the marker was removed": {claim: Claim{Remembered: 7}, generation: 7},
		"ours, if the marker says so":             {stands: []string{marker(ours, 3, known)}, generation: 3, lists: []string{known}},
		"ours, with a foreign TXT beside it":      {stands: []string{"hello", marker(ours, 3, known)}, generation: 3, lists: []string{known}},
		"someone else's": {
			claim: Claim{Remembered: 2}, stands: []string{marker(theirs, 9, known)}, conflict: "another installation", generation: 2,
		},
		"taken over by a person's word": {
			claim: Claim{TakeOver: theirs}, stands: []string{marker(theirs, 9, unknown)}, generation: 9, lists: []string{unknown}, rewrite: true,
		},
		"taken over from the wrong one": {
			claim: Claim{TakeOver: OwnerHash("x")}, stands: []string{marker(theirs, 9)}, conflict: "another installation",
		},
		"ours with lost status": {stands: []string{marker(ours, 3, unknown)}, generation: 3, lists: []string{unknown}},
		"ours after a crash between marker and status": {
			claim: Claim{Remembered: 2}, stands: []string{marker(ours, 3, known)}, generation: 3, lists: []string{known},
		},
		"a clone's, if it moved on with records that nobody here knows": {
			claim: Claim{Remembered: 2}, stands: []string{marker(ours, 3, known, unknown)}, conflict: "second copy", unknown: true, generation: 2,
		},
		"not a clone's at a generation that we have seen": {
			claim: Claim{Remembered: 3}, stands: []string{marker(ours, 3, unknown)}, generation: 3, lists: []string{unknown},
		},
		"ours again when a person says so": {
			claim: Claim{Remembered: 2, TakeOver: ours}, stands: []string{marker(ours, 3, unknown)}, generation: 3, lists: []string{unknown},
		},
		"ours, written by halves": {
			stands: []string{marker(ours, 3, known), marker(ours, 4, unknown)}, generation: 4, lists: sortedSet([]string{known, unknown}), rewrite: true,
		},
		"two installations' at once": {
			stands: []string{marker(ours, 3, known), marker(theirs, 1, unknown)}, conflict: "another installation",
		},
		"a later version's": {stands: []string{"v=maildomain2; o=abc"}, conflict: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			c.claim.Domain, c.claim.Owner, c.claim.Known = apex, ours, map[string]bool{known: true}
			s := c.claim.Judge(dnsrecord.Set{Values: c.stands})
			if (s.Conflict == "") != (c.conflict == "") || !strings.Contains(s.Conflict, c.conflict) || s.Unknown != c.unknown {
				t.Fatalf("conflict %q, unknown %v", s.Conflict, s.Unknown)
			}
			if s.Marker.Generation != c.generation || !slices.Equal(s.Marker.Digests, c.lists) {
				t.Errorf("got %s", s.Marker)
			}
			if s.Lacks(nil) != c.rewrite {
				t.Errorf("to be rewritten: %v", s.Lacks(nil))
			}
		})
	}
}

func TestWhereAMarkerStands(t *testing.T) {
	for zone, want := range map[dnsrecord.Name]dnsrecord.Name{
		"":                       "_maildomain.example.org",
		"org":                    "_maildomain.example.org",
		"example.org":            "_maildomain.example.org",
		"_domainkey.example.org": "example.org._maildomain._domainkey.example.org",
		"keys.example.net":       "example.org._maildomain.keys.example.net",
	} {
		if got := MarkerName("example.org", zone); got != want {
			t.Errorf("in zone %q at %q, want %q", zone, got, want)
		}
	}
}

func TestTheMarkerChangeKeepsForeignTXTAndIsReadBack(t *testing.T) {
	ours := OwnerHash("ours")
	old := Marker{Owner: ours, Generation: 3, Digests: []string{Digest(apex, dnsrecord.TXT, "a")}}
	read := dnsrecord.Set{Name: MarkerName(apex, apex), Type: dnsrecord.TXT, TTL: 60, Values: []string{"hello", old.String()}}
	s := Claim{Domain: apex, Owner: ours}.Judge(read)
	next, err := s.With([]string{Digest(apex, dnsrecord.TXT, "b")})
	if err != nil || next.Generation != 4 || len(next.Digests) != 2 {
		t.Fatalf("%v %v", next, err)
	}
	change := s.Change(next, 300)
	after := change.Apply(read)
	if want := []string{"hello", next.String()}; !slices.Equal(after.Values, want) || after.TTL != 60 || change.Name != "_maildomain.example.org" {
		t.Fatalf("got %+v", after)
	}
	written, err := s.Written(next, after)
	if err != nil || written.Value() != next.String() {
		t.Fatalf("%+v %v", written, err)
	}
	if _, err := s.Written(next, read); !errors.Is(err, ErrOvertaken) {
		t.Errorf("the old marker passes for the new one: %v", err)
	}
	t.Run("and goes with the last record", func(t *testing.T) {
		none := written.Without(next.Digests)
		change := written.Change(none, 300)
		after := change.Apply(after)
		if !slices.Equal(after.Values, []string{"hello"}) || none.Generation != 5 {
			t.Fatalf("got %+v", after)
		}
		if _, err := written.Written(none, after); err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyDigestsOfWhatIsGoneAreDropped(t *testing.T) {
	d := func(n dnsrecord.Name, v string) string { return Digest(n, dnsrecord.TXT, v) }
	m := Marker{Digests: []string{d(apex, "stands"), d(apex, "wanted"), d(apex, "gone"), d(dmarcName, "unread"), d(selector, "nobody asks")}}
	seen := map[Key]dnsrecord.Set{{apex, dnsrecord.TXT}: {Values: []string{"stands"}}}
	wishes := []Wish{
		{Name: apex, Type: dnsrecord.TXT, Value: "wanted"},
		{Name: dmarcName, Type: dnsrecord.TXT},
	}
	if got := Gone(seen, m, wishes); !slices.Equal(got, []string{d(apex, "gone")}) {
		t.Errorf("got %q", got)
	}
}
