// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// decision is what to do for a domain, and what its status shall say.
type decision struct {
	steps   []rotation.Step
	revoke  []string           // DKIMKeys that a person's word takes out of use for ever
	adjust  []v1alpha1.DKIMKey // keys of ours that name another provider than the domain does now
	signing *signingChange     // nil: the signing Secret is as it should be
	submit  bool               // ask the provider
	recheck bool               // ask it again: a record was changed outside
	watch   []dnscheck.Target  // what the authoritative servers are asked
	places  []v1alpha1.PlaceStatus
	// sweepDelegation: look once more at who answers for the domain, before a former place is left.
	sweepDelegation bool
	clean           []place.Other          // places to remove our records from
	cleaned         []v1alpha1.PlaceStatus // places where none is left

	records      []v1alpha1.RecordStatus // own ones; the keys' are added in status
	findings     []readiness.Finding
	notes        []readiness.Note
	waitingFor   string
	cannotUndo   string    // why the rotation that a person wants undone stays
	nextRotation time.Time // zero: nobody knows
	lookAgain    time.Time
	spf          *v1alpha1.SPFStatus
}

// signingChange is the domain's part of the signing Secret: data keys and contents; none when dkim left the spec.
type signingChange struct {
	data      map[string][]byte
	selectors []string
	leave     bool // the domain leaves a Secret that others hold on to: nothing of it remains its own
}

// decide is pure. A domain that is not ours to write for, or is suspended, gets a status and nothing else.
func decide(seen observation, now time.Time) decision {
	d := decision{findings: slices.Clone(seen.findings), lookAgain: seen.lookAgain}
	writes := d.moves(seen, now) && seen.claimed && !seen.domain.Spec.Suspend
	d.cleans(seen, writes, now)
	d.keys(seen, now, writes)
	d.publication(seen, now, writes)
	d.keyFindings(seen)
	d.remarks(seen)
	if seen.lifetimes.ClockInDoubt {
		d.look(now.Add(evidence.ClockLook))
	}
	return d
}

// keys decides which keys exist and which of them sign.
func (d *decision) keys(seen observation, now time.Time, writes bool) {
	next := rotation.Next(d.policyOf(seen, now), seen.views, now)
	d.waitingFor, d.cannotUndo = next.WaitingFor, next.CannotUndo
	d.look(next.LookAgain)
	if d.nextRotation.After(now) {
		d.look(d.nextRotation)
	}
	if !writes {
		return
	}
	signers := selectorsThatSign(seen.views)
	for _, step := range next.Steps {
		switch s := step.(type) {
		case rotation.CreateKey:
			if seen.hasPlace { // a key that nobody can publish would only pile up
				d.steps = append(d.steps, s)
			}
		case rotation.SignWith:
			signers = s.Selectors
		default:
			d.steps = append(d.steps, s)
		}
	}
	for _, key := range seen.keys {
		if revoked(seen.domain, &key) && !key.Spec.Revoked {
			d.revoke = append(d.revoke, key.Name)
		}
		// Not before the new place may be used: until then a key goes on where it is.
		if seen.named() && ours(&key) && key.Spec.ProviderRef.WithDefaults() != seen.domain.Spec.ProviderRef.WithDefaults() {
			d.adjust = append(d.adjust, key)
		}
	}
	d.signingSecret(seen, signers)
}

func selectorsThatSign(keys []rotation.Key) []string {
	var selectors []string
	for _, k := range keys {
		if k.Signs {
			selectors = append(selectors, k.Selector)
		}
	}
	slices.Sort(selectors)
	return selectors
}

// signingSecret decides what signers hold of this domain. The Secret exists from the first reconcile, so that pods
// that mount it start; `required` is false until a key signs, and then stays true until dkim leaves the spec: from
// then on a message that cannot be signed must not leave.
func (d *decision) signingSecret(seen observation, signers []string) {
	if seen.foreign || seen.garbled && len(signers) == 0 {
		return // signers keep their last good keys until we know better
	}
	want := &signingChange{data: map[string][]byte{}, selectors: signers}
	if seen.domain.Spec.DKIM != nil {
		domain, err := signingDomain(seen, signers)
		if err == nil {
			want.data, err = keydir.Encode(domain)
		}
		if err != nil {
			d.findings = append(d.findings, readiness.Finding{
				Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonKeySecretInvalid, Message: err.Error(), Person: true,
			})
			return
		}
	} else if seen.secret == nil {
		return
	}
	if seen.secret != nil && held(seen.secret) && sameData(ownData(seen.secret.Data, seen.name), want.data) {
		return
	}
	if fits := d.size(seen, want); fits {
		d.signing = want
	}
}

// held tells whether our finalizer keeps the Secret; one that is being deleted takes no new one.
func held(secret *corev1.Secret) bool {
	return !secret.DeletionTimestamp.IsZero() || slices.Contains(secret.Finalizers, v1alpha1.SecretFinalizer)
}

func signingDomain(seen observation, signers []string) (keydir.Domain, error) {
	domain := keydir.Domain{
		Domain: seen.name, Required: seen.signing.Required || len(signers) > 0, Subdomains: seen.domain.Spec.DKIM.SignSubdomains,
	}
	for _, key := range seen.keys {
		domain.Required = domain.Required || key.Status.SigningSinceTime != nil
	}
	for _, selector := range signers {
		pair, ok := seen.pairs[selector]
		if !ok {
			return domain, fmt.Errorf("the private key of %s cannot be read", selector)
		}
		domain.Keys = append(domain.Keys, keydir.Key{Selector: selector, Pair: pair})
	}
	if s := seen.domain.Spec.DKIM.Senders; s != nil {
		domain.Senders = &keydir.Senders{Logins: slices.Clone(s.Logins)}
		for _, n := range s.Networks {
			network, err := networkOf(n)
			if err != nil {
				return domain, err
			}
			domain.Senders.Networks = append(domain.Senders.Networks, network)
		}
	}
	return domain, nil
}

// networkOf reads 192.0.2.0/24 and the single address 192.0.2.1.
func networkOf(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("spec.dkim.senders.networks: %q is not a network such as 192.0.2.0/24", text)
	}
	return network.Masked(), nil
}

// The limits of a signing Secret: a Secret holds 1 MiB, the managed fields of many writers included.
const (
	warnSize   = 700 << 10
	refuseSize = 900 << 10
)

// size refuses a Secret that grows past what the API server takes, before it does; shrinking is always possible.
func (d *decision) size(seen observation, want *signingChange) bool {
	total, before := 0, 0
	if seen.secret != nil {
		for name, content := range seen.secret.Data {
			before += len(name) + len(content)
			if of, ok := keydir.DomainOf(name); !ok || of != seen.name {
				total += len(name) + len(content)
			}
		}
	}
	for name, content := range want.data {
		total += len(name) + len(content)
	}
	if total <= refuseSize || total <= before {
		return true
	}
	d.findings = append(d.findings, readiness.Finding{
		Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonSigningSecretTooLarge, Person: true,
		Message: "Secret " + seen.secretName + " would pass 900 KiB; give this MailDomain another spec.dkim.signingSecretName",
	})
	return false
}

func ownData(data map[string][]byte, domain dnsrecord.Name) map[string][]byte {
	own := map[string][]byte{}
	for name, content := range data {
		if of, ok := keydir.DomainOf(name); ok && of == domain {
			own[name] = content
		}
	}
	return own
}

func sameData(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name, content := range a {
		if other, ok := b[name]; !ok || string(other) != string(content) {
			return false
		}
	}
	return true
}

// publication carries the records forward. The provider is asked only about what is not yet as it should be, and only
// for texts that the status already holds: after a crash we know our own records again.
func (d *decision) publication(seen observation, now time.Time, writes bool) {
	persisted := true
	for _, record := range seen.records {
		last := before(seen.domain, record)
		after := recordAfter(seen, record, last, now)
		d.records = append(d.records, after)
		persisted = persisted && known(last, after)
		d.submit = d.submit || record.Hold == "" && evidence.NeedsProvider(after, seen.everywhere(record) != nil, seen.verdicts[evidence.Target(record)])
		d.recheck = d.recheck || drifted(last, after) || evidence.Outdated(last, seen.answeredAt)
		d.recheck = d.askAgain(seen, record, after, now) || d.recheck
		if seen.hasPlace && worthALook(seen, record, after) {
			d.watch = append(d.watch, evidence.Target(record))
		}
	}
	d.records = append(d.records, unjudged(seen, d.records)...)
	d.submit = d.submit || seen.moves() || seen.takesOver() // even if no record of its own waits
	writes = writes && seen.hasPlace
	d.submit, d.recheck = d.submit && persisted && writes, d.recheck && writes
	if seen.failure != nil && d.concerns(*seen.failure) {
		d.findings = append(d.findings, *seen.failure)
	}
}

// unjudged are the records of which the spec cannot say what becomes of them: those of the status that are not among these.
func unjudged(seen observation, records []v1alpha1.RecordStatus) []v1alpha1.RecordStatus {
	if !seen.unjudged {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(seen.domain.Status.Records), func(last v1alpha1.RecordStatus) bool {
		return last.Purpose == v1alpha1.PurposeDKIM || slices.ContainsFunc(records, func(r v1alpha1.RecordStatus) bool {
			return r.Name == last.Name && r.Purpose == last.Purpose
		})
	})
}

// concerns: an error of the provider is none of ours while it is not asked; that somebody else has the domain stays true.
func (d *decision) concerns(failure readiness.Finding) bool {
	return d.submit || failure.Reason == v1alpha1.ReasonOwnerConflict
}

// known tells whether the status already holds what is about to be asked of the provider.
func known(last *v1alpha1.RecordStatus, after v1alpha1.RecordStatus) bool {
	held := func(s v1alpha1.RecordState) bool { return s == v1alpha1.RecordAwaitingSigning }
	return last != nil && last.Value == after.Value && held(last.State) == held(after.State)
}

func drifted(last *v1alpha1.RecordStatus, after v1alpha1.RecordStatus) bool {
	return last != nil && last.State != v1alpha1.RecordDrifted && after.State == v1alpha1.RecordDrifted
}

func (d *decision) askAgain(seen observation, record desired.Record, after v1alpha1.RecordStatus, now time.Time) bool {
	again, look := evidence.AskAgain(after, seen.everywhere(record), seen.answeredAt, seen.verdicts[evidence.Target(record)], now)
	d.look(look)
	return d.askOnce(seen, record, now) || again
}

// worthALook: a record that is held or in conflict is looked at too, to know what stands there; but never through a
// resolver, which would remember that it is not there yet.
func worthALook(seen observation, record desired.Record, after v1alpha1.RecordStatus) bool {
	early := (record.Hold != "" || after.State == v1alpha1.RecordConflict) && seen.place.Policy.Mode != dnscheck.Recursive
	return early || seen.place.Manual || desired.Published(after) || after.State == v1alpha1.RecordDrifted
}

func (d *decision) look(at time.Time) {
	if !at.IsZero() && (d.lookAgain.IsZero() || at.Before(d.lookAgain)) {
		d.lookAgain = at
	}
}

// keyFindings says what is missing until every message can be signed with each wanted algorithm.
func (d *decision) keyFindings(seen observation) {
	for _, want := range seen.domain.Spec.DKIM.WantedKeys() {
		signs := slices.ContainsFunc(seen.views, func(k rotation.Key) bool {
			return k.Signs && string(k.Algorithm) == string(want.Algorithm)
		})
		if signs {
			continue
		}
		f := readiness.Finding{
			Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonProgressing,
			Message: "no " + string(want.Algorithm) + " key signs yet",
		}
		if waiting := d.waitingOf(seen, want.Algorithm); waiting != "" {
			f.Message += "; waiting for " + waiting
		}
		// What a key itself cannot get past without a person, the domain cannot either.
		for _, key := range seen.keys {
			if key.Spec.Algorithm == want.Algorithm {
				if c := stalled(&key); c != nil {
					f.Reason, f.Message, f.Person = c.Reason, "DKIMKey "+key.Name+": "+c.Message, true
				}
			}
		}
		d.findings = append(d.findings, f)
	}
	d.secretFindings(seen)
}

// secretFindings says what is wrong with the private keys that sign: signers hold them, and would not get them again.
func (d *decision) secretFindings(seen observation) {
	for i, key := range seen.keys {
		if c := stalled(&key); seen.views[i].Signs && c != nil && denied(&key, v1alpha1.ConditionKeysReady, c.Reason) {
			d.findings = append(d.findings, readiness.Finding{
				Condition: v1alpha1.ConditionKeysReady, Reason: c.Reason, Message: "DKIMKey " + key.Name + ": " + c.Message, Person: true,
			})
		}
	}
}

// denied tells whether a condition of the key is False for this reason.
func denied(key *v1alpha1.DKIMKey, condition, reason string) bool {
	c := meta.FindStatusCondition(key.Status.Conditions, condition)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == reason
}

// waitingOf picks what is awaited for one algorithm from the rotation's own words.
func (d *decision) waitingOf(seen observation, algorithm v1alpha1.Algorithm) string {
	var waits []string
	for part := range strings.SplitSeq(d.waitingFor, "; ") {
		for _, key := range seen.keys {
			if key.Spec.Algorithm == algorithm && strings.HasPrefix(part, key.Spec.Selector+":") {
				waits = append(waits, part)
			}
		}
	}
	return strings.Join(waits, "; ")
}

// remarks are conditions that inform and do not change Ready.
func (d *decision) remarks(seen observation) {
	note := func(condition, reason, message string) {
		d.notes = append(d.notes, readiness.Note{Condition: condition, Reason: reason, Message: message})
	}
	if seen.domain.Spec.Suspend {
		note(v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended, "spec.suspend is set: nothing is written")
	}
	if fields := desired.Unsupported(seen.domain.Spec); len(fields) > 0 {
		note(v1alpha1.ConditionUnsupportedFields, v1alpha1.ReasonNotImplemented,
			"accepted, but not acted upon by this version: "+strings.Join(fields, ", "))
	}
	if names := desired.ForeignHeloNames(seen.name, seen.domain.Spec.SPF); len(names) > 0 {
		note(v1alpha1.ConditionUnsupportedFields, v1alpha1.ReasonNotImplemented,
			"spec.spf.heloNames outside of "+seen.name.String()+" are not published by this version: "+strings.Join(names, ", "))
	}
	if seen.domain.Spec.DKIM != nil && seen.signing.Required && len(seen.signing.Keys) == 0 {
		note(v1alpha1.ConditionMailHeld, v1alpha1.ReasonNoUsableKey, mailHeld(seen))
	}
	for _, k := range seen.views {
		if k.Signs && k.Algorithm == dkim.RSA && k.Bits > 0 && k.Bits < int(v1alpha1.DefaultRSABits) {
			note(v1alpha1.ConditionWeakKey, v1alpha1.ReasonKeyTooShort,
				fmt.Sprintf("%s has %d bits (RFC 8301 section 3.2); the next rotation replaces it", k.Selector, k.Bits))
		}
	}
	d.notes = append(d.notes, evidence.LargeAnswers(seen.looks, seen.domain.Status.Conditions)...)
	d.spf = spfStatus(seen.domain.Status.SPF, seen)
	d.notes = slices.Concat(d.notes, desired.SPFRisk(d.spf), reportsRefused(seen))
	if size := secretSize(seen); size > warnSize {
		note(v1alpha1.ConditionSigningSecretLarge, v1alpha1.ReasonNearSizeLimit,
			"Secret "+seen.secretName+" holds more than 700 KiB; beyond 900 KiB no key is added")
	}
}

func secretSize(seen observation) int {
	size := 0
	if seen.secret != nil {
		for name, content := range seen.secret.Data {
			size += len(name) + len(content)
		}
	}
	return size
}
