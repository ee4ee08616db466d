// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

var now = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// signed is a key that has signed for an hour and has just left the signing Secret.
func signed() *v1alpha1.DKIMKey {
	since := metav1.NewTime(now.Add(-time.Hour))
	return &v1alpha1.DKIMKey{
		Spec: v1alpha1.DKIMKeySpec{Domain: "example.org", Selector: "m1", Algorithm: v1alpha1.AlgorithmRSA, Intent: v1alpha1.IntentSigning},
		Status: v1alpha1.DKIMKeyStatus{
			PublicKeySHA256: "aa", RecordName: "m1._domainkey.example.org", RecordValue: "v=DKIM1; k=rsa; p=MII", RecordState: v1alpha1.RecordVerified,
			PublishedTime: &since, VerifiedTime: &since, UsableTime: &since, SigningSinceTime: &since,
		},
	}
}

// retired adds the decision on what shall stand under the selector, as observe does.
func retired(seen observation, grace time.Duration, at time.Time) observation {
	seen.lifetimes = rotation.Lifetimes{Overlap: 14 * 24 * time.Hour, Tombstone: 30 * 24 * time.Hour, RevocationGrace: grace}
	seen.retirement = rotation.Retire(seen.view(seen.key.Status), seen.lifetimes, at)
	return seen
}

func TestARevokedKeysRecordStandsUntilSignersHaveDroppedTheKey(t *testing.T) {
	r := &Reconciler{Settings: Settings{RevocationGrace: 3 * time.Minute}, Retry: time.Hour}
	key := signed()
	key.Spec.Revoked = true
	published := key.Status.RecordValue

	seen := retired(observation{key: key}, r.Settings.RevocationGrace, now)
	if got := wanted(seen); got.Value != published {
		t.Errorf("at once %q is wanted", got.Value)
	}
	d := r.decide(seen, now)
	if d.status.RetiredTime == nil || !d.lookAgain.Equal(now.Add(3*time.Minute)) {
		t.Fatalf("retired at %v, looks again at %s", d.status.RetiredTime, d.lookAgain)
	}
	key.Status = d.status
	if got := wanted(retired(seen, 3*time.Minute, now.Add(179*time.Second))); got.Value != published {
		t.Errorf("before the grace is over %q is wanted", got.Value)
	}
	if got := wanted(retired(seen, 3*time.Minute, now.Add(3*time.Minute))); got.Value != tombstone(key) {
		t.Errorf("after the grace %q is wanted", got.Value)
	}
}

func TestARevokedKeyThatNeverSignedIsEmptiedAtOnce(t *testing.T) {
	key := signed()
	key.Spec.Revoked, key.Status.SigningSinceTime = true, nil
	if got := wanted(retired(observation{key: key}, time.Hour, now)); got.Value != tombstone(key) {
		t.Errorf("%q is wanted", got.Value)
	}
}

func TestAPodThatShowsAKeyLateHasItsOverlapBeginAnew(t *testing.T) {
	key := signed()
	key.Spec.Intent, key.Status.RetiredTime = v1alpha1.IntentRetired, &metav1.Time{Time: now.Add(-time.Hour)}
	d := decision{status: key.Status}
	if d.signingSince(observation{key: key, heldBy: []string{"pod mta-0 still holds m1"}}, now); d.status.RetiredTime != nil {
		t.Errorf("it counts from %s", d.status.RetiredTime)
	}
	if d.signingSince(observation{key: key}, now); d.status.RetiredTime == nil || !d.status.RetiredTime.Time.Equal(now) {
		t.Errorf("when the pod has dropped it, it counts from %v", d.status.RetiredTime)
	}
}

func TestOnlyARecordThatStoodThereBeforeIsUsableAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		outcome dnsplan.Outcome
		usable  bool
	}{
		"it signs elsewhere already": {dnsplan.Outcome{State: dnsplan.InPlace, Adopted: true}, true},
		"published now":              {dnsplan.Outcome{State: dnsplan.InPlace, Changed: true}, false},
		"published by an attempt that was not seen to succeed": {dnsplan.Outcome{State: dnsplan.InPlace}, false},
	} {
		t.Run(name, func(t *testing.T) {
			key := signed()
			key.Spec.PrivateKeySecretName = "brought-along"
			key.Status.RecordState, key.Status.PublishedTime, key.Status.UsableTime = v1alpha1.RecordPublished, nil, nil
			d := decision{status: key.Status}
			d.publishedAt(observation{key: key, outcome: &c.outcome}, now)
			if d.status.PublishedTime == nil || (d.status.UsableTime != nil) != c.usable {
				t.Errorf("published at %v, usable at %v", d.status.PublishedTime, d.status.UsableTime)
			}
		})
	}
}

func TestAKeyThatSignsIsNeverMadeAnew(t *testing.T) {
	pair, err := dkim.Generate(t.Context(), dkim.Ed25519, 0)
	if err != nil {
		t.Fatal(err)
	}
	key := signed()
	key.Status = v1alpha1.DKIMKeyStatus{} // lost, and the Secret with it
	d := decision{status: key.Status}
	d.keyPair(observation{key: key, hasPlace: true, signed: keydir.Key{Selector: "m1", Pair: pair}}, false)
	if d.makePair || !d.restore {
		t.Errorf("makes a pair: %v, restores: %v", d.makePair, d.restore)
	}
}

func TestAKeyWaitsAsLongAsAnyCacheMayDenyIt(t *testing.T) {
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	wait := func(d time.Duration) dnscheck.Verdict { return dnscheck.Verdict{State: dnscheck.Verified, Wait: d} }
	lacked := wait(time.Hour)
	lacked.LastLacking = now.Add(-5 * time.Minute)
	for name, c := range map[string]struct {
		state   v1alpha1.RecordState
		before  v1alpha1.DKIMKeyStatus
		verdict dnscheck.Verdict
		usable  *metav1.Time
	}{
		"from now on":                           {v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{}, wait(time.Hour), at(time.Hour + time.Second)},
		"never less than the minimum":           {v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{}, wait(time.Minute), at(15*time.Minute + time.Second)},
		"the longest that was ever seen":        {v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{WaitSeconds: 7200}, wait(time.Hour), at(2*time.Hour + time.Second)},
		"no longer than a cache keeps anything": {v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{}, wait(1 << 62), at(maxWait + time.Second)},
		"from the last moment at which a server lacked it": {
			v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{VerifiedTime: at(-time.Hour)}, lacked, at(55*time.Minute + time.Second),
		},
		"a wait that is over is not begun again": {
			v1alpha1.RecordVerified, v1alpha1.DKIMKeyStatus{VerifiedTime: at(-time.Hour), UsableTime: at(-time.Minute)}, wait(3 * time.Hour), at(-time.Minute),
		},
		"a relapse begins it again": {v1alpha1.RecordDrifted, v1alpha1.DKIMKeyStatus{VerifiedTime: at(-time.Hour), UsableTime: at(-time.Minute)}, wait(time.Hour), nil},
	} {
		t.Run(name, func(t *testing.T) {
			key := &v1alpha1.DKIMKey{Status: c.before}
			key.Status.RecordState, key.Status.PublishedTime = c.state, at(-2*time.Hour)
			d := decision{status: key.Status}
			d.times(observation{key: key, verdict: c.verdict, looked: true}, now, Settings{MinimumWait: 15 * time.Minute})
			if !d.status.UsableTime.Equal(c.usable) {
				t.Errorf("usable at %v, want %v", d.status.UsableTime, c.usable)
			}
		})
	}
}
