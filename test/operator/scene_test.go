// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// restart runs the operator anew with other flags.
func (b *bench) restart(change func(*controllers.Settings)) {
	b.Helper()
	b.stop()
	change(&b.settings)
	b.start()
}

// in is the bench for a subtest.
func (b *bench) in(t *testing.T) *bench {
	t.Helper()
	c := *b
	c.T = t
	return &c
}

// edit changes the newest version of an object.
func edit[T client.Object](b *bench, o T, change func(T)) {
	b.Helper()
	if err := b.Get(b.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		b.Fatalf("read %T %s: %v", o, o.GetName(), err)
	}
	before := o.DeepCopyObject().(client.Object)
	change(o)
	if err := b.Patch(b.Context(), o, client.MergeFrom(before)); err != nil {
		b.Fatalf("change %T %s: %v", o, o.GetName(), err)
	}
}

func (b *bench) delete(o client.Object) {
	b.Helper()
	if err := b.Delete(b.Context(), o); client.IgnoreNotFound(err) != nil {
		b.Fatalf("delete %T %s: %v", o, o.GetName(), err)
	}
}

// said lists what the events of an object with a reason say; an event that was repeated stands there as often.
func (b *bench) said(o client.Object, reason string) []string {
	b.Helper()
	var list corev1.EventList
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where the events of cluster-wide objects are
	}
	if err := b.List(b.Context(), &list, client.InNamespace(namespace)); err != nil {
		b.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.InvolvedObject.UID != o.GetUID() || e.Reason != reason {
			continue
		}
		times := max(1, int(e.Count))
		if e.Series != nil {
			times = max(times, int(e.Series.Count))
		}
		for range times {
			all = append(all, e.Message)
		}
	}
	slices.Sort(all)
	return all
}

// awaitSaid waits for an event with a reason and words; events are written beside the status.
func (b *bench) awaitSaid(o client.Object, reason string, words ...string) {
	b.Helper()
	deadline := time.After(patience)
	for {
		for _, message := range b.said(o, reason) {
			if holds(message, words...) {
				return
			}
		}
		select {
		case <-deadline:
			b.Fatalf("no event %s of %s says %q, but %q; there are %v\n%s", reason, o.GetName(), words, b.said(o, reason), b.events(o), describe(o))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// once makes sure that an event with these words was told a single time.
func (b *bench) once(o client.Object, reason string, words ...string) {
	b.Helper()
	n := 0
	for _, message := range b.said(o, reason) {
		if holds(message, words...) {
			n++
		}
	}
	if n != 1 {
		b.Errorf("event %s of %s with %q was told %d times: %q", reason, o.GetName(), words, n, b.said(o, reason))
	}
}

func holds(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// says reads a condition, which must hold all words.
func (b *bench) says(o client.Object, kind string, status metav1.ConditionStatus, reason string, words ...string) {
	b.Helper()
	c := meta.FindStatusCondition(conditionsOf(o), kind)
	if c == nil || c.Status != status || c.Reason != reason || !holds(c.Message, words...) {
		b.Errorf("%s of %s is %+v, not %s (%s) with %q", kind, o.GetName(), c, status, reason, words)
	}
}

// rounds lets some rounds of looking at the DNS pass (Settings.Probing.Interval), so that whatever is said or written
// again and again shows. Nothing is measured by it.
func (b *bench) rounds() {
	select {
	case <-b.Context().Done():
	case <-time.After(3 * b.settings.Probing.Interval):
	}
}

// live is what the world and the signers see of a domain.
type live struct {
	zone    string
	signing map[string][]byte
}

func (b *bench) live(d *v1alpha1.MailDomain) live {
	b.Helper()
	return live{zone: b.world.Zone(d.Spec.Domain).Dump(), signing: b.signingSecret(d).Data}
}

// stillLive makes sure that nothing of it changed.
func (b *bench) stillLive(d *v1alpha1.MailDomain, before live) {
	b.Helper()
	b.sameZone(d.Spec.Domain, before.zone)
	b.sameSigners(d, before)
}

func (b *bench) sameSigners(d *v1alpha1.MailDomain, before live) {
	b.Helper()
	after := b.signingSecret(d).Data
	if !maps.EqualFunc(before.signing, after, func(a, b []byte) bool { return string(a) == string(b) }) {
		b.Errorf("the signing Secret of %s changed: it held %v and holds %v", d.Name, slices.Sorted(maps.Keys(before.signing)), slices.Sorted(maps.Keys(after)))
	}
}

func (b *bench) sameZone(zone, before string) {
	b.Helper()
	if after := b.world.Zone(zone).Dump(); after != before {
		b.Errorf("zone %s changed from\n%s\nto\n%s", zone, before, after)
	}
}

// settled waits until a domain is Ready, and has a spare of every key, so that nothing is under way.
func (b *bench) settled(d *v1alpha1.MailDomain) {
	b.Helper()
	b.awaitReady(d)
	b.await(d, "a spare", func() bool {
		phases := map[v1alpha1.KeyPhase]int{}
		for _, k := range d.Status.Keys {
			phases[k.Phase]++
		}
		return d.Spec.DKIM == nil || phases[v1alpha1.PhaseStandby] > 0 && phases[v1alpha1.PhaseStandby] == phases[v1alpha1.PhaseSigning]
	})
}

// signing is the DKIMKey with which a domain signs.
func (b *bench) signing(d *v1alpha1.MailDomain) *v1alpha1.DKIMKey {
	b.Helper()
	for _, k := range d.Status.Keys {
		if k.Phase == v1alpha1.PhaseSigning {
			key := &v1alpha1.DKIMKey{}
			if err := b.Get(b.Context(), client.ObjectKey{Namespace: d.Namespace, Name: k.Name}, key); err != nil {
				b.Fatal(err)
			}
			return key
		}
	}
	b.Fatalf("no key of %s signs:\n%s", d.Name, describe(d))
	return nil
}

// record is what the status says of the record of a purpose.
func record(d *v1alpha1.MailDomain, purpose v1alpha1.RecordPurpose) v1alpha1.RecordStatus {
	for _, r := range d.Status.Records {
		if r.Purpose == purpose {
			return r
		}
	}
	return v1alpha1.RecordStatus{}
}

func (b *bench) awaitRecord(d *v1alpha1.MailDomain, purpose v1alpha1.RecordPurpose, state v1alpha1.RecordState) v1alpha1.RecordStatus {
	b.Helper()
	b.await(d, string(purpose)+" record "+string(state), func() bool { return record(d, purpose).State == state })
	return record(d, purpose)
}

// rsaKey makes a private key as other programs write it, and its public key record.
func rsaKey(tb testing.TB, bits int) (text []byte, pair dkim.KeyPair) {
	tb.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
	if pair, err = dkim.ParsePEM(text); err != nil {
		tb.Fatal(err)
	}
	return text, pair
}

// awaitTXT waits until the primary has these values, and no others, at a name.
func (b *bench) awaitTXT(name string, want ...string) {
	b.Helper()
	deadline := time.After(patience)
	for {
		if slices.Equal(b.txt(name), want) {
			return
		}
		select {
		case <-deadline:
			b.Fatalf("%s holds %q, not %q", name, b.txt(name), want)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// quote writes a TXT value as it stands in a zone file.
func quote(value string) string {
	var text strings.Builder
	for len(value) > 0 {
		n := min(len(value), 200)
		text.WriteString(` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value[:n]) + `"`)
		value = value[n:]
	}
	return text.String()
}

// nothing is a restart with the same flags.
func nothing(*controllers.Settings) {}

// addTXT, swapTXT and removeTXT edit a zone as somebody else does.
func (b *bench) addTXT(zone, name, value string) {
	b.Helper()
	ttl := uint32(1) // what stood there before a record of ours is waited out
	for _, rr := range b.world.Zone(zone).Records(name+".", dns.TypeTXT) {
		ttl = rr.Header().Ttl
	}
	if err := b.world.Zone(zone).Add(fmt.Sprintf("%s. %d IN TXT%s", name, ttl, quote(value))); err != nil {
		b.Fatal(err)
	}
}

// swapTXT replaces one value in one change, or removes it, and leaves the others at the name.
func (b *bench) swapTXT(zone, name, old string, by ...string) {
	b.Helper()
	var after strings.Builder
	ttl := b.world.Zone(zone).Records(name+".", dns.TypeTXT)[0].Header().Ttl // one for all (RFC 2181 §5.2)
	for _, value := range append(slices.DeleteFunc(b.txt(name), func(v string) bool { return v == old }), by...) {
		fmt.Fprintf(&after, "%s. %d IN TXT%s\n", name, ttl, quote(value))
	}
	if err := b.world.Zone(zone).Replace(name+".", dns.TypeTXT, after.String()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) removeTXT(zone, name string) {
	b.Helper()
	if err := b.world.Zone(zone).Remove(name+".", dns.TypeTXT); err != nil {
		b.Fatal(err)
	}
}

// remove takes everything away that stands at a name.
func (b *bench) remove(zone, name string) {
	b.Helper()
	if err := b.world.Zone(zone).Remove(name+".", dns.TypeANY); err != nil {
		b.Fatal(err)
	}
}

func contains(all []string, one string) bool { return slices.Contains(all, one) }

// inNamespace is the bench of another tenant.
func (b *bench) inNamespace(namespace string) *bench {
	c := *b
	c.namespace = namespace
	return &c
}

// key makes a DKIMKey as a person does.
func (b *bench) key(domain, selector string, change ...func(*v1alpha1.DKIMKey)) *v1alpha1.DKIMKey {
	b.Helper()
	k := &v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Name: selector + "-" + strings.ReplaceAll(domain, ".", "-"), Namespace: b.namespace},
		Spec: v1alpha1.DKIMKeySpec{
			Domain: domain, Selector: selector, Algorithm: v1alpha1.AlgorithmRSA, ProviderRef: v1alpha1.ProviderRef{Name: "dns"},
		},
	}
	for _, c := range change {
		c(k)
	}
	b.create(k)
	return k
}
