// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/place"
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
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// freshness is how old the last evidence before a key signs may be.
const freshness = 2 * time.Minute

// observation is everything that is known of a domain; nothing in it is edited after observe.
type observation struct {
	domain   *v1alpha1.MailDomain
	name     dnsrecord.Name
	findings []readiness.Finding // what keeps the domain from going on

	place    place.Place
	hasPlace bool
	standsIn *v1alpha1.PlaceStatus // place is this one: that which the spec names cannot be used
	claimed  bool                  // nobody else in this installation writes for the domain
	used     []string              // selectors of MailDomains of this domain that are gone

	seed      string // tells this domain's rotations from those of others
	lifetimes rotation.Lifetimes

	keys  []v1alpha1.DKIMKey
	pairs map[string]dkim.KeyPair // by selector: private keys that may be used
	views []rotation.Key

	secretName string
	secret     *corev1.Secret // the signing Secret; nil if there is none
	foreign    bool           // it is not ours
	signing    keydir.Domain  // what signers hold of this domain
	garbled    bool           // what the signing Secret says of this domain cannot be read

	others     []other          // former places that are kept equal
	cleaning   []cleaning       // places that were left, and are to be cleaned
	delegation dnscheck.Verdict // who answers for the domain, as long as there are some
	delegated  bool             // the prober looks at it

	records    []desired.Record
	unjudged   bool // the spec asks for records that cannot be made; what the status says of theirs holds
	outcomes   map[dnsplan.Key]dnsplan.Outcome
	failure    *readiness.Finding // of the provider as a whole
	generation int64              // of the marker, as the queue saw it
	answeredAt time.Time
	tookOver   bool      // the marker says so
	lookAgain  time.Time // when a held record is decided again
	verdicts   map[dnscheck.Target]dnscheck.Verdict

	subject thirdparty.Subject                  // what the records depend on
	found   thirdparty.Findings                 // what others say there
	asked   bool                                // that is known
	looks   map[dnsrecord.Name]dnscheck.Verdict // of all that is published, keys too; zero before the first look
}

// observe does all reading. An error means that something could not be read.
func (r *Reconciler) observe(ctx context.Context, domain *v1alpha1.MailDomain, now time.Time) (observation, error) {
	seen := observation{domain: domain, pairs: map[string]dkim.KeyPair{}, verdicts: map[dnscheck.Target]dnscheck.Verdict{}, looks: map[dnsrecord.Name]dnscheck.Verdict{}}
	name, err := dnsrecord.ParseDomain(domain.Spec.Domain)
	if err != nil {
		seen.findings = append(seen.findings, readiness.Finding{Reason: v1alpha1.ReasonInvalidDomain, Message: err.Error(), Person: true})
		return seen, nil //nolint:nilerr // what admission could not judge is a finding
	}
	seen.name, seen.seed = name, r.Settings.OwnerID+"/"+name.String()
	seen.lifetimes = evidence.Lifetimes(domain, r.Settings.RevocationGrace, r.ServerTime)
	for _, observe := range []func(context.Context, *observation, time.Time) error{
		r.observePlace, r.observeOthers, r.observeSigningSecret, r.observeKeys, r.observeRecords, r.observeCleaning,
	} {
		if err := observe(ctx, &seen, now); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// observePlace finds the provider and the zone, and then claims the domain: whoever may not publish does not hold it.
func (r *Reconciler) observePlace(ctx context.Context, seen *observation, _ time.Time) error {
	known, _ := dnsrecord.ParseName(seen.domain.Status.Zone)
	found, finding, err := r.Places.Find(ctx, place.Wanted{
		Ref: seen.domain.Spec.ProviderRef, Namespace: seen.domain.Namespace, Domain: seen.name, Name: seen.name,
		Known: place.Spot{Name: seen.name, Zone: known},
	})
	if err != nil {
		return err
	}
	if finding != nil && finding.Reason == v1alpha1.ReasonZoneNotFound && !writesItself(seen.domain) {
		finding = nil
	}
	mine := holderOf(seen.domain)
	if finding != nil {
		seen.findings = append(seen.findings, *finding)
		by, held, err := r.Claims.HeldBy(ctx, seen.name)
		seen.claimed = held && by == mine // what was live before stays live
		if err != nil || !seen.claimed {
			return err
		}
		at, ok, err := r.Places.StandIn(ctx, seen.domain.Namespace, seen.name, seen.domain.Status.Places)
		if ok {
			seen.place, seen.hasPlace, seen.standsIn = at.Place, true, &at.Status
			seen.used = r.Claims.Used(seen.name)
		}
		return err
	}
	by, err := r.Claims.Take(ctx, seen.name, mine, place.Standing(seen.domain.Spec.ProviderRef))
	if err != nil {
		return err
	}
	if by != mine {
		seen.findings = append(seen.findings, claimedBy(seen, by))
		return nil
	}
	seen.place, seen.hasPlace, seen.claimed = found, true, true
	seen.used = r.Claims.Used(seen.name)
	return nil
}

// writesItself tells whether the domain has records beside those of its keys, which find their zones themselves: where
// selectors are aliases into another zone, the domain's own may be somebody else's to write.
func writesItself(d *v1alpha1.MailDomain) bool {
	return d.Spec.SPF != nil || d.Spec.DMARC != nil || d.Spec.Parked != nil || len(removals(d, "")) > 0
}

// claimedBy names the holder only within the namespace: what other tenants have is not this one's to know.
func claimedBy(seen *observation, by claim.Holder) readiness.Finding {
	where := "in another namespace"
	if by.Namespace == seen.domain.Namespace {
		where = by.Name + " in this namespace"
	}
	return readiness.Finding{
		Reason: v1alpha1.ReasonDomainClaimed, Person: true,
		Message: seen.name.String() + " is held by a " + by.Kind + " " + where + "; delete one of the two",
	}
}

// observeSigningSecret reads what signers hold: from the cache, which holds our Secrets alone, and live before it is
// believed to be missing.
func (r *Reconciler) observeSigningSecret(ctx context.Context, seen *observation, _ time.Time) error {
	var err error
	if seen.secretName, err = r.signingSecretName(ctx, *seen); err != nil || seen.secretName == "" {
		return err
	}
	name := types.NamespacedName{Namespace: seen.domain.Namespace, Name: seen.secretName}
	secret := &corev1.Secret{}
	err = r.Client.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, name, secret)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if secret.Labels[v1alpha1.LabelSecret] != v1alpha1.SecretSigning {
		seen.foreign = true
		seen.findings = append(seen.findings, readiness.Finding{
			Condition: v1alpha1.ConditionKeysReady, Reason: v1alpha1.ReasonSecretNotOurs, Person: true, Unwatched: true,
			Message: "Secret " + name.Name + " exists and is not a signing Secret of ours; name another one in spec.dkim.signingSecretName",
		})
		return nil
	}
	seen.secret = secret
	seen.signing, err = keydir.Decode(secret.Data, seen.name)
	seen.garbled = err != nil && !errors.Is(err, fs.ErrNotExist)
	return nil
}

// signingSecretName is the Secret that the spec names. When dkim has left the spec, and the name with it, it is the one
// that still holds the domain's keys; "" if none does.
func (r *Reconciler) signingSecretName(ctx context.Context, seen observation) (string, error) {
	if seen.domain.Spec.DKIM != nil {
		return seen.domain.SigningSecret(), nil
	}
	var secrets corev1.SecretList
	err := r.Client.List(ctx, &secrets, client.InNamespace(seen.domain.Namespace), client.MatchingLabels{v1alpha1.LabelSecret: v1alpha1.SecretSigning})
	for _, s := range secrets.Items {
		if len(ownData(s.Data, seen.name)) > 0 {
			return s.Name, err
		}
	}
	return "", err
}

// observeKeys reads the domain's DKIMKeys, the private keys that may be used, and the last look at their records.
func (r *Reconciler) observeKeys(ctx context.Context, seen *observation, now time.Time) error {
	keys, err := index.KeysOf(ctx, r.Client, seen.domain.Namespace, seen.name)
	if err != nil {
		return err
	}
	slices.SortFunc(keys, func(a, b v1alpha1.DKIMKey) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return cmp.Compare(b.Spec.Selector, a.Spec.Selector)
	})
	seen.keys = keys
	for i := range keys {
		key := &keys[i]
		pair, err := r.pair(ctx, key)
		if err != nil {
			return err
		}
		signed := signedBy(seen.signing, key)
		if pair.IsZero() {
			pair = signed
		}
		if !pair.IsZero() {
			seen.pairs[key.Spec.Selector] = pair
		}
		view := rotation.KeyOf(key)
		view.Signs, view.KeyPair = !signed.IsZero(), !pair.IsZero()
		view.Lost = pair.IsZero() && key.Status.PublicKeySHA256 != ""
		view.Revoked = view.Revoked || revoked(seen.domain, key)
		view.Fresh = r.fresh(key, now)
		r.lookAt(seen, key)
		if view.Signs && !view.RetiredAt.IsZero() {
			view.SigningSince = time.Time{} // it came back, which its controller has not noted yet
		}
		seen.views = append(seen.views, view)
		// Whatever a cache was told of the name, it has forgotten by then.
		seen.lifetimes.LongestTTL = max(seen.lifetimes.LongestTTL, evidence.LongestTTL(key, seen.place.TTL))
	}
	return nil
}

// pair reads a private key; zero if there is none that may be used.
func (r *Reconciler) pair(ctx context.Context, key *v1alpha1.DKIMKey) (dkim.KeyPair, error) {
	if key.Status.PublicKeySHA256 == "" {
		return dkim.KeyPair{}, nil // its controller has not made or judged it yet
	}
	name := types.NamespacedName{Namespace: key.Namespace, Name: keysecret.Name(key)}
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, name, secret)
	}
	if err != nil {
		return dkim.KeyPair{}, client.IgnoreNotFound(err)
	}
	pair, err := keysecret.Judge(secret, key)
	if _, ok := errors.AsType[*keysecret.UnusableError](err); ok {
		return dkim.KeyPair{}, nil // the DKIMKey says what is wrong
	}
	return pair, err
}

// signedBy is the private key that signers use under the key's selector, if it is the very one; zero otherwise. A key
// whose status was lost, as in a restore, says nothing against it: it signs on until its controller has read it again.
func signedBy(signing keydir.Domain, key *v1alpha1.DKIMKey) dkim.KeyPair {
	for _, k := range signing.Keys {
		if known := key.Status.PublicKeySHA256; k.Selector == key.Spec.Selector && (known == "" || k.Pair.PublicKeySHA256() == known) {
			return k.Pair
		}
	}
	return dkim.KeyPair{}
}

func revoked(domain *v1alpha1.MailDomain, key *v1alpha1.DKIMKey) bool {
	return domain.Spec.DKIM != nil && slices.Contains(domain.Spec.DKIM.RevokedSelectors, key.Spec.Selector)
}

// fresh tells whether every authoritative server answered the key's record just now.
func (r *Reconciler) fresh(key *v1alpha1.DKIMKey, now time.Time) bool {
	verdict, ok := r.Prober.Verdict(targetOf(key))
	if !ok {
		return false
	}
	return verdict.State == dnscheck.Unchecked || verdict.State == dnscheck.Verified && now.Sub(verdict.SweptAt) < freshness
}

// lookAt notes the last look at a key's record.
func (r *Reconciler) lookAt(seen *observation, key *v1alpha1.DKIMKey) {
	if s := key.Status.RecordState; s == v1alpha1.RecordPublished || s == v1alpha1.RecordVerified {
		seen.looks[targetOf(key).Name], _ = r.Prober.Verdict(targetOf(key))
	}
}

// targetOf is the record that the key's own controller has the prober look for.
func targetOf(key *v1alpha1.DKIMKey) dnscheck.Target {
	return dnscheck.Target{
		Name: dnsrecord.Name(key.Status.RecordName), Type: dnsrecord.TXT, Kind: dnsplan.Exclusive, Value: key.Status.RecordValue,
	}
}

// observeRecords lists the records that are wanted, holds back what may not be published yet, and reads what the queue
// said of the rest.
func (r *Reconciler) observeRecords(_ context.Context, seen *observation, now time.Time) error {
	records, faults := desired.Records(seen.name, seen.domain.Spec)
	seen.unjudged = len(faults) > 0
	for _, fault := range faults {
		seen.findings = append(seen.findings, readiness.Finding{
			Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonInvalidRecord, Message: fault.Error(), Person: true,
		})
	}
	for _, record := range records {
		if verdict, ok := r.Prober.Verdict(evidence.Target(record)); ok {
			seen.verdicts[evidence.Target(record)] = verdict
		}
		if s := before(seen.domain, record); s != nil && desired.Published(*s) && record.Type == dnsrecord.TXT { // an MX is short
			seen.looks[record.Name] = seen.verdicts[evidence.Target(record)]
		}
	}
	for i, record := range records {
		if record.Purpose == v1alpha1.PurposeDMARC && seen.domain.Spec.Parked == nil {
			records[i].Hold, seen.lookAgain = desired.Hold(record, before(seen.domain, record), dmarcEvidence(*seen, record, records), now)
		}
	}
	seen.records = records
	r.observeOthersRecords(seen)
	if !seen.hasPlace {
		return nil
	}
	result, ok := r.Queue.Result(owner(seen.domain))
	seen.outcomes = evidence.Answer(seen.submission(), result, ok)
	if ok {
		seen.failure, seen.generation, seen.answeredAt = evidence.Trouble(result), result.MarkerGeneration, result.Time
		seen.tookOver = seen.outcomes != nil && evidence.TakeOver(seen.domain) != "" && seen.failure == nil && !slices.ContainsFunc(seen.keys, foreignMarker)
	}
	r.lookElsewhere(seen)
	return nil
}

// takesOver: a person told the domain to take records over, which is not done yet.
func (o observation) takesOver() bool { return evidence.TakeOver(o.domain) != "" && !o.tookOver }

// foreignMarker: a key of the domain has been told of another installation; its record may stand in another zone, with a
// marker of its own.
func foreignMarker(k v1alpha1.DKIMKey) bool {
	return denied(&k, v1alpha1.ConditionRecordsPublished, v1alpha1.ReasonOwnerConflict)
}

// dmarcEvidence gathers what must be known before receivers are told to be strict.
func dmarcEvidence(seen observation, record desired.Record, records []desired.Record) desired.Evidence {
	e := desired.Evidence{
		RSASigns: seen.domain.Spec.DKIM == nil || slices.ContainsFunc(seen.views, func(k rotation.Key) bool {
			return k.Signs && k.Algorithm == dkim.RSA
		}),
		SPFWanted: seen.domain.Spec.SPF != nil,
	}
	verdict, ok := seen.verdicts[evidence.Target(record)]
	switch {
	case ok && verdict.State == dnscheck.Unchecked, seen.place.Manual && !ok:
		e.Looked = true
	case ok && (verdict.State == dnscheck.Lacking || verdict.State == dnscheck.Differs || verdict.State == dnscheck.Conflict || verdict.State == dnscheck.Verified):
		e.Looked = true
		if len(verdict.Found) == 1 {
			e.Standing = verdict.Found[0]
		}
	}
	for _, other := range records {
		status := before(seen.domain, other)
		if other.Purpose != v1alpha1.PurposeSPF || status == nil || status.State != v1alpha1.RecordVerified || status.Value != other.Value || status.StateChangedTime == nil {
			continue
		}
		e.SPFSettledAt = status.StateChangedTime.Add(seen.verdicts[evidence.Target(other)].Wait)
	}
	return e
}

// before is what the status says of a record.
func before(domain *v1alpha1.MailDomain, record desired.Record) *v1alpha1.RecordStatus {
	for i, r := range domain.Status.Records {
		if r.Name == string(record.Name) && r.Purpose == record.Purpose {
			return &domain.Status.Records[i]
		}
	}
	return nil
}

// adoption: the record at a host's name may be that of another MailDomain, for the host's own domain, and an MX says that
// mail is taken; neither is ever taken over.
func adoption(domain *v1alpha1.MailDomain, record desired.Record) dnsplan.Adoption {
	if record.Purpose == v1alpha1.PurposeHeloSPF || record.Purpose == v1alpha1.PurposeNullMX {
		return dnsplan.Never
	}
	return dnsplan.Adoption(domain.Spec.Adoption())
}

// submission is what the domain asks of the queue: every record that is not held.
func (o observation) submission() dnsprovider.Submission {
	s := dnsprovider.Submission{
		Owner: owner(o.domain), Provider: o.place.Provider, Zone: o.place.Zone, Domain: o.name,
		RememberedGeneration: index.MarkerGeneration(o.place.Zone, o.domain, o.keys), Known: index.Published(o.domain, o.keys),
		TakeOver: evidence.TakeOver(o.domain),
	}
	for _, record := range o.records {
		if record.Hold == "" {
			s.Wishes = append(s.Wishes, evidence.Wish(record, before(o.domain, record), o.place.TTL, adoption(o.domain, record)))
		}
	}
	return s
}
