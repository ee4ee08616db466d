// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const days = 24 * time.Hour

var lives = Lifetimes{Overlap: 14 * days, Tombstone: 30 * days, RevocationGrace: 3 * time.Minute, LongestTTL: time.Hour}

func retires(k *Key) {
	k.Intent, k.SigningSince, k.RetiredAt = ToRetire, day.Add(-90*days), day.Add(-time.Hour)
}
func never(k *Key)    { k.Intent = ToRetire }
func emptied(k *Key)  { k.RevokedAt = day.Add(-time.Hour) }
func removed(k *Key)  { k.RemovedAt = day.Add(-time.Minute) }
func longAgo(k *Key)  { k.RetiredAt = day.Add(-20 * days) }
func unnoted(k *Key)  { k.RetiredAt = time.Time{} }
func unread(k *Key)   { k.Unsure = "the signing Secret, which cannot be read" }
func heldByB(k *Key)  { k.HeldBy = "pod b still holds a" }
func inSecret(k *Key) { k.Signs = true }

func TestRetire(t *testing.T) {
	inDoubt := lives
	inDoubt.ClockInDoubt = true
	for name, c := range map[string]struct {
		key  Key
		l    Lifetimes
		want string
	}{
		"a key that is not retired keeps its record":            {key("a", signs), lives, "Keep"},
		"a retired key keeps its record for the overlap":        {key("a", retires), lives, "Keep, waiting for mail on its way that it signed, until 2026-12-07T03:03:00Z"},
		"then it is emptied":                                    {key("a", retires, longAgo), lives, "Empty"},
		"a key that signs keeps its record":                     {key("a", retires, longAgo, inSecret), lives, "Keep, waiting for another key to sign: the signing Secret holds it"},
		"also while nobody noted that signers dropped it":       {key("a", retires, unnoted), lives, "Keep, waiting for the note that signers hold it no more"},
		"also while a signer still holds it":                    {key("a", retires, longAgo, heldByB), lives, "Keep, waiting for signers to drop it: pod b still holds a"},
		"also while something cannot be read":                   {key("a", retires, longAgo, unread), lives, "Keep, waiting for the signing Secret, which cannot be read"},
		"also while our clock is in doubt":                      {key("a", retires, longAgo), inDoubt, "Keep, waiting for our clock and the API server's to agree"},
		"an adopted key keeps its record":                       {key("a", retires, longAgo, adopted), lives, "Keep, waiting for a person's word that nobody else signs with it: its record was there before (revoked: true)"},
		"until it is revoked":                                   {key("a", retires, longAgo, adopted, revoked), lives, "Empty"},
		"the tombstone stands for a while":                      {key("a", retires, longAgo, emptied), lives, "Empty, waiting for receivers to see its empty record, until 2026-12-23T03:00:00Z"},
		"a clock in doubt does not bring a record back":         {key("a", retires, longAgo, emptied), inDoubt, "Empty, waiting for receivers to see its empty record, until 2026-12-23T03:00:00Z"},
		"a record that is gone is waited out":                   {key("a", retires, longAgo, emptied, removed), lives, "Remove, waiting for caches to forget its record, until 2026-11-23T04:59:00Z"},
		"a key that never signed goes at once":                  {key("a", never), lives, "Remove"},
		"a revoked key is emptied after the grace":              {key("a", retires, revoked, func(k *Key) { k.RetiredAt = day }), lives, "Keep, waiting for signers to drop it, until 2026-11-23T04:03:00Z"},
		"also while a signer still holds it: it is compromised": {key("a", retires, revoked, heldByB), lives, "Empty"},
		"a revoked spare is emptied at once":                    {key("a", revoked), lives, "Empty"},
		"a conflict is a person's":                              {key("a", never, conflict), lives, "Keep, waiting for a person to resolve the conflict at its record"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Retire(c.key, c.l, day)
			got := r.Stage.String()
			if r.Why != "" {
				got += ", waiting for " + r.WaitingFor()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Invariants 2, 5, 7 and 8 of one key, whatever happens to it.
func TestARecordStaysAsLongAsItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, l, now := key("a", retires), lives, day
		l.Overlap = time.Duration(rapid.IntRange(0, 20).Draw(t, "overlap")) * days
		l.Tombstone = time.Duration(rapid.IntRange(0, 40).Draw(t, "tombstone")) * days
		k.Signs, k.RetiredAt = true, time.Time{}
		left := time.Time{} // when it really left
		for range rapid.IntRange(1, 60).Draw(t, "rounds") {
			now = now.Add(time.Duration(rapid.IntRange(1, 5*24).Draw(t, "hours")) * time.Hour)
			switch rapid.SampledFrom([]string{"leave", "note", "look", "look", "hold", "unsure", "clock"}).Draw(t, "event") {
			case "leave":
				if k.Signs {
					k.Signs, left = false, now
				}
			case "note":
				if !k.Signs && k.RetiredAt.IsZero() {
					k.RetiredAt = now
				}
			case "hold":
				k.HeldBy = rapid.SampledFrom([]string{"", "pod b"}).Draw(t, "held by")
			case "unsure":
				k.Unsure = rapid.SampledFrom([]string{"", "unknown"}).Draw(t, "unsure")
			case "clock":
				l.ClockInDoubt = !l.ClockInDoubt
			}
			before := k.reached()
			r := Retire(k, l, now)
			switch {
			case r.Stage < before:
				t.Fatalf("back from %s to %s", before, r.Stage)
			case r.Stage == before:
				continue
			case r.Stage > before+1:
				t.Fatalf("from %s to %s at once", before, r.Stage)
			case k.Unsure != "":
				t.Fatal("invariant 7: it goes on though something is unknown")
			case l.ClockInDoubt:
				t.Fatal("invariant 8: it goes on though our clock is in doubt")
			case before == Keep && (k.Signs || k.HeldBy != "" || now.Before(left.Add(l.Overlap))):
				t.Fatalf("invariant 2: its record changes %s after it left, overlap %s, held by %q", now.Sub(left), l.Overlap, k.HeldBy)
			}
			switch r.Stage {
			case Empty:
				k.RevokedAt = now
			case Remove:
				k.RemovedAt = now
			case Keep, Gone:
				if k.RemovedAt.IsZero() || now.Before(k.RemovedAt.Add(l.LongestTTL)) {
					t.Fatal("invariant 5: it is deleted while its record may be known")
				}
				return
			}
		}
	})
}

func TestClocksAgreeWithinFiveMinutes(t *testing.T) {
	for offset, want := range map[time.Duration]bool{0: true, 5 * time.Minute: true, -5 * time.Minute: true, 301 * time.Second: false, -days: false} {
		if got := ClocksAgree(day.Add(offset), day); got != want {
			t.Errorf("%s apart: %t", offset, got)
		}
	}
}
