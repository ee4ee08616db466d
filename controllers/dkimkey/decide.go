// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/keysecret"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// decision is what to do with a key, and what its status shall say.
type decision struct {
	makePair bool // no key pair was ever made: make one
	restore  bool // the Secret is gone, but signers still hold the key: write it again
	mark     bool // the Secret may be used and does not say yet that we do
	watch    bool // ask the authoritative servers
	submit   bool // ask the provider
	recheck  bool // ask the provider again, for the record was changed outside
	forget   bool // the record is gone: nobody is asked about it any more

	status    v1alpha1.DKIMKeyStatus // without conditions
	findings  []readiness.Finding
	lookAgain time.Time
}

// decide is pure.
func (r *Reconciler) decide(seen observation, now time.Time) decision {
	d := decision{status: *seen.key.Status.DeepCopy(), findings: seen.findings}
	d.status.ObservedGeneration = seen.key.Generation
	d.keyPair(seen, seen.suspended())
	if seen.removes() {
		d.removal(seen, now)
	} else {
		d.publication(seen, now, seen.suspended())
	}
	d.status.Places = nil
	if d.status.RecordValue != "" {
		d.status.Places = seen.placeStatuses()
	}
	d.times(seen, now, r.Settings)
	d.phase(seen, now)
	if readiness.Unwatched(d.findings) {
		d.look(now.Add(r.Retry))
	}
	return d
}

func (d *decision) look(at time.Time) {
	if !at.IsZero() && (d.lookAgain.IsZero() || at.Before(d.lookAgain)) {
		d.lookAgain = at
	}
}

// keyPair decides about the Secret. A key pair is made once: never again under the same selector (RFC 6376 §3.1).
func (d *decision) keyPair(seen observation, suspended bool) {
	known := seen.key.Status.PublicKeySHA256 != ""
	lost := func(reason, message string, person bool) {
		d.findings = append(d.findings, readiness.Finding{
			Condition: v1alpha1.ConditionKeysReady, Reason: reason, Message: message, Person: person,
			Unwatched: person, // what a person puts there is not in the cache before we mark it
		})
	}
	d.status.PrivateKeySecretName = keysecret.Name(seen.key)
	switch {
	case !seen.pair.IsZero():
		d.status.PublicKeySHA256, d.status.Bits = seen.pair.PublicKeySHA256(), bitsOf(seen.pair)
		d.mark = !keysecret.Marked(seen.secret, seen.key) && !suspended
	case seen.secret != nil: // the finding is there already
	case seen.signs(): // also if the status was lost: another key pair would take the place of one that signs
		d.restore = !suspended
		lost(v1alpha1.ReasonKeyLost, "Secret "+keysecret.Name(seen.key)+" is gone; it is written again from the signing Secret", false)
	case known:
		lost(v1alpha1.ReasonKeyLost, "Secret "+keysecret.Name(seen.key)+" with the private key is gone; "+
			"put it back, or delete this DKIMKey: the MailDomain makes a key under a new selector", true)
	case seen.key.Spec.PrivateKeySecretName != "":
		lost(v1alpha1.ReasonSecretMissing, "Secret "+keysecret.Name(seen.key)+" does not exist; create it with the label "+
			v1alpha1.LabelAdopt+"=true and the entry "+v1alpha1.PrivateKeyEntry, true)
	default:
		// Only where it can be published: a key pair that nobody can verify is a secret too many.
		d.makePair = seen.hasPlace && !suspended
		if d.makePair {
			lost(v1alpha1.ReasonGeneratingKey, "the key pair is being made", false)
		}
	}
}

// bitsOf is the size of an RSA key; Ed25519 keys have one size, which nobody asks for.
func bitsOf(pair dkim.KeyPair) int32 {
	if pair.Algorithm() != dkim.RSA {
		return 0
	}
	return int32(pair.Bits()) //nolint:gosec // no key has more than 4096
}

// publication carries the record forward. The provider is asked only about what is not yet as it should be, and only
// for a text that the status already holds: after a crash we know our own record again.
func (d *decision) publication(seen observation, now time.Time, suspended bool) {
	if seen.record == "" || seen.want.Value == "" {
		return
	}
	before := seen.before()
	if !seen.hasPlace {
		return
	}
	known := evidence.Since(before, evidence.Of(seen.outcome, seen.place.Manual, seen.verdict, seen.looked), seen.outcome)
	known = evidence.Explain(before, known, seen.verdict, seen.place.Zone, seen.answeredAt)
	after := desired.Progress(before, seen.want, known, now)
	d.status.Zone, d.status.MarkerGeneration = place.Known(seen.place, seen.failure), max(d.status.MarkerGeneration, seen.generation)
	setRecord(&d.status, after)
	d.status.TargetName = ""
	if seen.place.Name != seen.record {
		d.status.TargetName = string(seen.place.Name)
	}

	persisted := before != nil && before.Value == after.Value
	d.recheck = before != nil && before.State != v1alpha1.RecordDrifted && after.State == v1alpha1.RecordDrifted
	again, look := evidence.AskAgain(after, seen.outcome, seen.answeredAt, seen.verdict, now)
	d.look(look)
	d.recheck = (d.recheck || again || d.askOnce(seen, now) || evidence.Outdated(before, seen.answeredAt)) && !suspended
	needed := evidence.NeedsProvider(after, seen.outcome != nil, seen.verdict) || seen.moves()
	d.submit = persisted && needed && !suspended
	d.watch = desired.Published(after) || after.State == v1alpha1.RecordDrifted || seen.place.Manual ||
		after.State == v1alpha1.RecordConflict && seen.place.Policy.Mode != dnscheck.Recursive
	if seen.failure != nil && (desired.NeedsProvider(after) || seen.moves()) {
		d.findings = append(d.findings, *seen.failure)
	}
}

// times notes when the key passed each point of its life.
func (d *decision) times(seen observation, now time.Time, settings Settings) {
	d.publishedAt(seen, now)
	d.verifiedAt(seen, now)
	d.usableAt(seen, now, settings)
	d.signingSince(seen, now)
}

// stamp has the precision of a status, a second.
func stamp(t time.Time) *metav1.Time { return &metav1.Time{Time: t.UTC().Truncate(time.Second)} }

func (d *decision) publishedAt(seen observation, now time.Time) {
	s := &d.status
	if s.RecordState != v1alpha1.RecordPublished && s.RecordState != v1alpha1.RecordVerified {
		return
	}
	if s.PublishedTime == nil {
		s.PublishedTime = stamp(now)
		if seen.outcome != nil && seen.outcome.Adopted {
			s.UsableTime = stamp(now) // the record stood there before we came: no cache can deny it
		}
	}
	if s.RecordValue == tombstone(seen.key) && s.RevokedTime == nil && !seen.lifetimes.ClockInDoubt {
		s.RevokedTime = stamp(now)
	}
}

// verifiedAt: a relapse restarts the wait. While no clock can be trusted none begins.
func (d *decision) verifiedAt(seen observation, now time.Time) {
	s := &d.status
	switch verified := s.RecordState == v1alpha1.RecordVerified; {
	case verified && s.VerifiedTime == nil && !seen.everywhere(): // resolvers may ask at any of them
	case verified && s.VerifiedTime == nil && seen.lifetimes.ClockInDoubt:
		d.look(now.Add(evidence.ClockLook))
	case verified && s.VerifiedTime == nil:
		s.VerifiedTime = stamp(now)
	case !verified && s.VerifiedTime != nil:
		s.VerifiedTime, s.UsableTime = nil, nil
	}
}

// usableAt counts the wait of rotation invariant 1: from the last moment at which a server still lacked the record, as
// long as any cache may hold what it was told before.
func (d *decision) usableAt(seen observation, now time.Time, settings Settings) {
	s := &d.status
	if s.UsableTime != nil && !now.Before(s.UsableTime.Time) || leaving(seen.key) {
		return // over
	}
	if seen.looked {
		// Kept across restarts: what a cache was told before is true whether we remember it or not.
		s.WaitSeconds = max(s.WaitSeconds, int32(min(seen.verdict.Wait, maxWait).Round(time.Second)/time.Second)) //nolint:gosec // bounded by maxWait
	}
	if s.VerifiedTime == nil {
		return
	}
	from := s.VerifiedTime.Time
	if seen.verdict.LastLacking.After(from) {
		from = seen.verdict.LastLacking
	}
	wait := max(time.Duration(s.WaitSeconds)*time.Second, settings.MinimumWait)
	// Rounded up to a second: never a moment too early.
	if usable := stamp(from.Add(wait + time.Second)); s.UsableTime == nil || usable.After(s.UsableTime.Time) {
		s.UsableTime = usable
	}
}

// maxWait is how long a cache may keep anything at all (RFC 8767 §4 has it cap TTLs at a week).
const maxWait = 7 * 24 * time.Hour

// phase names where the key stands and what it waits for.
func (d *decision) phase(seen observation, now time.Time) {
	k := seen.view(d.status)
	d.status.Phase, d.status.WaitingFor = v1alpha1.KeyPhase(rotation.PhaseOf(k, now)), ""
	d.retirementFindings(seen, rotation.Retire(k, seen.lifetimes, now))
	if d.status.Phase != v1alpha1.PhasePublishing {
		return
	}
	switch {
	case d.status.UsableTime != nil && d.status.VerifiedTime != nil:
		d.look(d.status.UsableTime.Time)
		d.status.WaitingFor = "caches, until " + d.status.UsableTime.UTC().Format(time.RFC3339)
		if seen.verdict.WaitReason != "" {
			d.status.WaitingFor += " (" + seen.verdict.WaitReason + ")"
		}
		d.findings = append(d.findings, readiness.Finding{
			Reason: v1alpha1.ReasonWaitingForCaches, Message: "waiting for " + d.status.WaitingFor,
		})
	case d.status.RecordState == v1alpha1.RecordVerified && !seen.everywhere():
		d.status.WaitingFor = readiness.Cut("publication at every place of a domain that moves: "+behind(d.status.Places), v1alpha1.MaxMessageLength)
	case d.status.PublishedTime != nil:
		d.status.WaitingFor = "every authoritative server to answer the record"
	default:
		d.status.WaitingFor = "publication"
	}
}

// recordStatus reads the one record of a key in the form that the decisions share; nil before there is one.
func recordStatus(s v1alpha1.DKIMKeyStatus) *v1alpha1.RecordStatus {
	if s.RecordValue == "" {
		return nil
	}
	return &v1alpha1.RecordStatus{
		Name: s.RecordName, Purpose: v1alpha1.PurposeDKIM, Value: s.RecordValue, PublishedValue: s.PublishedValue,
		State: s.RecordState, StateChangedTime: s.RecordStateChangedTime, Reason: s.RecordReason, Message: s.RecordMessage,
	}
}

func setRecord(s *v1alpha1.DKIMKeyStatus, r v1alpha1.RecordStatus) {
	s.RecordName, s.RecordValue, s.PublishedValue = r.Name, r.Value, r.PublishedValue
	s.RecordState, s.RecordStateChangedTime, s.RecordReason, s.RecordMessage = r.State, r.StateChangedTime, r.Reason, r.Message
}
