// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !decisions

package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
)

// create writes the MailDomain, its provider, the pods that sign, and a key that signs already.
func (p *process) create() error {
	provider := &v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: dnsName.Namespace, Name: dnsName.Name},
		Spec:       v1alpha1.DNSProviderSpec{Zones: []string{p.name}, TTLSeconds: int32(p.profile.ttl / time.Second)},
	}
	if err := p.store.Create(p.Context(), provider); err != nil {
		return err
	}
	provider.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, ObservedGeneration: provider.Generation,
	}}
	if err := p.store.Status().Update(p.Context(), provider); err != nil {
		return err
	}
	for i := range p.pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: domainName.Namespace, Name: fmt.Sprintf("mta-%d", i)}}
		if err := p.store.Create(p.Context(), pod); err != nil {
			return err
		}
		pod.Status.PodIP = "192.0.2.1"
		if err := p.store.Status().Update(p.Context(), pod); err != nil {
			return err
		}
	}
	domain := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Namespace: domainName.Namespace, Name: domainName.Name}}
	p.spell(domain)
	if err := p.store.Create(p.Context(), domain); err != nil || !p.profile.adopted {
		return err
	}
	return p.bring()
}

// spell writes down what the person asks for.
func (p *process) spell(domain *v1alpha1.MailDomain) {
	asks, l := &p.cluster.domain, p.profile.lifetimes
	rotates := &v1alpha1.Rotation{
		Overlap: &metav1.Duration{Duration: l.Overlap}, Tombstone: &metav1.Duration{Duration: l.Tombstone}, Suspend: asks.suspended,
		Schedule: p.profile.cron[0], TimeZone: p.profile.cron[1],
	}
	if every := p.profile.calendar.Interval; every > 0 {
		rotates.Interval = &metav1.Duration{Duration: every}
	}
	d := &v1alpha1.DKIM{Rotation: rotates, RevokedSelectors: sortedKeys(asks.revoked)}
	for _, k := range asks.keys {
		d.Keys = append(d.Keys, v1alpha1.WantedKey{Algorithm: v1alpha1.Algorithm(k.Algorithm), Bits: int32(k.Bits)})
	}
	d.Selectors = &v1alpha1.Selectors{Prefix: p.profile.selectors.Prefix, Ring: p.profile.selectors.Ring}
	if p.profile.watched {
		d.Signers = &v1alpha1.Signers{}
	}
	domain.Spec = v1alpha1.MailDomainSpec{Domain: p.name, ProviderRef: v1alpha1.ProviderRef{Name: dnsName.Name}, DKIM: d}
	for annotation, at := range map[string]time.Time{v1alpha1.AnnotationRotate: asks.asked, v1alpha1.AnnotationRotateUndo: asks.undo} {
		if !at.IsZero() {
			metav1.SetMetaDataAnnotation(&domain.ObjectMeta, annotation, at.UTC().Format(time.RFC3339))
		}
	}
}

// bring writes the Secret and the DKIMKey of a key that signs outside of the cluster.
func (p *process) bring() error {
	pair := p.pool.draw("RSA", 1024)
	p.pairs[before+" "+pair.PublicKeySHA256()] = p.stands()
	text, err := pair.PEM()
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: domainName.Namespace, Name: nameOf(before), Labels: map[string]string{v1alpha1.LabelAdopt: "true"}},
		Data:       map[string][]byte{v1alpha1.PrivateKeyEntry: text},
	}
	if err := p.store.Create(p.Context(), secret); err != nil {
		return err
	}
	key := &v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: domainName.Namespace, Name: nameOf(before)},
		Spec: v1alpha1.DKIMKeySpec{
			Domain: p.name, Selector: before, Algorithm: v1alpha1.AlgorithmRSA, PrivateKeySecretName: secret.Name,
			ProviderRef: v1alpha1.ProviderRef{Name: dnsName.Name},
		},
	}
	p.mirror(key)
	p.cluster.secrets[key.Name] = p.pairOf(before, pair.PublicKeySHA256())
	p.truth.owner[before] = key.Name
	p.keyAlarm(before).in(0)
	return p.store.Create(p.Context(), key)
}

// hear passes on what a person changed.
func (p *process) hear() {
	p.person(func() error {
		var d v1alpha1.MailDomain
		if err := p.store.Get(p.Context(), domainName, &d); err != nil {
			return err
		}
		p.spell(&d)
		return p.store.Update(p.Context(), &d)
	})
}

// lose deletes a private key, whatever holds it.
func (p *process) lose(name string) {
	p.person(func() error {
		var s corev1.Secret
		err := p.store.Get(p.Context(), client.ObjectKey{Namespace: domainName.Namespace, Name: name}, &s)
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		s.Finalizers = nil
		if err := p.store.Update(p.Context(), &s); err != nil {
			return err
		}
		delete(p.cluster.secrets, name) // lest it be taken for the operator's doing
		return p.store.Delete(p.Context(), &s)
	})
}

// changed tells the world what was written, and wakes who watches when the caches show it.
func (p *process) changed(was, is client.Object, visible time.Time) {
	o := is
	if o == nil {
		o = was
	}
	switch o := o.(type) {
	case *v1alpha1.MailDomain:
		p.wakeAllAt(visible)
	case *v1alpha1.DKIMKey:
		p.keyChanged(was, is)
		p.keyAlarm(o.Spec.Selector).at(visible)
		p.domainAlarm.at(visible)
	case *corev1.Secret:
		if o.Labels[v1alpha1.LabelSecret] == v1alpha1.SecretSigning {
			p.signingChanged(is)
			p.wakeAllAt(visible)
			return
		}
		p.pairChanged(o, is == nil)
		p.at(visible, func() { p.wakeNamed(o.Name) })
	}
}

func (p *process) wakeAllAt(t time.Time) { p.at(t, p.wakeAll) }

func (p *process) wakeNamed(name string) { p.wakeKey(strings.TrimPrefix(name, nameOf(""))) }

func (p *process) keyChanged(was, is client.Object) {
	switch {
	case is == nil:
		selector := was.(*v1alpha1.DKIMKey).Spec.Selector
		p.report.Deleted++
		p.forgetKey(was.GetName())
		if len(p.profile.selectors.Ring) > 0 { // the person takes a slot off the list when its key is gone
			delete(p.cluster.domain.revoked, selector)
			p.in(time.Minute, p.hear)
		}
	case was == nil:
		p.checkSelector(is.(*v1alpha1.DKIMKey).Spec.Selector)
		p.report.Keys++
		p.mirror(is.(*v1alpha1.DKIMKey))
	default:
		p.checkTimes(was.(*v1alpha1.DKIMKey), is.(*v1alpha1.DKIMKey))
		p.mirror(is.(*v1alpha1.DKIMKey))
	}
}

// checkTimes is invariant 8: no wait begins while our clock may be wrong.
func (p *process) checkTimes(was, is *v1alpha1.DKIMKey) {
	if !p.inDoubt() {
		return
	}
	for name, t := range map[string][2]*metav1.Time{
		"verified": {was.Status.VerifiedTime, is.Status.VerifiedTime}, "retired": {was.Status.RetiredTime, is.Status.RetiredTime},
		"revoked": {was.Status.RevokedTime, is.Status.RevokedTime}, "removed": {was.Status.RemovedTime, is.Status.RemovedTime},
	} {
		if t[0] == nil && t[1] != nil {
			p.violated(8, "%s is noted to be %s though our clock is %s off", is.Spec.Selector, name, p.world.clock.offset)
		}
	}
}

// mirror shows the world a DKIMKey.
func (p *process) mirror(k *v1alpha1.DKIMKey) {
	view := rotation.KeyOf(k)
	mirrored := &dkimKey{
		name: k.Name, selector: k.Spec.Selector, algorithm: view.Algorithm, bits: view.Bits, created: k.CreationTimestamp.Time,
		adopted: view.Adopted, intent: view.Intent, revoked: k.Spec.Revoked, pair: p.pairOf(k.Spec.Selector, k.Status.PublicKeySHA256),
		published: view.PublishedAt, verified: view.VerifiedAt, usable: view.UsableAt, signingSince: view.SigningSince,
		retired: view.RetiredAt, emptied: view.RevokedAt, removed: view.RemovedAt,
	}
	if mirrored.intent == "" {
		mirrored.intent = rotation.ToStandBy
	}
	if p.cluster.keys[k.Name] == nil {
		p.cluster.names = append(p.cluster.names, k.Name)
		slices.Sort(p.cluster.names)
	}
	p.cluster.keys[k.Name] = &watched[*dkimKey]{live: mirrored}
}

func (p *process) forgetKey(name string) {
	delete(p.cluster.keys, name)
	p.cluster.names = slices.DeleteFunc(p.cluster.names, func(n string) bool { return n == name })
}

// pairChanged follows the Secret of a key pair.
func (p *process) pairChanged(secret *corev1.Secret, gone bool) {
	k := p.cluster.byName(secret.Name)
	_, known := p.cluster.secrets[secret.Name]
	switch id := p.pairOf(strings.TrimPrefix(secret.Name, nameOf("")), secret.Annotations[v1alpha1.AnnotationPublicKeySHA256]); {
	case gone && known:
		if k != nil {
			p.checkDeletion(k)
		}
		delete(p.cluster.secrets, secret.Name)
	case !gone && id != absent:
		if former := p.cluster.secrets[secret.Name]; known && former != id {
			p.violated(5, "the private key of %s is overwritten", secret.Name)
		}
		p.cluster.secrets[secret.Name] = id
	}
}

// signingChanged follows what signers mount.
func (p *process) signingChanged(is client.Object) {
	after := signingSecret{keys: map[string]keyID{}}
	if secret, ok := is.(*corev1.Secret); ok {
		if d, err := keydir.Decode(secret.Data, dnsrecord.Name(p.name)); err == nil {
			after.required = d.Required
			for _, k := range d.Keys {
				after.keys[k.Selector] = p.pairOf(k.Selector, k.Pair.PublicKeySHA256())
			}
		}
	}
	was := p.cluster.signing.live
	if was.required == after.required && fmt.Sprint(was.keys) == fmt.Sprint(after.keys) {
		return
	}
	p.checkSigners(was, after)
	p.cluster.signing.live = after
	p.mount(was, after)
}

// followRotations compares what signs with the calendar.
func (p *process) followRotations() {
	var views []rotation.Key
	for _, k := range p.cluster.live() {
		views = append(views, p.view(k, p.cluster.signing.live))
	}
	p.due(views, p.operatorNow())
}
