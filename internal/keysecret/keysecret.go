// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keysecret decides what the Secret of one key pair looks like, and whether one that exists may be used.
package keysecret

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// UnusableError is why a Secret may not be used; Reason is one of the reasons of the condition KeysReady.
type UnusableError struct{ Reason, Message string }

// Error returns the message.
func (p *UnusableError) Error() string { return p.Message }

// Holder is how the Secret names the DKIMKey that holds it.
func Holder(key *v1alpha1.DKIMKey) string { return v1alpha1.KindDKIMKey + "/" + key.Name }

// Name is the Secret of the key pair: the one that a person named, else one named after the DKIMKey.
func Name(key *v1alpha1.DKIMKey) string {
	if key.Spec.PrivateKeySecretName != "" {
		return key.Spec.PrivateKeySecretName
	}
	return key.Name
}

// New is the Secret of a key pair that was made. It has no owner reference: garbage collection runs beside
// finalizers, and a foreground deletion would destroy live keys.
func New(key *v1alpha1.DKIMKey, pair dkim.KeyPair) (*corev1.Secret, error) {
	text, err := pair.PEM()
	if err != nil {
		return nil, err
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: Name(key), Namespace: key.Namespace},
		Type:       v1alpha1.SecretTypeDKIMKey,
		Data:       map[string][]byte{v1alpha1.PrivateKeyEntry: text},
	}
	Mark(s, key, pair)
	return s, nil
}

// Mark labels the Secret as ours and held by the key, and keeps it until the key lets go.
func Mark(s *corev1.Secret, key *v1alpha1.DKIMKey, pair dkim.KeyPair) {
	metav1.SetMetaDataLabel(&s.ObjectMeta, v1alpha1.LabelManagedBy, v1alpha1.ManagedBy)
	metav1.SetMetaDataLabel(&s.ObjectMeta, v1alpha1.LabelSecret, v1alpha1.SecretPrivateKey)
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationHolder, Holder(key))
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationDomain, key.Spec.Domain)
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationPublicKeySHA256, pair.PublicKeySHA256())
	if slices.Contains(s.Finalizers, v1alpha1.SecretFinalizer) {
		return
	}
	s.Finalizers = append(s.Finalizers, v1alpha1.SecretFinalizer)
}

// Marked tells whether the Secret is marked as ours and held by this key.
func Marked(s *corev1.Secret, key *v1alpha1.DKIMKey) bool {
	return s.Labels[v1alpha1.LabelSecret] == v1alpha1.SecretPrivateKey && s.Annotations[v1alpha1.AnnotationHolder] == Holder(key)
}

// Judge reads the key pair of an existing Secret, or says why it must not be used for this key. What it cannot use it
// leaves alone: what was live before stays live.
func Judge(s *corev1.Secret, key *v1alpha1.DKIMKey) (dkim.KeyPair, error) {
	refuse := func(reason, format string, args ...any) (dkim.KeyPair, error) {
		return dkim.KeyPair{}, &UnusableError{Reason: reason, Message: fmt.Sprintf("Secret %s: ", s.Name) + fmt.Sprintf(format, args...)}
	}
	if ours := s.Labels[v1alpha1.LabelSecret] == v1alpha1.SecretPrivateKey; ours {
		if by := s.Annotations[v1alpha1.AnnotationHolder]; by != Holder(key) {
			return refuse(v1alpha1.ReasonSecretNotOurs, "belongs to %s; name another Secret in spec.privateKeySecretName", by)
		}
	} else if consent, ok := s.Labels[v1alpha1.LabelAdopt]; !ok || consent == "false" {
		return refuse(v1alpha1.ReasonKeySecretNotAdopted,
			"exists and is not ours; label it %s=true to bring its key in, or name another Secret in spec.privateKeySecretName", v1alpha1.LabelAdopt)
	}
	text, ok := s.Data[v1alpha1.PrivateKeyEntry]
	if !ok {
		return refuse(v1alpha1.ReasonKeySecretInvalid, "has no entry %s", v1alpha1.PrivateKeyEntry)
	}
	pair, err := dkim.ParsePEM(text)
	if err != nil {
		return refuse(v1alpha1.ReasonKeySecretInvalid, "entry %s: %s", v1alpha1.PrivateKeyEntry, err)
	}
	switch {
	case string(pair.Algorithm()) != string(key.Spec.Algorithm):
		return refuse(v1alpha1.ReasonKeySecretMismatch, "holds a key for %s, but the DKIMKey asks for %s", pair.Algorithm(), key.Spec.Algorithm)
	case key.Spec.Bits != 0 && pair.Bits() != int(key.Spec.Bits):
		return refuse(v1alpha1.ReasonKeySecretMismatch, "holds a key of %d bits, but the DKIMKey asks for %d", pair.Bits(), key.Spec.Bits)
	case key.Status.PublicKeySHA256 != "" && pair.PublicKeySHA256() != key.Status.PublicKeySHA256:
		return refuse(v1alpha1.ReasonKeySecretMismatch,
			"holds another key than the one that is published under %s; put the former key back, or delete the DKIMKey to get a new selector", key.Spec.Selector)
	}
	return pair, nil
}
