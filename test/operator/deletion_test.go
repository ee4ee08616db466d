// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// deleting sets deletionPolicy Delete.
func deleting(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = v1alpha1.DeletionDelete }

// signsIntoShared names a signing Secret that is not the domain's alone.
func signsIntoShared(d *v1alpha1.MailDomain) { d.Spec.DKIM.SigningSecretName = "mail-signing" }

func TestARetainedDomainIsTakenUpAgainWithTheSameKeys(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*v1alpha1.MailDomain){
		"by a MailDomain of the same name": signsIntoShared,
		"by a MailDomain of another name": func(d *v1alpha1.MailDomain) {
			signsIntoShared(d)
			d.Name = "another"
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "example.org")
			b.provider("dns")
			d := b.domain("example.org", signsIntoShared)
			b.settled(d)
			before, keys, secrets := b.live(d), b.uids(&v1alpha1.DKIMKeyList{}), b.keySecrets()
			signers := b.watchSigners("mail-signing")

			b.delete(d)
			b.awaitGone(d)
			b.awaitSaid(d, "RecordsRetained")
			b.stillLive(d, before)
			if got := b.uids(&v1alpha1.DKIMKeyList{}); !maps.Equal(got, keys) {
				t.Errorf("retained keys %v, of %v", got, keys)
			}
			b.restart(func(*controllers.Settings) {}) // nothing of it may depend on what the process remembers

			d = b.domain("example.org", again)
			b.settled(d)
			b.rounds()
			b.stillLive(d, before)
			if got := b.uids(&v1alpha1.DKIMKeyList{}); !maps.Equal(got, keys) {
				t.Errorf("a new MailDomain has the keys %v, not %v", got, keys)
			}
			b.sameSecrets(secrets)
			for _, seen := range signers() {
				if !maps.EqualFunc(seen, before.signing, equalBytes) {
					t.Errorf("in between signers saw %v", slices.Sorted(maps.Keys(seen)))
				}
			}
		})
	}
}

func TestDeleteRemovesExactlyOursInASafeOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	zone := b.world.Zone("example.org")
	if err := zone.Add("old._domainkey TXT \"v=DKIM1; p=\"\n_dmarc.sub TXT \"v=DMARC1; p=reject\"\n"); err != nil {
		t.Fatal(err)
	}
	before := zone.Dump()
	b.provider("dns")
	d := b.domain("example.org", deleting, func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.Keys = []v1alpha1.WantedKey{{Algorithm: v1alpha1.AlgorithmRSA}, {Algorithm: v1alpha1.AlgorithmEd25519}}
		d.Spec.SPF.HeloNames = []v1alpha1.DomainName{"mail.example.org"}
	})
	b.settled(d)
	b.awaitSpares(d)

	// First nobody signs, and as long as that is all that could be done the records stand.
	ready := zone.Dump()
	server := b.world.Server("127.0.0.3")
	server.SetFaults(nameserver.Faults{UpdateRcode: dns.RcodeServerFailure})
	b.delete(d)
	b.until("a signing Secret that is gone", func() bool { return !b.exists(&corev1.Secret{}, d.SigningSecret()) })
	b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	b.sameZone("example.org", ready)
	server.SetFaults(nameserver.Faults{})

	b.awaitGone(d)
	b.sameZone("example.org", before)
	b.awaitSaid(d, "RecordsRemoved")
	order := removals(zone.History(), ready)
	want := []string{"_dmarc", "_domainkey", "spf", "_maildomain"}
	if !slices.Equal(order, want) {
		t.Errorf("records went in the order %q, want %q", order, want)
	}
	b.nothingIsLeft()
}

func TestADomainThatComesAgainOnTheSameDayUsesNoSelectorTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	used := map[string]bool{}
	for range 3 {
		d := b.domain("example.org", deleting)
		b.settled(d)
		for _, k := range b.keys() {
			if used[k.Spec.Selector] {
				t.Errorf("selector %s was used before", k.Spec.Selector)
			}
			used[k.Spec.Selector] = true
		}
		b.delete(d)
		b.awaitGone(d)
		b.restart(func(*controllers.Settings) {})
	}
	t.Log(slices.Sorted(maps.Keys(used)))
}

// removals lists in which order the kinds of records went, after the zone was once as it was when ready.
func removals(history []string, ready string) []string {
	has := func(dump, kind string) bool {
		for line := range strings.Lines(dump) {
			switch {
			case kind == "spf" && strings.Contains(line, "v=spf1"),
				kind == "_domainkey" && strings.Contains(line, "._domainkey.") && !strings.HasPrefix(line, "old."),
				strings.HasPrefix(line, kind+".example.org."):
				return true
			}
		}
		return false
	}
	var gone []string
	for _, dump := range history[slices.Index(history, ready):] {
		for _, kind := range []string{"_dmarc", "_domainkey", "spf", "_maildomain"} {
			if !has(dump, kind) && !slices.Contains(gone, kind) {
				gone = append(gone, kind)
			}
		}
	}
	return gone
}

func TestADeletionInMidPublicationLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	zone, server := b.world.Zone("example.org"), b.world.Server("127.0.0.3")
	before := zone.Dump()
	for name, reached := range map[string]func(*v1alpha1.MailDomain) bool{
		"at once":              func(*v1alpha1.MailDomain) bool { return true },
		"with a first key":     func(*v1alpha1.MailDomain) bool { return len(b.uids(&v1alpha1.DKIMKeyList{})) > 0 },
		"with a first update":  func(*v1alpha1.MailDomain) bool { return server.Updates() >= 1 },
		"with a second update": func(*v1alpha1.MailDomain) bool { return server.Updates() >= 2 },
		"with a record":        func(*v1alpha1.MailDomain) bool { return server.Changes("example.org.", dns.TypeTXT) > 0 },
		"with a signature":     func(d *v1alpha1.MailDomain) bool { return b.exists(&corev1.Secret{}, d.SigningSecret()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			server.ResetCounts()
			d := b.domain("example.org", deleting)
			b.until(name, func() bool { return reached(d) })
			b.delete(d)
			b.awaitGone(d)
			b.sameZone("example.org", before)
			b.nothingIsLeft()
		})
	}
}

func TestAProviderThatIsGoneHoldsADeletionUpOnlyUntilAPersonSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	p := b.provider("dns")
	d := b.domain("example.org", deleting)
	b.settled(d)
	before := b.live(d)
	b.delete(p)
	b.awaitGone(p)
	b.delete(d)
	b.awaitSaid(d, "ProviderGone", "DNSProvider dns does not exist", v1alpha1.AnnotationAbandonRecords+"=true")
	b.awaitCondition(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	b.says(d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting, "DNSProvider dns does not exist", v1alpha1.AnnotationAbandonRecords+"=true")
	b.rounds()
	if n := len(b.said(d, "ProviderGone")); n > 3 { // once, and again for a status that could not be written
		t.Errorf("it was said %d times", n)
	}

	edit(b, d, func(d *v1alpha1.MailDomain) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, v1alpha1.AnnotationAbandonRecords, "true")
	})
	b.awaitGone(d)
	b.sameZone("example.org", before.zone)
	b.nothingIsLeft()
}

func TestASigningKeyThatIsDeletedWaitsUntilAnotherOneSigns(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	// No other key can take over as long as nobody sees the spare.
	hidden := nameserver.Faults{Lie: func(q, a *dns.Msg) *dns.Msg {
		if strings.Contains(q.Question[0].Name, "r2._domainkey.") && q.IsTsig() == nil {
			return nil
		}
		return a
	}}
	servers := []*nameserver.Server{b.world.Server("127.0.0.3"), b.world.Server("127.0.0.4")}
	for _, s := range servers {
		s.SetFaults(hidden)
	}
	b.provider("dns")
	d := b.domain("example.org")
	b.awaitReady(d)
	first := b.signing(d)
	b.await(d, "a spare", func() bool { return len(d.Status.Keys) == 2 })
	b.delete(first)
	b.awaitCondition(first, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	b.rounds()
	if signers := b.signers(d); !slices.Equal(signers, []string{first.Spec.Selector}) {
		t.Errorf("meanwhile %q sign", signers)
	}
	for _, s := range servers {
		s.SetFaults(nameserver.Faults{})
	}

	b.awaitGone(first)
	if signers := b.signers(d); len(signers) != 1 || signers[0] == first.Spec.Selector {
		t.Errorf("%q sign, not the spare", signers)
	}
	// Retain: what was signed yesterday still verifies.
	if got := b.txt(first.Spec.Selector + "._domainkey.example.org"); len(got) != 1 {
		t.Errorf("the record of the deleted key is %q", got)
	}
	b.settled(d)
	for _, k := range b.keys() {
		if k.Spec.Selector == first.Spec.Selector {
			t.Error("the selector was used again")
		}
	}
}

func TestASecretThatAPersonDeletesIsKeptOrWrittenAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before, keys, secrets := b.live(d), b.uids(&v1alpha1.DKIMKeyList{}), b.keySecrets()
	signing, spare := b.signing(d), b.keyIn(d, v1alpha1.PhaseStandby)

	t.Run("our finalizer keeps what is deleted", func(t *testing.T) {
		b := b.in(t)
		for _, name := range []string{signing.Name, spare.Name, d.SigningSecret()} {
			b.delete(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace}})
		}
		b.rounds()
		b.stillLive(d, before)
		b.sameSecrets(secrets)
	})
	t.Run("the signing Secret is written again", func(t *testing.T) {
		b := b.in(t)
		b.destroySecret(d.SigningSecret())
		b.until("a signing Secret", func() bool {
			return b.exists(&corev1.Secret{}, d.SigningSecret()) && maps.EqualFunc(b.signingSecret(d).Data, before.signing, equalBytes)
		})
	})
	t.Run("a key that signs is restored from the signing Secret", func(t *testing.T) {
		b := b.in(t)
		b.destroySecret(signing.Name)
		b.until("the private key", func() bool { return b.exists(&corev1.Secret{}, signing.Name) })
		b.sameSecrets(secrets)
		b.awaitSaid(signing, "KeyRestored")
	})
	t.Run("a spare that is lost is replaced under another selector", func(t *testing.T) {
		b := b.in(t)
		b.destroySecret(spare.Name)
		b.awaitCondition(spare, v1alpha1.ConditionKeysReady, metav1.ConditionFalse, v1alpha1.ReasonKeyLost)
		b.until("another spare", func() bool {
			return slices.ContainsFunc(b.keys(), func(k v1alpha1.DKIMKey) bool {
				_, old := keys[k.Name]
				return !old && k.Status.Phase == v1alpha1.PhaseStandby
			})
		})
		b.awaitReady(d)
		if b.exists(&corev1.Secret{}, spare.Name) {
			t.Error("a second key pair was made under the selector of the lost one")
		}
		b.sameSigners(d, before)
	})
}

func TestGarbageCollectionTakesNoKeyAndNoRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground} {
		t.Run(string(policy), func(t *testing.T) {
			b := b.in(t)
			d := b.domain("example.org")
			b.settled(d)
			before, keys, secrets := b.live(d), b.uids(&v1alpha1.DKIMKeyList{}), b.keySecrets()
			if err := b.Delete(b.Context(), d, client.PropagationPolicy(policy)); err != nil {
				t.Fatal(err)
			}
			b.awaitGone(d)
			b.awaitGarbageCollection()
			b.stillLive(d, before)
			b.sameSecrets(secrets)
			if got := b.uids(&v1alpha1.DKIMKeyList{}); !maps.Equal(got, keys) {
				t.Errorf("of the keys %v there are %v", keys, got)
			}
		})
	}
	t.Run("a foreground deletion with Delete ends too", func(t *testing.T) {
		b := b.in(t)
		d := b.domain("example.org", deleting)
		b.settled(d)
		if err := b.Delete(b.Context(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
			t.Fatal(err)
		}
		b.awaitGone(d)
		b.nothingIsLeft()
	})
}

func TestANamespaceThatIsDeletedIsNotHeldUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org")
	b.settled(d)
	before := b.world.Zone("example.org").Dump()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}}
	b.delete(ns)
	b.awaitGone(ns)
	b.sameZone("example.org", before)
}

// awaitGarbageCollection waits until the garbage collector has taken something that it should.
func (b *bench) awaitGarbageCollection() {
	b.Helper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "owner-", Namespace: b.namespace}}
	b.create(owner)
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "child-", Namespace: b.namespace, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
	}}}
	b.create(child)
	b.delete(owner)
	b.awaitGone(child)
}

// destroySecret deletes a Secret against our finalizer.
func (b *bench) destroySecret(name string) {
	b.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace}}
	edit(b, secret, func(s *corev1.Secret) { s.Finalizers = nil })
	b.delete(secret)
}

// nothingIsLeft makes sure that a deletion took everything that the operator made but for the provider's credentials.
func (b *bench) nothingIsLeft() {
	b.Helper()
	if keys := b.uids(&v1alpha1.DKIMKeyList{}); len(keys) > 0 {
		b.Errorf("DKIMKeys are left: %v", keys)
	}
	var secrets corev1.SecretList
	if err := b.List(b.Context(), &secrets, client.InNamespace(b.namespace), client.HasLabels{v1alpha1.LabelManagedBy}); err != nil {
		b.Fatal(err)
	}
	for _, s := range secrets.Items {
		b.Errorf("Secret %s is left", s.Name)
	}
}

func (b *bench) exists(o client.Object, name string) bool {
	return b.Get(b.Context(), client.ObjectKey{Namespace: b.namespace, Name: name}, o) == nil
}

func (b *bench) keys() []v1alpha1.DKIMKey {
	b.Helper()
	var keys v1alpha1.DKIMKeyList
	if err := b.List(b.Context(), &keys, client.InNamespace(b.namespace)); err != nil {
		b.Fatal(err)
	}
	return keys.Items
}

// uids lists the objects of a kind in the namespace.
func (b *bench) uids(list *v1alpha1.DKIMKeyList) map[string]types.UID {
	b.Helper()
	if err := b.List(b.Context(), list, client.InNamespace(b.namespace)); err != nil {
		b.Fatal(err)
	}
	uids := map[string]types.UID{}
	for _, o := range list.Items {
		uids[o.Name] = o.UID
	}
	return uids
}

// keySecrets reads every private key.
func (b *bench) keySecrets() map[string]string {
	b.Helper()
	var list corev1.SecretList
	if err := b.List(b.Context(), &list, client.InNamespace(b.namespace), client.MatchingLabels{v1alpha1.LabelSecret: v1alpha1.SecretPrivateKey}); err != nil {
		b.Fatal(err)
	}
	keys := map[string]string{}
	for _, s := range list.Items {
		keys[s.Name] = string(s.Data[v1alpha1.PrivateKeyEntry])
	}
	return keys
}

func (b *bench) sameSecrets(before map[string]string) {
	b.Helper()
	if after := b.keySecrets(); !maps.Equal(after, before) {
		b.Errorf("the private keys changed: there were %v and are %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// keyIn is the DKIMKey of a domain in a phase.
func (b *bench) keyIn(d *v1alpha1.MailDomain, phase v1alpha1.KeyPhase) *v1alpha1.DKIMKey {
	b.Helper()
	for _, k := range d.Status.Keys {
		if k.Phase == phase {
			key := &v1alpha1.DKIMKey{}
			if err := b.Get(b.Context(), client.ObjectKey{Namespace: d.Namespace, Name: k.Name}, key); err != nil {
				b.Fatal(err)
			}
			return key
		}
	}
	b.Fatalf("no key of %s is in %s:\n%s", d.Name, phase, describe(d))
	return nil
}

// signers lists the selectors that sign for a domain.
func (b *bench) signers(d *v1alpha1.MailDomain) []string {
	b.Helper()
	domain, err := keydir.Decode(b.signingSecret(d).Data, "example.org")
	if err != nil {
		b.Fatal(err)
	}
	var selectors []string
	for _, k := range domain.Keys {
		selectors = append(selectors, k.Selector)
	}
	return selectors
}

// watchSigners collects every content of a signing Secret from now on; nil stands for one that is not there.
func (b *bench) watchSigners(name string) func() []map[string][]byte {
	b.Helper()
	c, err := client.NewWithWatch(b.config, client.Options{Scheme: b.Scheme()})
	if err != nil {
		b.Fatal(err)
	}
	w, err := c.Watch(b.Context(), &corev1.SecretList{}, client.InNamespace(b.namespace), client.MatchingLabels{v1alpha1.LabelSecret: v1alpha1.SecretSigning})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan []map[string][]byte, 1)
	go func() {
		var seen []map[string][]byte
		for event := range w.ResultChan() {
			if secret, ok := event.Object.(*corev1.Secret); ok && secret.Name == name {
				if event.Type == "DELETED" {
					secret.Data = nil
				}
				seen = append(seen, secret.Data)
			}
		}
		done <- seen
	}()
	return func() []map[string][]byte {
		w.Stop()
		return <-done
	}
}

func equalBytes(a, b []byte) bool { return string(a) == string(b) }
