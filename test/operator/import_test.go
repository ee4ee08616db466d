// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// pem makes the Secret with a private key that a person brings.
func (b *bench) pem(name string, text []byte, labels map[string]string) *corev1.Secret {
	b.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace, Labels: labels},
		Data:       map[string][]byte{v1alpha1.PrivateKeyEntry: text},
	}
	b.create(s)
	return s
}

var adopt = map[string]string{v1alpha1.LabelAdopt: "true"}

func bring(secret string) func(*v1alpha1.DKIMKey) {
	return func(k *v1alpha1.DKIMKey) { k.Spec.PrivateKeySecretName = secret }
}

// A key that signs today comes in without a gap: it signs at once, for its record stands there already, and the record
// stays as it is, to the octet. Nothing of ours could sign yet: our keys wait for an hour here.
func TestAKeyThatSignsAlreadySignsOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, "same.test", "old.test")
	b.restart(func(s *controllers.Settings) { s.Keys.MinimumWait, s.Probing.MinimumWait = time.Hour, time.Hour })
	b.provider("dns")
	for name, c := range map[string]struct {
		zone   string
		bits   int
		record func(dkim.KeyPair) string
	}{
		"a record as we would write it": {"same.test", 2048, func(p dkim.KeyPair) string { return p.Record().String() }},
		// As in 2005: historic g=, another order of tags, notes, a key of 1024 bits.
		"a record as others write it": {"old.test", 1024, func(p dkim.KeyPair) string {
			_, data, _ := strings.Cut(p.Record().String(), "p=")
			return "v=DKIM1; g=*; n=moved from the old server; k=rsa; p=" + data
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			text, pair := rsaKey(t, c.bits)
			verbatim := c.record(pair)
			b.addTXT(c.zone, "brought._domainkey."+c.zone, verbatim)
			dump := b.world.Zone(c.zone).Records("brought._domainkey", 16)
			b.pem("key-"+c.zone, text, adopt)
			key := b.key(c.zone, "brought", bring("key-"+c.zone))
			d := b.domain(c.zone, func(d *v1alpha1.MailDomain) { d.Spec.SPF, d.Spec.DMARC = nil, nil })
			b.awaitReady(d)
			signers, err := keydir.Decode(b.signingSecret(d).Data, dnsrecord.Name(c.zone))
			if err != nil || len(signers.Keys) != 1 || signers.Keys[0].Selector != "brought" || signers.Keys[0].Pair.PublicKeySHA256() != pair.PublicKeySHA256() {
				t.Fatalf("signers hold %+v (%v)", signers, err)
			}
			b.rounds()
			if after := b.world.Zone(c.zone).Records("brought._domainkey", 16); len(after) != 1 || after[0].String() != dump[0].String() {
				t.Errorf("the record was %s and is %s", dump, after)
			}
			b.awaitSaid(key, "KeyAdopted", "key-"+c.zone)
			b.once(key, "KeyAdopted")
			b.awaitReady(key)
			if key.Status.RecordValue != verbatim {
				t.Errorf("the status says %q", key.Status.RecordValue)
			}
			weak := c.bits < 2048
			b.await(key, "WeakKey", func() bool {
				return weak == slices.ContainsFunc(key.Status.Conditions, isType(v1alpha1.ConditionWeakKey))
			})
			if weak {
				b.awaitSaid(d, v1alpha1.ReasonKeyTooShort, "brought", "1024 bits")
			}
		})
	}
}

func isType(kind string) func(metav1.Condition) bool {
	return func(c metav1.Condition) bool { return c.Type == kind }
}

// A key whose public record is another one's must not sign: every message would fail.
func TestAKeyThatDoesNotMatchItsPublicRecordDoesNotSign(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	text, _ := rsaKey(t, 2048)
	_, other := rsaKey(t, 2048)
	theirs := other.Record().String()
	b.addTXT("example.org", "brought._domainkey.example.org", theirs)
	b.pem("brought", text, adopt)
	key := b.key("example.org", "brought", bring("brought"))
	b.awaitCondition(key, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordConflict)
	b.awaitSaid(key, v1alpha1.ReasonRecordConflict, "brought._domainkey.example.org")
	d := b.domain("example.org")
	b.awaitReady(d) // with a key of ours
	if s := b.signing(d); s.Spec.Selector == "brought" {
		t.Error("it signs")
	}
	b.awaitTXT("brought._domainkey.example.org", theirs)
	b.once(key, v1alpha1.ReasonRecordConflict)
}

// A DKIMKey alone is published; whoever wants may sign with its Secret.
func TestAKeyAloneIsPublished(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	before := b.world.Zone("example.org").Dump()
	key := b.key("example.org", "alone")
	b.awaitReady(key)
	b.await(key, "standby", func() bool { return key.Status.Phase == v1alpha1.PhaseStandby })
	b.awaitTXT("alone._domainkey.example.org", key.Status.RecordValue)
	var secret corev1.Secret
	if err := b.Get(b.Context(), client.ObjectKey{Namespace: b.namespace, Name: key.Status.PrivateKeySecretName}, &secret); err != nil {
		t.Fatal(err)
	}
	pair, err := dkim.ParsePEM(secret.Data[v1alpha1.PrivateKeyEntry])
	if err != nil || pair.Record().String() != key.Status.RecordValue {
		t.Errorf("the Secret holds another key than the record speaks of (%v)", err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(before), "\n") {
		if !strings.Contains(b.world.Zone("example.org").Dump(), line) {
			t.Errorf("%s is gone", line)
		}
	}
}

// secrets are what may be wrong with the Secret of a private key that signs.
var secrets = map[string]struct {
	broken func(b *bench, s *corev1.Secret)
	reason string
	words  []string
}{
	"garbage": {func(b *bench, s *corev1.Secret) {
		edit(b, s, func(s *corev1.Secret) { s.Data[v1alpha1.PrivateKeyEntry] = []byte("no key at all") })
	}, v1alpha1.ReasonKeySecretInvalid, []string{v1alpha1.PrivateKeyEntry}},
	"an entry that is gone": {func(b *bench, s *corev1.Secret) {
		edit(b, s, func(s *corev1.Secret) { s.Data = map[string][]byte{"tls.key": []byte("x")} })
	}, v1alpha1.ReasonKeySecretInvalid, []string{"has no entry " + v1alpha1.PrivateKeyEntry}},
	"another key": {func(b *bench, s *corev1.Secret) {
		text, _ := rsaKey(b, 2048)
		edit(b, s, func(s *corev1.Secret) { s.Data[v1alpha1.PrivateKeyEntry] = text })
	}, v1alpha1.ReasonKeySecretMismatch, []string{"holds another key than the one that is published"}},
	"labels that are gone": {func(b *bench, s *corev1.Secret) {
		edit(b, s, func(s *corev1.Secret) { s.Labels = nil })
	}, v1alpha1.ReasonKeySecretNotAdopted, []string{v1alpha1.LabelAdopt}},
}

// Whatever becomes of the Secret of a key that signs: signers keep the good key, and a person is told.
func TestABrokenSecretTakesNoKeyFromTheSigners(t *testing.T) {
	t.Parallel()
	zones := map[string]string{}
	var all []string
	for name := range secrets {
		zones[name] = string(rune('a'+len(zones))) + ".test"
		all = append(all, zones[name])
	}
	b := newBench(t, all...)
	b.provider("dns")
	domains, befores, good, keys := map[string]*v1alpha1.MailDomain{}, map[string]live{}, map[string]*corev1.Secret{}, map[string]*v1alpha1.DKIMKey{}
	for name, zone := range zones {
		domains[name] = b.domain(zone)
	}
	for name, c := range secrets {
		b.settled(domains[name])
		befores[name], keys[name] = b.live(domains[name]), b.signing(domains[name])
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: keys[name].Status.PrivateKeySecretName}}
		if err := b.Get(b.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			t.Fatal(err)
		}
		good[name] = s.DeepCopy()
		c.broken(b, s)
	}
	for name, c := range secrets {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			b.awaitCondition(keys[name], v1alpha1.ConditionReady, metav1.ConditionFalse, c.reason)
			b.says(keys[name], v1alpha1.ConditionKeysReady, metav1.ConditionFalse, c.reason, c.words...)
			b.says(keys[name], v1alpha1.ConditionStalled, metav1.ConditionTrue, c.reason, c.words...)
			b.awaitSaid(keys[name], c.reason, c.words...)
			b.awaitCondition(domains[name], v1alpha1.ConditionKeysReady, metav1.ConditionFalse, c.reason)
			b.says(domains[name], v1alpha1.ConditionStalled, metav1.ConditionTrue, c.reason, append(c.words, keys[name].Name)...)
			b.awaitSaid(domains[name], c.reason, c.words...)
		})
	}
	b.rounds()
	for name, c := range secrets {
		t.Run(name+" and nothing changes", func(t *testing.T) {
			b := b.in(t)
			b.stillLive(domains[name], befores[name])
			b.once(keys[name], c.reason)
			b.once(domains[name], c.reason)
			edit(b, good[name].DeepCopy(), func(s *corev1.Secret) { s.Data, s.Labels = good[name].Data, good[name].Labels })
		})
	}
	for name := range secrets {
		t.Run(name+" until it is mended", func(t *testing.T) {
			b := b.in(t)
			b.awaitReady(keys[name])
			b.awaitReady(domains[name])
			b.stillLive(domains[name], befores[name])
		})
	}
}

// Secrets of others are never taken: not a private key without the label, nor one under the name that signers mount.
func TestSecretsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org", "example.net")
	b.provider("dns")
	text, pair := rsaKey(t, 2048)
	private := b.pem("theirs", text, nil)
	key := b.key("example.org", "brought", bring("theirs"))
	missing := b.key("example.org", "missing", bring("missing"))
	signing := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "example-net-dkim", Namespace: b.namespace}, Data: map[string][]byte{"example.net.json": []byte("theirs")}}
	b.create(signing)
	d := b.domain("example.net")

	for o, c := range map[client.Object]struct {
		reason string
		words  []string
	}{
		key:     {v1alpha1.ReasonKeySecretNotAdopted, []string{"theirs", v1alpha1.LabelAdopt + "=true"}},
		missing: {v1alpha1.ReasonSecretMissing, []string{"missing", "does not exist", v1alpha1.LabelAdopt + "=true", v1alpha1.PrivateKeyEntry}},
		d:       {v1alpha1.ReasonSecretNotOurs, []string{"example-net-dkim", "spec.dkim.signingSecretName"}},
	} {
		b.awaitCondition(o, v1alpha1.ConditionKeysReady, metav1.ConditionFalse, c.reason)
		b.says(o, v1alpha1.ConditionStalled, metav1.ConditionTrue, c.reason, c.words...)
		b.awaitSaid(o, c.reason, c.words...)
	}
	b.rounds()
	for _, s := range []*corev1.Secret{private, signing} {
		after := &corev1.Secret{}
		if err := b.Get(b.Context(), client.ObjectKeyFromObject(s), after); err != nil || after.ResourceVersion != s.ResourceVersion {
			t.Errorf("%s was written (%v)", s.Name, err)
		}
	}
	b.once(key, v1alpha1.ReasonKeySecretNotAdopted)
	b.once(missing, v1alpha1.ReasonSecretMissing)
	b.once(d, v1alpha1.ReasonSecretNotOurs)
	b.awaitTXT("brought._domainkey.example.org")

	edit(b, private, func(s *corev1.Secret) { s.Labels = adopt })
	second, _ := rsaKey(t, 2048)
	b.pem("missing", second, adopt)
	b.delete(signing)
	b.awaitReady(key)
	b.awaitReady(missing)
	b.awaitReady(d)
	b.awaitTXT("brought._domainkey.example.org", pair.Record().String())
}

// A revoked selector is out of use at once, its spare signs, and after the grace its record says so.
func TestARevokedSelectorMakesWayForTheSpare(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	old := b.signing(d)
	edit(b, d, func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.RevokedSelectors = []v1alpha1.SelectorName{old.Spec.Selector}
	})
	b.await(old, "revocation", func() bool { return old.Status.Phase == v1alpha1.PhaseRevoked && old.Status.RevokedTime != nil })
	b.awaitTXT(""+old.Status.RecordName, "v=DKIM1; k=rsa; p=")
	b.settled(d)
	signers, err := keydir.Decode(b.signingSecret(d).Data, "example.org")
	if err != nil || !signers.Required || len(signers.Keys) != 1 || signers.Keys[0].Selector == old.Spec.Selector {
		t.Fatalf("signers hold %+v (%v)", signers, err)
	}
	b.awaitSaid(d, "SigningChanged", signers.Keys[0].Selector)
	b.awaitSaid(old, "KeyRevoked", old.Spec.Selector)
	b.rounds()
	b.once(old, "KeyRevoked")
	if held := b.said(d, v1alpha1.ReasonNoUsableKey); len(held) != 0 {
		t.Errorf("mail was held although a spare stood ready: %q", held)
	}
}
