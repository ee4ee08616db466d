// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	dmarcName = dnsrecord.Name("_dmarc.example.org")
	apex      = dnsrecord.Name("example.org")
	selector  = dnsrecord.Name("m1._domainkey.example.org")
)

func TestPlan(t *testing.T) {
	dmarc := func(value string, adoption Adoption, ours ...string) Wish {
		return Wish{Name: dmarcName, Type: dnsrecord.TXT, Kind: Exclusive, Value: value, TTL: 300, Ours: ours, Adoption: adoption}
	}
	spf := func(value string, adoption Adoption, ours ...string) Wish {
		return Wish{Name: apex, Type: dnsrecord.TXT, Kind: SPF, Value: value, TTL: 300, Ours: ours, Adoption: adoption}
	}
	for name, c := range map[string]struct {
		wish    Wish
		stands  []string
		listed  []string // values at the name that our marker lists
		state   OutcomeState
		del     []string
		add     []string
		ttl     uint32 // of the change; the set that stands has 3600
		message string
	}{
		"an empty name gets the record": {
			wish: dmarc("v=DMARC1; p=none", Never), state: Pending, add: []string{"v=DMARC1; p=none"}, ttl: 300,
		},
		"a record in place is left alone": {
			wish: dmarc("a", Never, "a"), stands: []string{"a"}, state: InPlace,
		},
		"a record that only the marker knows is ours": {
			wish: dmarc("b", Never), stands: []string{"a"}, listed: []string{"a"}, state: Pending, del: []string{"a"}, add: []string{"b"}, ttl: 300,
		},
		"a foreign record is a conflict": {
			wish: dmarc("b", Never), stands: []string{"a"}, state: Conflict, message: "set adoptionPolicy to Always",
		},
		"a foreign record with the wanted value is a conflict under Never": {
			wish: dmarc("a", Never), stands: []string{"a"}, state: Conflict, message: "adoptionPolicy Identical takes it over",
		},
		"a foreign record with the wanted value is adopted under Identical": {
			wish: dmarc("a", Identical), stands: []string{"a"}, state: InPlace,
		},
		"another foreign record is a conflict under Identical": {
			wish: dmarc("b", Identical), stands: []string{"a"}, state: Conflict,
		},
		"a foreign record is replaced under Always": {
			wish: dmarc("b", Always), stands: []string{"a"}, state: Pending, del: []string{"a"}, add: []string{"b"}, ttl: 300,
		},
		"two foreign records are a conflict even under Always": {
			wish: dmarc("b", Always), stands: []string{"a", "c"}, state: Conflict, message: "may hold one such record",
		},
		"our record that was changed outside is repaired": {
			wish: dmarc("ours", Never, "ours"), stands: []string{"changed"}, state: Pending, del: []string{"changed"}, add: []string{"ours"}, ttl: 300,
		},
		"our SPF record that was changed outside is repaired": {
			wish: spf("v=spf1 -all", Never, "v=spf1 -all"), stands: []string{"x", "v=spf1 a"}, state: Pending,
			del: []string{"v=spf1 a"}, add: []string{"v=spf1 -all"}, ttl: 3600,
		},
		"two records where ours stood are a conflict": {
			wish: dmarc("ours", Never, "ours"), stands: []string{"a", "b"}, state: Conflict, message: `"a", "b"`,
		},
		"a changed record of which the marker alone knows is a conflict": {
			wish: dmarc("ours", Never), stands: []string{"changed"}, listed: []string{"ours"}, state: Conflict,
		},
		"a foreign record beside ours is a conflict that shows both": {
			wish: dmarc("ours", Never, "ours"), stands: []string{"ours", "theirs"}, state: Conflict, message: `"ours", "theirs"`,
		},
		"half of a replacement under Always is finished": {
			wish: dmarc("b", Always, "b"), stands: []string{"a", "b"}, state: Pending, del: []string{"a"},
		},
		"an empty foreign value is never deleted": {
			wish: dmarc("b", Always), stands: []string{""}, state: Conflict,
		},
		"the same value twice becomes one": {
			wish: dmarc("a", Never, "a"), stands: []string{"a", "a"}, state: Pending, del: []string{"a"}, add: []string{"a"}, ttl: 300,
		},
		"ours goes when it is not wanted any more": {
			wish: dmarc("", Never, "a"), stands: []string{"a"}, state: Pending, del: []string{"a"},
		},
		"ours goes and a foreign record beside it stays": {
			wish: dmarc("", Always, "a"), stands: []string{"a", "b"}, state: Pending, del: []string{"a"},
		},
		"our SPF record goes and other TXT records stay": {
			wish: spf("", Never, "v=spf1 -all"), stands: []string{"x", "v=spf1 -all", "v=spf1 a"}, state: Pending, del: []string{"v=spf1 -all"},
		},
		"a foreign record stays when ours is not wanted": {
			wish: dmarc("", Always, "a"), stands: []string{"b"}, state: Absent,
		},
		"an SPF record joins other TXT records and takes their TTL": {
			wish: spf("v=spf1 -all", Never), stands: []string{"google-site-verification=x"}, state: Pending, add: []string{"v=spf1 -all"}, ttl: 3600,
		},
		"our SPF record is replaced in place, beside other TXT records": {
			wish: spf("v=spf1 mx -all", Never, "v=spf1 -all"), stands: []string{"x", "v=spf1 -all"}, state: Pending,
			del: []string{"v=spf1 -all"}, add: []string{"v=spf1 mx -all"}, ttl: 3600,
		},
		"two SPF records are a conflict": {
			wish: spf("v=spf1 mx -all", Always), stands: []string{"v=spf1 a", "V=SPF1"}, state: Conflict, message: "may hold one such record",
		},
		"text that only begins like SPF is no SPF record": {
			wish: spf("v=spf1 mx -all", Never), stands: []string{"v=spf10 x"}, state: Pending, add: []string{"v=spf1 mx -all"}, ttl: 3600,
		},
		"a value that is no SPF record is not published as one": {
			wish: spf("v=DMARC1", Never), state: Failed,
		},
		"a selector is never overwritten": {
			wish: Wish{Name: selector, Type: dnsrecord.TXT, Kind: Exclusive, Value: "v=DKIM1; p=b", Adoption: Never}, stands: []string{"v=DKIM1; p=a"},
			state: Conflict, message: "a selector is never overwritten",
		},
	} {
		t.Run(name, func(t *testing.T) {
			set := dnsrecord.Set{Name: c.wish.Name, Type: c.wish.Type, TTL: 3600, Values: c.stands}
			var m Marker
			for _, v := range c.listed {
				m.Digests = append(m.Digests, Digest(c.wish.Name, c.wish.Type, v))
			}
			changes, outcomes := Plan(map[Key]dnsrecord.Set{c.wish.Key(): set}, m, []Wish{c.wish})
			o := outcomes[0]
			if o.State != c.state || !strings.Contains(o.Message, c.message) || o.Changed != (len(changes) == 1) {
				t.Fatalf("got %+v, %d changes; want %s with %q", o, len(changes), c.state, c.message)
			}
			var got Change
			if len(changes) == 1 {
				got = changes[0]
				if !cmp.Equal(got.Prerequisite, set) {
					t.Errorf("prerequisite is %+v, not what was read", got.Prerequisite)
				}
			}
			if !slices.Equal(got.Delete, c.del) || !slices.Equal(got.Add, c.add) || len(got.Add) > 0 && got.TTL != c.ttl {
				t.Errorf("got delete %q add %q ttl %d, want %q %q %d", got.Delete, got.Add, got.TTL, c.del, c.add, c.ttl)
			}
		})
	}
}

func TestASelectorNeverGetsASecondKey(t *testing.T) {
	const first, second, tombstone = "v=DKIM1; k=rsa; p=QQ==", "v=DKIM1; k=rsa; p=Qg==", "v=DKIM1; k=rsa; p="
	marker := Marker{Owner: OwnerHash("us"), Digests: []string{Digest(selector, dnsrecord.TXT, first)}}
	seen := map[Key]dnsrecord.Set{{selector, dnsrecord.TXT}: {Name: selector, Type: dnsrecord.TXT, Values: []string{first}}}
	for name, c := range map[string]struct {
		value string
		ours  []string
		state OutcomeState
	}{
		"the same key again":                     {first, nil, InPlace},
		"another key, whose status was lost":     {second, nil, Conflict},
		"an empty p=, whatever the status says":  {tombstone, nil, Pending},
		"an empty p= over the key of the status": {tombstone, []string{first}, Pending},
	} {
		t.Run(name, func(t *testing.T) {
			_, outcomes := Plan(seen, marker, []Wish{{Name: selector, Type: dnsrecord.TXT, Kind: Exclusive, Value: c.value, Ours: c.ours}})
			if outcomes[0].State != c.state {
				t.Errorf("%s (%s), want %s", outcomes[0].State, outcomes[0].Message, c.state)
			}
		})
	}
}

func TestWhatStandsInTheWayIsAConflict(t *testing.T) {
	wish := Wish{Name: selector, Type: dnsrecord.TXT, Kind: Exclusive, Value: "v=DKIM1; p=a"}
	for name, c := range map[string]struct {
		at    dnsrecord.Name
		typ   dnsrecord.Type
		state OutcomeState
	}{
		"a CNAME at the name":             {selector, dnsrecord.CNAME, Conflict},
		"a DNAME above it":                {"_domainkey.example.org", dnsrecord.DNAME, Conflict},
		"a zone cut above it":             {"_domainkey.example.org", dnsrecord.NS, Conflict},
		"not a DNAME at the name":         {selector, dnsrecord.DNAME, Pending},
		"not a CNAME above":               {"_domainkey.example.org", dnsrecord.CNAME, Pending},
		"not a wildcard CNAME, only told": {"*._domainkey.example.org", dnsrecord.CNAME, Pending},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[Key]dnsrecord.Set{
				wish.Key():    {Name: selector, Type: dnsrecord.TXT},
				{c.at, c.typ}: {Name: c.at, Type: c.typ, Values: []string{"elsewhere.example."}},
			}
			_, outcomes := Plan(seen, Marker{}, []Wish{wish})
			if outcomes[0].State != c.state {
				t.Errorf("got %+v", outcomes[0])
			}
			if told := strings.Contains(outcomes[0].Message, "elsewhere.example."); told != (c.state == Conflict || c.at[0] == '*') {
				t.Errorf("message %q", outcomes[0].Message)
			}
		})
	}
}

func TestANameThatWasNotReadIsNotWritten(t *testing.T) {
	changes, outcomes := Plan(nil, Marker{}, []Wish{{Name: apex, Type: dnsrecord.TXT, Kind: SPF, Value: "v=spf1 -all"}})
	if len(changes) != 0 || outcomes[0].State != Failed {
		t.Fatalf("got %v %v", changes, outcomes)
	}
}

func TestTwoObjectsAtOneName(t *testing.T) {
	wish := func(value string, ours ...string) Wish {
		return Wish{Name: dmarcName, Type: dnsrecord.TXT, Kind: Exclusive, Value: value, Ours: ours}
	}
	seen := map[Key]dnsrecord.Set{wish("").Key(): {Values: []string{"a"}}}
	t.Run("that want different values are both told", func(t *testing.T) {
		changes, outcomes := Plan(seen, Marker{}, []Wish{wish("a", "a"), wish("b")})
		if len(changes) != 0 || outcomes[0].State != Conflict || outcomes[1].State != Conflict {
			t.Fatalf("got %v %v", changes, outcomes)
		}
	})
	t.Run("that want the same value agree", func(t *testing.T) {
		changes, outcomes := Plan(seen, Marker{}, []Wish{wish("a", "a"), wish("a")})
		if len(changes) != 0 || outcomes[0].State != InPlace || outcomes[1].State != InPlace {
			t.Fatalf("got %v %v", changes, outcomes)
		}
	})
	t.Run("of which one goes leave the other's record", func(t *testing.T) {
		changes, outcomes := Plan(seen, Marker{}, []Wish{wish("", "a"), wish("a")})
		if len(changes) != 0 || outcomes[0].State != Absent || outcomes[1].State != InPlace {
			t.Fatalf("got %v %v", changes, outcomes)
		}
	})
}

// world is a random zone, a marker and wishes over few names and values, so that they meet.
func world(t *rapid.T) (map[Key]dnsrecord.Set, Marker, []Wish) {
	names := []dnsrecord.Name{apex, dmarcName, selector, "mail.example.org"}
	value := rapid.SampledFrom([]string{"v=spf1 -all", "v=spf1 mx -all", "V=SPF1 a", "v=DKIM1; p=a", "v=DMARC1; p=none", "x", "\x00\xff", ""})
	seen := map[Key]dnsrecord.Set{}
	var m Marker
	for _, n := range names {
		k := Key{n, dnsrecord.TXT}
		if rapid.IntRange(0, 9).Draw(t, "read") == 0 {
			continue
		}
		seen[k] = dnsrecord.Set{Name: n, Type: k.Type, TTL: 60, Values: rapid.SliceOfN(value, 0, 3).Draw(t, "values")}
		for _, v := range rapid.SliceOfN(value, 0, 2).Draw(t, "listed") {
			if v != "" {
				m.Digests = append(m.Digests, Digest(n, k.Type, v))
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "alias") == 0 {
			seen[Key{n, dnsrecord.CNAME}] = dnsrecord.Set{Name: n, Type: dnsrecord.CNAME, Values: []string{"y."}}
		}
	}
	wish := rapid.Custom(func(t *rapid.T) Wish {
		name := rapid.SampledFrom(names).Draw(t, "name")
		// Often what an object published is what stands, and often it has to go.
		published := value
		if stands := seen[Key{name, dnsrecord.TXT}].Values; len(stands) > 0 && rapid.Bool().Draw(t, "published stands") {
			published = rapid.SampledFrom(stands)
		}
		return Wish{
			Name: name, Type: dnsrecord.TXT, TTL: 300,
			Kind:     rapid.SampledFrom([]Kind{Exclusive, Exclusive, SPF}).Draw(t, "kind"),
			Value:    rapid.OneOf(value, rapid.Just("")).Draw(t, "value"),
			Ours:     rapid.SliceOfN(published, 0, 2).Draw(t, "ours"),
			Adoption: rapid.SampledFrom([]Adoption{"", Never, Identical, Always}).Draw(t, "adoption"),
		}
	})
	return seen, m, rapid.SliceOfN(wish, 1, 5).Draw(t, "wishes")
}

func applyAll(seen map[Key]dnsrecord.Set, changes []Change) map[Key]dnsrecord.Set {
	after := maps.Clone(seen)
	for _, c := range changes {
		after[c.Key()] = c.Apply(after[c.Key()])
	}
	return after
}

func TestForeignRecordsNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen, m, wishes := world(t)
		changes, _ := Plan(seen, m, wishes)
		for _, c := range changes {
			always, published, alone := false, false, false
			known := map[string]bool{}
			for _, w := range wishes {
				if w.Key() == c.Key() {
					always = always || w.Adoption == Always && w.Value != ""
					// What stands alone where the status says that ours stood was changed outside, and is repaired.
					alone = len(relevant(w.Kind, seen[c.Key()].Values)) == 1
					published = published || slices.ContainsFunc(w.Ours, func(v string) bool { return v != "" })
					for _, v := range w.Ours {
						known[v] = true
					}
					known[w.Value] = known[w.Value] || w.Adoption == Identical
				}
			}
			replaced := 0
			for _, v := range c.Delete {
				if !known[v] && !m.Lists(Digest(c.Name, c.Type, v)) {
					replaced++
				}
				if v == "" {
					t.Fatalf("deletes an empty value: %+v", c)
				}
			}
			mayReplace := always || published && alone && len(c.Add) > 0
			if replaced > 1 || replaced == 1 && !mayReplace {
				t.Fatalf("deletes what is not ours: %+v", c)
			}
			before := seen[c.Key()].Values
			for _, v := range before {
				if !slices.Contains(c.Delete, v) && !c.Apply(seen[c.Key()]).Has(v) {
					t.Fatalf("loses %q: %+v", v, c)
				}
			}
		}
	})
}

func TestOnceAppliedAPlanLeavesNothingToDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen, m, wishes := world(t)
		changes, outcomes := Plan(seen, m, wishes)
		m.Digests = sortedSet(append(m.Digests, Needed(wishes, outcomes)...))
		after := applyAll(seen, changes)
		again, second := Plan(after, m, wishes)
		if len(again) != 0 {
			t.Fatalf("second plan: %+v after %+v", again, changes)
		}
		for i, o := range second {
			values := relevant(wishes[i].Kind, after[wishes[i].Key()].Values)
			switch first := outcomes[i]; {
			case o.State == Pending:
				t.Fatalf("pending for ever: %+v", o)
			case first.State == Pending && o.State != InPlace && o.State != Absent:
				t.Fatalf("planned, then %+v", o)
			case o.State == InPlace && !slices.Equal(values, []string{wishes[i].Value}):
				t.Fatalf("in place, but there is %q for %+v", values, wishes[i])
			case first.State != Pending && first.State != o.State:
				t.Fatalf("%+v became %+v without a change", first, o)
			}
		}
	})
}

func TestAnOutcomeNamesItsWish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen, m, wishes := world(t)
		_, outcomes := Plan(seen, m, wishes)
		for i, o := range outcomes {
			if o.Name != wishes[i].Name || o.Type != wishes[i].Type || o.State == "" {
				t.Fatalf("wish %d: %+v", i, o)
			}
			if (o.State == Conflict || o.State == Failed) && o.Message == "" {
				t.Fatalf("no word why: %+v", o)
			}
		}
	})
}

func ExamplePlan() {
	seen := map[Key]dnsrecord.Set{
		{apex, dnsrecord.TXT}: {Name: apex, Type: dnsrecord.TXT, TTL: 3600, Values: []string{"v=spf1 -all", "docs=1"}},
	}
	changes, _ := Plan(seen, Marker{}, []Wish{{Name: apex, Type: dnsrecord.TXT, Kind: SPF, Value: "v=spf1 mx -all", Ours: []string{"v=spf1 -all"}}})
	fmt.Printf("%s: %q becomes %q, TTL %d\n", changes[0].Name, changes[0].Delete, changes[0].Add, changes[0].TTL)
	// Output: example.org: ["v=spf1 -all"] becomes ["v=spf1 mx -all"], TTL 3600
}

func TestARecordThatNobodyHerePublishedIsToldApart(t *testing.T) {
	w := Wish{Name: "m1._domainkey.example.org", Type: dnsrecord.TXT, Kind: Exclusive, Value: "v=DKIM1; p=MII", Adoption: Identical}
	seen := map[Key]dnsrecord.Set{w.Key(): {Name: w.Name, Type: w.Type, Values: []string{w.Value}}}
	for name, c := range map[string]struct {
		marker  Marker
		ours    []string
		adopted bool
	}{
		"it stood there":         {adopted: true},
		"the marker lists it":    {marker: Marker{Digests: []string{Digest(w.Name, w.Type, w.Value)}}},
		"the status tells of it": {ours: []string{w.Value}},
	} {
		w.Ours = c.ours
		if _, out := Plan(seen, c.marker, []Wish{w}); out[0].State != InPlace || out[0].Adopted != c.adopted {
			t.Errorf("%s: %+v", name, out[0])
		}
	}
}
