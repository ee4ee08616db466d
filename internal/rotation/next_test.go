// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

var (
	day    = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	rsa    = WantedKey{Algorithm: dkim.RSA, Bits: 2048}
	ed     = WantedKey{Algorithm: dkim.Ed25519}
	prefix = Selectors{Prefix: "m"}
)

type change func(*Key)

// key is an RSA key whose wait is over; changes make it something else.
func key(selector string, changes ...change) Key {
	k := Key{
		Name: "example-org-" + selector, Selector: selector, Algorithm: dkim.RSA, Bits: 2048, Created: day.Add(-time.Hour),
		Intent: ToStandBy, KeyPair: true, PublishedAt: day.Add(-time.Hour), VerifiedAt: day.Add(-time.Hour), UsableAt: day.Add(-time.Minute), Fresh: true,
	}
	for _, c := range changes {
		c(&k)
	}
	return k
}

func edKey(k *Key)    { k.Algorithm, k.Bits = dkim.Ed25519, 0 }
func signs(k *Key)    { k.Signs, k.Intent, k.SigningSince = true, ToSign, day.Add(-30*time.Minute) }
func elected(k *Key)  { k.Intent = ToSign }
func former(k *Key)   { k.Intent, k.SigningSince = ToSign, day.Add(-24*time.Hour) }
func revoked(k *Key)  { k.Revoked = true }
func conflict(k *Key) { k.Conflict = true }
func lost(k *Key)     { k.KeyPair = false }
func gone(k *Key)     { k.KeyPair, k.Lost = false, true }
func stale(k *Key)    { k.Fresh = false }
func deleting(k *Key) { k.Deleting = true }
func small(k *Key)    { k.Bits = 1024 }
func adopted(k *Key)  { k.Adopted = true }
func newer(k *Key)    { k.Created = day }
func waits(k *Key)    { k.UsableAt = day.Add(20 * time.Minute) }
func unseen(k *Key)   { k.VerifiedAt, k.UsableAt = time.Time{}, time.Time{} }

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		keys   []Key
		want   []Step
	}{
		"a new domain gets one key per algorithm": {
			policy: Policy{Keys: []WantedKey{rsa, ed}},
			want:   []Step{CreateKey{"m20261123r", dkim.RSA, 2048}, CreateKey{"m20261123e", dkim.Ed25519, 0}},
		},
		"no spare is made before a key signs":                 {keys: []Key{key("a", unseen)}},
		"a key waits until caches have forgotten its absence": {keys: []Key{key("a", waits)}},
		"a key whose wait is over is looked at once more": {
			keys: []Key{key("a", stale)}, want: []Step{Sweep{"example-org-a"}},
		},
		"a key that all the world sees begins to sign": {
			keys: []Key{key("a")}, want: []Step{SetIntent{"example-org-a", ToSign}, SignWith{[]string{"a"}}},
		},
		"a crash before the signing Secret was written is made good": {
			keys: []Key{key("a", elected)}, want: []Step{SignWith{[]string{"a"}}},
		},
		"Ed25519 never begins before RSA": {
			policy: Policy{Keys: []WantedKey{rsa, ed}}, keys: []Key{key("a", unseen), key("e", edKey)},
		},
		"RSA and Ed25519 begin together": {
			policy: Policy{Keys: []WantedKey{rsa, ed}}, keys: []Key{key("a"), key("e", edKey)},
			want: []Step{SetIntent{"example-org-a", ToSign}, SetIntent{"example-org-e", ToSign}, SignWith{[]string{"a", "e"}}},
		},
		"once a key signs there is one spare": {
			keys: []Key{key("a", signs)}, want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}},
		},
		"with a spare nothing is left to do":                {keys: []Key{key("a", signs), key("b", newer)}},
		"a spare that still waits is no reason for another": {keys: []Key{key("a", signs), key("b", newer, unseen)}},
		"a spare whose private key is gone is replaced, never remade": {
			keys: []Key{key("a", signs), key("m20261123r", newer, gone)}, want: []Step{CreateKey{"m20261123r2", dkim.RSA, 2048}},
		},
		"a rotation swaps in one write, and retires only what was seen gone": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs), key("b", newer)},
			want: []Step{SetIntent{"example-org-b", ToSign}, SignWith{[]string{"b"}}},
		},
		"a rotation without a usable spare leaves the old key signing": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs), key("b", newer, waits)},
		},
		"after the swap the old key retires and the next spare is made": {
			keys: []Key{key("a", former), key("b", signs, newer)},
			want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}, SetIntent{"example-org-a", ToRetire}},
		},
		"an old key never swaps back": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", former), key("b", signs, newer), key("c", newer, unseen)},
			want: []Step{SetIntent{"example-org-a", ToRetire}},
		},
		"a signing Secret that was deleted is written again with the key that signed": {
			keys: []Key{key("a", former), key("b", newer)}, want: []Step{SignWith{[]string{"a"}}},
		},
		"a revoked key leaves at once and the spare takes over": {
			keys: []Key{key("a", signs, revoked), key("b", newer)},
			want: []Step{SetIntent{"example-org-b", ToSign}, SignWith{[]string{"b"}}},
		},
		"a revocation without a spare stops signing rather than sign with it": {
			keys: []Key{key("a", signs, revoked)}, want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}, SignWith{nil}},
		},
		"after a revocation Ed25519 does not go on alone": {
			policy: Policy{Keys: []WantedKey{rsa, ed}},
			keys:   []Key{key("a", signs, revoked), key("b", newer, unseen), key("e", edKey, signs), key("f", edKey, newer)},
			want:   []Step{SignWith{nil}},
		},
		"a lost private key is replaced while it signs on": {
			keys: []Key{key("a", signs, lost), key("b", newer)},
			want: []Step{SetIntent{"example-org-b", ToSign}, SignWith{[]string{"b"}}},
		},
		"a lost private key without a spare signs on from the signing Secret": {
			keys: []Key{key("a", signs, lost)}, want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}},
		},
		"a key that a person deletes makes way first": {
			keys: []Key{key("a", signs, deleting), key("b", newer)},
			want: []Step{SetIntent{"example-org-b", ToSign}, SignWith{[]string{"b"}}},
		},
		"a change of size makes a new key beside the old": {
			keys: []Key{key("a", signs, small)}, want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}},
		},
		"a spare of the wrong size retires": {
			keys: []Key{key("a", signs), key("b", newer, small)},
			want: []Step{CreateKey{"m20261123r", dkim.RSA, 2048}, SetIntent{"example-org-b", ToRetire}},
		},
		"an adopted key signs on whatever its size": {keys: []Key{key("a", signs, small, adopted), key("b", newer)}},
		"a selector where a foreign record stands is passed over": {
			keys: []Key{key("m20261123r", conflict)}, want: []Step{CreateKey{"m20261123r2", dkim.RSA, 2048}},
		},
		"keys that cannot be used do not pile up": {
			keys: []Key{key("a", conflict), key("b", conflict), key("c", conflict), key("d", conflict)},
		},
		"a domain without dkim signs no more and retires its keys when they are out": {
			policy: Policy{Keys: []WantedKey{}}, keys: []Key{key("a", signs), key("b", newer)},
			want: []Step{SignWith{nil}, SetIntent{"example-org-b", ToRetire}},
		},
		"an algorithm that left the spec leaves the signing Secret before it retires": {
			keys: []Key{key("a", signs), key("b", newer), key("e", edKey, signs)},
			want: []Step{SignWith{[]string{"a"}}},
		},
		"a ring with no free slot waits": {
			policy: Policy{Selectors: Selectors{Ring: []string{"a", "b"}}}, keys: []Key{key("a", signs, small), key("b", newer, small, conflict)},
			want: []Step{SetIntent{"example-org-b", ToRetire}},
		},
		"a ring is shared: the algorithm whose key is older gets the slot": {
			policy: Policy{Keys: []WantedKey{rsa, ed}, Selectors: Selectors{Ring: []string{"a", "b", "c"}}},
			keys:   []Key{key("a", signs), key("b", edKey, signs, func(k *Key) { k.SigningSince = day.Add(-48 * time.Hour) })},
			want:   []Step{CreateKey{"c", dkim.Ed25519, 0}},
		},
		"a slot of the ring that is revoked is given to nobody": {
			policy: Policy{Selectors: Selectors{Ring: []string{"a", "b", "c"}, Revoked: []string{"b"}}},
			keys:   []Key{key("a", signs)}, want: []Step{CreateKey{"c", dkim.RSA, 2048}},
		},
		"a key that came back makes way only once that was noted": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs, func(k *Key) { k.RetiredAt = day.Add(-48 * time.Hour) }), key("b", newer)},
		},
		"a rotation of both algorithms is one write": {
			policy: Policy{Keys: []WantedKey{rsa, ed}, RotateAt: day},
			keys:   []Key{key("a", signs), key("b", newer), key("e", edKey, signs), key("f", edKey, newer)},
			want:   []Step{SetIntent{"example-org-b", ToSign}, SetIntent{"example-org-f", ToSign}, SignWith{[]string{"b", "f"}}},
		},
		"so that one waits for the last look at the other": {
			policy: Policy{Keys: []WantedKey{rsa, ed}, RotateAt: day},
			keys:   []Key{key("a", signs), key("b", newer), key("e", edKey, signs), key("f", edKey, newer, stale)},
			want:   []Step{Sweep{"example-org-f"}},
		},
		"but not for one that is not ready": {
			policy: Policy{Keys: []WantedKey{rsa, ed}, RotateAt: day},
			keys:   []Key{key("a", signs), key("b", newer), key("e", edKey, signs), key("f", edKey, newer, waits)},
			want:   []Step{SetIntent{"example-org-b", ToSign}, SignWith{[]string{"b", "e"}}},
		},
		"a rotation is undone while the former record stands": {
			policy: Policy{Undo: day, Lifetimes: lives},
			keys:   []Key{key("a", former, retires), key("b", signs, newer), key("c", newer)},
			want:   []Step{SetIntent{"example-org-a", ToSign}, SignWith{[]string{"a"}}},
		},
		"after a last look at it": {
			policy: Policy{Undo: day, Lifetimes: lives},
			keys:   []Key{key("a", former, retires, stale), key("b", signs, newer), key("c", newer)},
			want:   []Step{Sweep{"example-org-a"}},
		},
		"what was undone is not undone again, and the other one retires": {
			policy: Policy{Undo: day, RotateAt: day.Add(-40 * time.Minute), Lifetimes: lives},
			keys:   []Key{key("a", former, func(k *Key) { k.Signs = true }), key("b", newer, elected, func(k *Key) { k.SigningSince = day.Add(-time.Minute) }), key("c", newer)},
			want:   []Step{SetIntent{"example-org-b", ToRetire}},
		},
		"nothing is undone once the record was emptied": {
			policy: Policy{Undo: day, Lifetimes: lives}, keys: []Key{key("a", former, retires, emptied), key("b", signs, newer), key("c", newer)},
		},
		"nor shortly before": {
			policy: Policy{Undo: day, Lifetimes: lives},
			keys: []Key{
				key("a", former, retires, func(k *Key) { k.RetiredAt = day.Add(-lives.Overlap) }), key("b", signs, newer), key("c", newer),
			},
		},
		"a key without a trace in the DNS is deleted": {
			policy: Policy{Lifetimes: lives},
			keys:   []Key{key("a", retires, emptied, func(k *Key) { k.RemovedAt = day.Add(-2 * time.Hour) }), key("b", signs), key("c", newer)},
			want:   []Step{DeleteKey{"example-org-a"}},
		},
		"but not before caches have forgotten it": {
			policy: Policy{Lifetimes: lives}, keys: []Key{key("a", retires, emptied, removed), key("b", signs), key("c", newer)},
		},
		"nor one that a person wrote": {
			policy: Policy{Lifetimes: lives},
			keys: []Key{
				key("a", retires, emptied, func(k *Key) { k.RemovedAt, k.Manual = day.Add(-2*time.Hour), true }), key("b", signs), key("c", newer),
			},
		},
		"nothing is decided while something cannot be read": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs), key("b", newer, unread)},
		},
		"no wait is over while our clock is in doubt": {
			policy: Policy{RotateAt: day, Lifetimes: Lifetimes{ClockInDoubt: true}}, keys: []Key{key("a", signs), key("b", newer)},
		},
		"but a key that signed before signs again": {
			policy: Policy{Lifetimes: Lifetimes{ClockInDoubt: true}}, keys: []Key{key("a", former), key("b", newer)},
			want: []Step{SignWith{[]string{"a"}}},
		},
		"a key makes way only once it was noted that it signs": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs, func(k *Key) { k.SigningSince = time.Time{} }), key("b", newer)},
		},
		"an elected key is not thrown away while it is looked at": {
			policy: Policy{RotateAt: day}, keys: []Key{key("a", signs), key("b", newer, elected, stale)}, want: []Step{Sweep{"example-org-b"}},
		},
		"a spare without a private key retires when another stands": {
			keys: []Key{key("a", signs), key("b", newer, gone), key("c", newer)}, want: []Step{SetIntent{"example-org-b", ToRetire}},
		},
		"a key that signs is asked to": {
			keys: []Key{key("a", signs, func(k *Key) { k.Intent = ToRetire }), key("b", newer)}, want: []Step{SetIntent{"example-org-a", ToSign}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.policy.Keys == nil {
				c.policy.Keys = []WantedKey{rsa}
			}
			if len(c.policy.Selectors.Ring) == 0 {
				c.policy.Selectors = prefix
			}
			got := Next(c.policy, c.keys, day)
			if diff := cmp.Diff(c.want, got.Steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			slices.Reverse(c.keys)
			if diff := cmp.Diff(got, Next(c.policy, c.keys, day)); diff != "" {
				t.Errorf("the order in which keys are listed changes the decision:\n%s", diff)
			}
		})
	}
}

func TestAWaitIsNamedWithItsEndAndLookedAtThen(t *testing.T) {
	d := Next(Policy{Keys: []WantedKey{rsa}, Selectors: prefix}, []Key{key("a", waits)}, day)
	if want := "a: caches, until 2026-11-23T04:20:00Z"; d.WaitingFor != want {
		t.Errorf("waiting for %q, want %q", d.WaitingFor, want)
	}
	if want := day.Add(20 * time.Minute); !d.LookAgain.Equal(want) {
		t.Errorf("looks again at %s, want %s", d.LookAgain, want)
	}
}

func TestASelectorIsNeverUsedTwice(t *testing.T) {
	used := Selectors{Prefix: "m", Used: []string{"m20261123r", "m20261123r2"}}
	d := Next(Policy{Keys: []WantedKey{rsa}, Selectors: used}, nil, day)
	if diff := cmp.Diff([]Step{CreateKey{"m20261123r3", dkim.RSA, 2048}}, d.Steps); diff != "" {
		t.Error(diff)
	}
}

func TestPhaseOf(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want Phase
	}{
		{Key{}, Pending},
		{key("a", unseen), Publishing},
		{key("a", waits), Publishing},
		{key("a"), Standby},
		{key("a", elected), Standby},
		{key("a", signs), Signing},
		{key("a", signs, revoked), Signing}, // still in the signing Secret: the phase says what is, not what should be
		{key("a", func(k *Key) { k.Intent = ToRetire }), Retiring},
		{key("a", former), Retiring}, // it left the signing Secret, and nobody told it yet
		{key("a", retires, emptied), Revoked},
		{key("a", revoked), Revoked},
	} {
		if got := PhaseOf(c.key, day); got != c.want {
			t.Errorf("%+v is %s, want %s", c.key, got, c.want)
		}
	}
}

func TestSchedules(t *testing.T) {
	s, err := ParseSchedule("0 4 1 */3 *", "Europe/Berlin", day)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Next(day), time.Date(2027, 1, 1, 3, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("fires at %s, want %s", got.UTC(), want)
	}
	for _, bad := range []struct{ schedule, zone, want string }{
		{"0 4 * * *", "Mars/Olympus", `time zone "Mars/Olympus" is unknown: write a name of the IANA database, such as Europe/Berlin`},
		{"0 4 * * *", "Local", `time zone "Local" is unknown: write a name of the IANA database, such as Europe/Berlin`},
		{"0 4 30 2 *", "", `schedule "0 4 30 2 *" never fires: its day and month do not exist together`},
		{"TZ=UTC 0 4 * * *", "", "write the time zone in timeZone, not in the schedule"},
	} {
		if _, err := ParseSchedule(bad.schedule, bad.zone, day); fmt.Sprint(err) != bad.want {
			t.Errorf("%s %s: %v, want %s", bad.schedule, bad.zone, err, bad.want)
		}
	}
}

func TestAKeyThatIsBeingMadeIsASpareAlready(t *testing.T) {
	made := v1alpha1.DKIMKey{Spec: v1alpha1.DKIMKeySpec{Selector: "b", Algorithm: v1alpha1.AlgorithmRSA, Bits: 2048}}
	d := Next(Policy{Keys: []WantedKey{rsa}, Selectors: prefix}, []Key{key("a", signs), KeyOf(&made)}, day)
	if len(d.Steps) != 0 {
		t.Errorf("steps %+v though a spare is on its way", d.Steps)
	}
}
