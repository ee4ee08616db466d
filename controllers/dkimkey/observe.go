// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/keysecret"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// observation is everything that is known of a key; nothing in it is edited after observe.
type observation struct {
	key    *v1alpha1.DKIMKey
	domain dnsrecord.Name
	record dnsrecord.Name
	// holder is the MailDomain of the namespace that holds the domain; nil for a key that stands alone.
	holder *v1alpha1.MailDomain

	place    place.Place
	hasPlace bool
	standsIn *v1alpha1.PlaceStatus // place is this one: that which the spec names cannot be used
	findings []readiness.Finding   // what keeps the key from going on

	secret *corev1.Secret // nil if there is none
	pair   dkim.KeyPair   // zero if there is none that may be used

	signed     keydir.Key // what the signing Secret holds under the selector; zero if nothing
	unsure     string     // what could not be read that a retirement depends on
	heldBy     []string   // what else holds the key, in words
	lifetimes  rotation.Lifetimes
	retirement rotation.Retirement

	others     []other // places that have to hold the record as well
	want       desired.Record
	here       *dnsplan.Outcome   // the queue's answer for want at the key's own place; nil without one
	outcome    *dnsplan.Outcome   // the same of all places together
	failure    *readiness.Finding // of the provider as a whole
	generation int64              // of the marker, as the queue saw it
	siblings   []v1alpha1.DKIMKey // all keys of the domain in the namespace
	published  []string           // digests of what the domain's objects have published
	answeredAt time.Time
	agreed     bool // a person's word that its record may go, whatever else goes
	verdict    dnscheck.Verdict
	looked     bool
}

// observe does all reading. An error means that something could not be read.
func (r *Reconciler) observe(ctx context.Context, key *v1alpha1.DKIMKey, now time.Time) (observation, error) {
	seen := observation{key: key}
	var err error
	if seen.domain, err = dnsrecord.ParseDomain(key.Spec.Domain); err == nil {
		seen.record, err = dkim.RecordName(key.Spec.Selector, seen.domain)
	}
	if err != nil {
		seen.findings = append(seen.findings, readiness.Finding{Reason: v1alpha1.ReasonInvalidDomain, Message: err.Error(), Person: true})
		return seen, nil //nolint:nilerr // what admission could not judge is a finding
	}
	if err := r.observeHolder(ctx, &seen); err != nil {
		return seen, err
	}
	if err := r.observeKeyPair(ctx, &seen); err != nil {
		return seen, err
	}
	if err := r.observePlace(ctx, &seen); err != nil {
		return seen, err
	}
	if err := r.observeOthers(ctx, &seen); err != nil {
		return seen, err
	}
	if err := r.observeRetirement(ctx, &seen, now); err != nil {
		return seen, err
	}
	seen.agreed, _ = brake.Agreed(now, seen.annotations()...) // what cannot be read agrees to nothing
	r.look(&seen)
	return seen, nil
}

func (r *Reconciler) observeHolder(ctx context.Context, seen *observation) error {
	holders, err := index.MailDomainsOf(ctx, r.Client, seen.key.Namespace, seen.domain)
	if err != nil {
		return err
	}
	if seen.holder, err = r.holder(ctx, holders, seen.domain); err != nil {
		return err
	}
	siblings, err := index.KeysOf(ctx, r.Client, seen.key.Namespace, seen.domain)
	if err != nil {
		return err
	}
	seen.siblings, seen.published = siblings, index.Published(seen.holder, siblings)
	return r.observeSigning(ctx, seen, leaving(seen.key))
}

// holder is the one MailDomain of the namespace that has the domain, or of several the one that claimed it.
func (r *Reconciler) holder(ctx context.Context, domains []v1alpha1.MailDomain, name dnsrecord.Name) (*v1alpha1.MailDomain, error) {
	if len(domains) == 0 {
		return nil, nil //nolint:nilnil // a key may stand alone
	}
	if len(domains) == 1 {
		return &domains[0], nil
	}
	by, held, err := r.Claims.HeldBy(ctx, name)
	if err != nil {
		return nil, err
	}
	oldest := &domains[0]
	for i := range domains {
		if held && string(domains[i].UID) == by.UID {
			return &domains[i], nil
		}
		if domains[i].CreationTimestamp.Before(&oldest.CreationTimestamp) {
			oldest = &domains[i]
		}
	}
	return oldest, nil
}

// observeKeyPair reads the Secret of the key pair: from the cache, and live before it is believed to be missing.
func (r *Reconciler) observeKeyPair(ctx context.Context, seen *observation) error {
	name := types.NamespacedName{Namespace: seen.key.Namespace, Name: keysecret.Name(seen.key)}
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, name, secret)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	seen.secret = secret
	pair, err := keysecret.Judge(secret, seen.key)
	if problem, ok := errors.AsType[*keysecret.UnusableError](err); ok {
		seen.findings = append(seen.findings, readiness.Finding{
			Condition: v1alpha1.ConditionKeysReady, Reason: problem.Reason, Message: problem.Message, Person: true,
			Unwatched: secret.Labels[v1alpha1.LabelSecret] == "", // the cache does not hold it
		})
		return nil
	}
	seen.pair = pair
	return err
}

// observePlace finds out whether, where and with what success the record may be published.
func (r *Reconciler) observePlace(ctx context.Context, seen *observation) error {
	found, finding, err := r.Places.Find(ctx, place.Wanted{
		Ref: seen.key.Spec.ProviderRef, Namespace: seen.key.Namespace, Domain: seen.domain, Name: seen.record,
		Known: r.known(seen), Follow: true,
	})
	if err != nil {
		return err
	}
	if finding != nil {
		seen.findings = append(seen.findings, *finding)
		if found, err = r.standIn(ctx, seen); err != nil || seen.standsIn == nil {
			return err
		}
	}
	finding, err = r.claimed(ctx, seen, found.Name)
	if finding != nil {
		seen.findings = append(seen.findings, *finding)
	}
	if finding != nil || err != nil {
		return err
	}
	seen.place, seen.hasPlace = found, true
	return nil
}

// claimed makes sure that nobody else publishes for the domain. A key of a MailDomain stands under that one's claim; a
// key that stands alone claims the name of its record, where the domain is not another namespace's.
func (r *Reconciler) claimed(ctx context.Context, seen *observation, at dnsrecord.Name) (*readiness.Finding, error) {
	standing := place.Standing(seen.key.Spec.ProviderRef)
	if seen.holder == nil {
		if by, bars, err := r.Claims.Bars(ctx, seen.domain, seen.key.Namespace, standing); err != nil || bars {
			return elsewhere(seen.domain, by), err
		}
	}
	name, asks := seen.claim()
	by, err := r.Claims.Take(ctx, name, asks, standing)
	if err != nil || by != asks {
		return elsewhere(name, by), err
	}
	return r.claimTarget(ctx, seen, at)
}

// claim is the name under whose claim the key stands, and who asks for it.
func (o observation) claim() (dnsrecord.Name, claim.Holder) {
	if o.holder == nil {
		return o.record, holderOf(o.key)
	}
	return o.domain, claim.Holder{
		Kind: v1alpha1.KindMailDomain, Namespace: o.holder.Namespace, Name: o.holder.Name, UID: string(o.holder.UID),
	}
}

// elsewhere tells of the holder only what another tenant may know.
func elsewhere(name dnsrecord.Name, by claim.Holder) *readiness.Finding {
	return &readiness.Finding{
		Reason: v1alpha1.ReasonDomainClaimed, Person: true, Unwatched: true,
		Message: name.String() + " is held by another " + by.Kind + "; delete one of the two",
	}
}

// look adds what the queue and the prober say of the record that is wanted.
func (r *Reconciler) look(seen *observation) {
	seen.want = wanted(*seen)
	if !seen.hasPlace || seen.want.Value == "" && !seen.removes() {
		return
	}
	result, ok := r.Queue.Result(owner(seen.key))
	outcome, answered := evidence.Answer(seen.submission(), result, ok)[dnsplan.Key{Name: seen.place.Name, Type: seen.want.Type}]
	switch {
	case !answered || !seen.removes() && evidence.Outdated(seen.before(), result.Time):
	case verbatim(*seen, outcome):
		seen.want.Value = outcome.Found[0] // which has not been asked for yet
	default:
		seen.outcome = &outcome
	}
	if ok {
		seen.failure, seen.generation, seen.answeredAt = evidence.Trouble(result), result.MarkerGeneration, result.Time
	}
	seen.verdict, seen.looked = r.Prober.Verdict(seen.target())
	r.lookElsewhere(seen)
}

// verbatim tells whether what stands there is a record of this very key in other words. A key that signs already brings
// its record along as it is: whoever wrote it may look for it.
func verbatim(seen observation, outcome dnsplan.Outcome) bool {
	if seen.key.Status.PublishedTime != nil || seen.key.Spec.Revoked {
		return false // what stands there now is not what it brought
	}
	if outcome.State != dnsplan.Conflict || len(outcome.Found) != 1 || !adopted(seen.key) || seen.pair.IsZero() {
		return false
	}
	record, err := dkim.ParseRecord(outcome.Found[0])
	return err == nil && !record.Revoked() && record.AllowsSHA256() && record.ForEmail() && record.PublicKeySHA256() == seen.pair.PublicKeySHA256()
}

// adopted tells whether a person brought the private key.
func adopted(key *v1alpha1.DKIMKey) bool { return key.Spec.PrivateKeySecretName != "" }

// wanted is the record that shall stand there: the public key, nothing in its place once the key is out of use, or no
// record any more. A key pair that cannot be read leaves the record as it is.
func wanted(seen observation) desired.Record {
	record := desired.Record{
		Name: seen.record, Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Purpose: v1alpha1.PurposeDKIM,
		Value: seen.key.Status.RecordValue,
	}
	switch stage := seen.retirement.Stage; {
	case stage >= rotation.Remove:
		record.Value = ""
	case stage == rotation.Empty:
		record.Value = tombstone(seen.key)
	case !seen.pair.IsZero() && record.Value == "":
		record.Value = seen.pair.Record().String()
	}
	return record
}

// tombstone is the record of a key that must not be trusted any more.
func tombstone(key *v1alpha1.DKIMKey) string {
	return dkim.RevokedRecord(dkim.Algorithm(key.Spec.Algorithm)).String()
}

// removes tells whether the record shall go, or is gone.
func (o observation) removes() bool { return o.retirement.Stage >= rotation.Remove }

// submission is what the key asks of the queue.
func (o observation) submission() dnsprovider.Submission {
	before := o.before()
	adoption := dnsplan.Never // selectors are never overwritten
	if adopted(o.key) {
		adoption = dnsplan.Identical // a key that signs already brings its record along
	}
	wish := evidence.Wish(o.want, before, o.place.TTL, adoption)
	wish.Name = o.place.Name
	s := dnsprovider.Submission{
		Owner: owner(o.key), Provider: o.place.Provider, Zone: o.place.Zone, Domain: o.domain,
		RememberedGeneration: index.MarkerGeneration(o.place.Zone, o.holder, o.siblings), Known: o.published,
		TakeOver: evidence.TakeOver(o.holder),
	}
	if wish.Value == "" { // exactly ours goes, also what was asked for and not seen there yet
		wish.Ours = append(wish.Ours, o.key.Status.RecordValue)
		s.RemovalAgreed = o.agreed
	}
	s.Wishes = []dnsplan.Wish{wish}
	return s
}
