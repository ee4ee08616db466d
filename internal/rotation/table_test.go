// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table in docs/rotation.md anew")

// row is a line of the table in docs/rotation.md: a key, what is seen of it and around it, and what becomes of that. The
// first key is the one that the line is about.
type row struct {
	phase  Phase
	seen   string
	policy Policy
	keys   []Key
}

var (
	undone  = Policy{Undo: day, Lifetimes: lives}
	due     = Policy{RotateAt: day, Lifetimes: lives}
	routine = Policy{Lifetimes: lives}
	doubt   = Policy{RotateAt: day, Lifetimes: Lifetimes{ClockInDoubt: true, Overlap: 14 * days}}
	b       = key("b", newer)
	bSigns  = key("b", newer, signs)
)

func unpaired(k *Key) {
	k.KeyPair, k.PublishedAt, k.VerifiedAt, k.UsableAt = false, time.Time{}, time.Time{}, time.Time{}
}

func unpublished(k *Key) {
	k.PublishedAt, k.VerifiedAt, k.UsableAt = time.Time{}, time.Time{}, time.Time{}
}
func forgotten(k *Key)  { k.RemovedAt = day.Add(-2 * time.Hour) }
func tombstoned(k *Key) { k.RevokedAt = day.Add(-31 * days) }

var table = []row{
	{"", "nothing: the spec wants a key, and none signs or is on its way", routine, nil},
	{Pending, "its private key is not made yet", routine, []Key{key("a", unpaired)}},
	{Pending, "its private key is gone, and another spare stands", routine, []Key{key("a", gone), bSigns, key("c", newer)}},
	{Publishing, "the provider does not hold its record yet", routine, []Key{key("a", unpublished)}},
	{Publishing, "a name server does not answer its record yet, or not any more", routine, []Key{key("a", unseen)}},
	{Publishing, "every server answers it; a cache may still remember that there was nothing", routine, []Key{key("a", waits)}},
	{Standby, "no key signs; the last look at the servers is older than two minutes", routine, []Key{key("a", stale)}},
	{Standby, "no key signs; every server answered it just now", routine, []Key{key("a")}},
	{Standby, "another key signs, and no rotation is due", routine, []Key{key("a"), bSigns}},
	{Standby, "a rotation is due; the last look is older than two minutes", due, []Key{key("a", stale), bSigns}},
	{Standby, "a rotation is due; every server answered it just now", due, []Key{key("a"), bSigns}},
	{Standby, "the key that signs is revoked, lost, deleted, or of another size than the spec says", routine, []Key{key("a"), key("b", newer, signs, small)}},
	{Standby, "a rotation is due, but our clock and the API server's are more than five minutes apart", doubt, []Key{key("a"), bSigns}},
	{Standby, "its size is not what the spec says", routine, []Key{key("a", small), bSigns, key("c", newer)}},
	{Standby, "someone else's record stands under its selector", routine, []Key{key("a", conflict), bSigns, key("c", newer)}},
	{Signing, "there is no spare", routine, []Key{key("a", signs)}},
	{Signing, "there is a spare, and no rotation is due", routine, []Key{key("a", signs), b}},
	{Signing, "a rotation is due, and the spare may not sign yet", due, []Key{key("a", signs), key("b", newer, waits)}},
	{Signing, "a rotation is due, and nobody noted yet when it began to sign", due, []Key{key("a", signs, func(k *Key) { k.SigningSince = time.Time{} }), b}},
	{Signing, "it is revoked, and there is a spare", routine, []Key{key("a", signs, revoked), b}},
	{Signing, "it is revoked, and there is none: mail is held", routine, []Key{key("a", signs, revoked)}},
	{Signing, "something that matters cannot be read", due, []Key{key("a", signs, unread), b}},
	{Retiring, "the signing Secret does not hold it any more", routine, []Key{key("a", former), bSigns, key("c", newer)}},
	{Retiring, "the overlap lasts", routine, []Key{key("a", retires), bSigns, key("c", newer)}},
	{Retiring, "a pod of dkim.signers still shows it", routine, []Key{key("a", retires, longAgo, heldByB), bSigns, key("c", newer)}},
	{Retiring, "a person undoes the rotation", undone, []Key{key("a", retires), bSigns, key("c", newer)}},
	{Retiring, "the overlap is over", routine, []Key{key("a", retires, longAgo), bSigns, key("c", newer)}},
	{Retiring, "the overlap is over, but our clock and the API server's are more than five minutes apart", Policy{Lifetimes: doubt.Lifetimes}, []Key{key("a", retires, longAgo), bSigns, key("c", newer)}},
	{Retiring, "it never signed", routine, []Key{key("a", never), bSigns, key("c", newer)}},
	{Retiring, "it was brought along by a person (privateKeySecretName)", routine, []Key{key("a", retires, longAgo, adopted), bSigns, key("c", newer)}},
	{Revoked, "it is revoked, and signers may still hold it", routine, []Key{key("a", retires, revoked, func(k *Key) { k.RetiredAt = day }), bSigns, key("c", newer)}},
	{Revoked, "it is revoked, and signers have dropped it", routine, []Key{key("a", retires, revoked), bSigns, key("c", newer)}},
	{Revoked, "the tombstone stands", routine, []Key{key("a", retires, emptied), bSigns, key("c", newer)}},
	{Revoked, "the tombstone has stood long enough", routine, []Key{key("a", retires, tombstoned), bSigns, key("c", newer)}},
	{Revoked, "no server answers its record any more; a cache may", routine, []Key{key("a", retires, tombstoned, removed), bSigns, key("c", newer)}},
	{Revoked, "no cache can know its record any more", routine, []Key{key("a", retires, tombstoned, forgotten), bSigns, key("c", newer)}},
}

// step says what becomes of the row's key, in the words of the table.
func (r row) step() string {
	r.policy.Keys, r.policy.Selectors = []WantedKey{rsa}, prefix
	d := Next(r.policy, r.keys, day)
	var steps []string
	for _, s := range d.Steps {
		steps = append(steps, r.say(s))
	}
	if len(r.keys) > 0 {
		stage, before := Retire(r.keys[0], r.policy.Lifetimes, day), r.keys[0].reached()
		if stage.Stage > before {
			steps = append(steps, map[Stage]string{Empty: "its record is emptied (`p=`)", Remove: "its record is removed"}[stage.Stage])
		} else if stage.Why != "" && !r.keys[0].Signs && len(steps) == 0 {
			steps = append(steps, "it waits for "+stage.Why)
		}
	}
	for wait := range strings.SplitSeq(d.WaitingFor, "; ") {
		if selector, what, ok := strings.Cut(wait, ": "); ok && len(d.Steps) == 0 {
			what, _, _ = strings.Cut(what, ", until")
			steps = append(steps, map[bool]string{true: "it", false: "the rotation"}[selector == "a" && r.phase != Signing]+" waits for "+what)
		}
	}
	steps = slices.DeleteFunc(steps, func(s string) bool { return s == "" })
	if len(steps) == 0 {
		return "nothing"
	}
	return strings.Join(steps, "; ")
}

func (r row) say(s Step) string {
	who := func(name string) string {
		if name == "example-org-a" {
			return "it"
		}
		return "the other key"
	}
	switch s := s.(type) {
	case CreateKey:
		return "a key is made under a new selector"
	case Sweep:
		return "every server is asked about " + strings.Replace(who(s.Key), "it", "it once more", 1)
	case SetIntent:
		return who(s.Key) + map[Intent]string{ToSign: " is told to sign", ToRetire: " is told to retire", ToStandBy: ""}[s.Intent]
	case SignWith:
		switch {
		case len(s.Selectors) == 0:
			return "signers get no key"
		case s.Selectors[0] == "a":
			return "signers get it alone"
		}
		return "signers get the other key alone"
	case DeleteKey:
		return "its DKIMKey and its Secret are deleted"
	}
	return fmt.Sprint(s)
}

func TestTheDocumentSaysWhatTheCodeDoes(t *testing.T) {
	const path, begin, end = "../../docs/rotation.md", "<!-- table: go test ./internal/rotation -run Document -update -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	was, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", path)
	}
	var b strings.Builder
	b.WriteString("| phase | what is seen | what happens |\n|---|---|---|\n")
	for _, r := range table {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.phase, r.seen, r.step())
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+begin+b.String()+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(was, b.String()); diff != "" {
		t.Errorf("%s does not say what the code does (-document +code):\n%s", path, diff)
	}
}

func TestTheTableSpeaksOfEveryPhase(t *testing.T) {
	seen := map[Phase]bool{}
	for _, r := range table {
		if len(r.keys) == 0 {
			continue
		}
		if got := PhaseOf(r.keys[0], day); got != r.phase {
			t.Errorf("%q is about a key that is %s, not %s", r.seen, got, r.phase)
		}
		seen[r.phase] = true
	}
	for _, phase := range []Phase{Pending, Publishing, Standby, Signing, Retiring, Revoked} {
		if !seen[phase] {
			t.Errorf("no line speaks of %s", phase)
		}
	}
}
