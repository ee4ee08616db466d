// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keysecret

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

func ed25519(t *testing.T) dkim.KeyPair {
	t.Helper()
	pair, err := dkim.Generate(t.Context(), dkim.Ed25519, 0)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func keyOf(name string) *v1alpha1.DKIMKey {
	return &v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "mail"},
		Spec:       v1alpha1.DKIMKeySpec{Domain: "example.org", Selector: "m1", Algorithm: v1alpha1.AlgorithmEd25519},
	}
}

func TestWhatWeMakeWeMayUse(t *testing.T) {
	key, pair := keyOf("example-org-m1"), ed25519(t)
	secret, err := New(key, pair)
	if err != nil {
		t.Fatal(err)
	}
	if len(secret.OwnerReferences) != 0 || len(secret.Finalizers) != 1 {
		t.Errorf("a key Secret has owners %v and finalizers %v", secret.OwnerReferences, secret.Finalizers)
	}
	key.Status.PublicKeySHA256 = pair.PublicKeySHA256()
	if got, err := Judge(secret, key); err != nil || !got.Equal(pair) {
		t.Errorf("got %v (%v)", got, err)
	}
}

func TestASecretThatMustNotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Secret, *v1alpha1.DKIMKey)
		reason string
		words  string
	}{
		"unlabelled": {
			func(s *corev1.Secret, _ *v1alpha1.DKIMKey) { s.Labels = nil },
			v1alpha1.ReasonKeySecretNotAdopted, "label it maildomain.dev/adopt=true",
		},
		"consent withdrawn": {
			func(s *corev1.Secret, _ *v1alpha1.DKIMKey) {
				s.Labels = map[string]string{v1alpha1.LabelAdopt: "false"}
			},
			v1alpha1.ReasonKeySecretNotAdopted, "not ours",
		},
		"another key's": {
			func(s *corev1.Secret, _ *v1alpha1.DKIMKey) {
				s.Annotations[v1alpha1.AnnotationHolder] = "DKIMKey/other"
			},
			v1alpha1.ReasonSecretNotOurs, "belongs to DKIMKey/other",
		},
		"without the entry": {
			func(s *corev1.Secret, _ *v1alpha1.DKIMKey) { s.Data = nil },
			v1alpha1.ReasonKeySecretInvalid, "has no entry privateKey.pem",
		},
		"garbage": {
			func(s *corev1.Secret, _ *v1alpha1.DKIMKey) { s.Data[v1alpha1.PrivateKeyEntry] = []byte("hunter2") },
			v1alpha1.ReasonKeySecretInvalid, "entry privateKey.pem",
		},
		"of another algorithm": {
			func(_ *corev1.Secret, k *v1alpha1.DKIMKey) { k.Spec.Algorithm = v1alpha1.AlgorithmRSA },
			v1alpha1.ReasonKeySecretMismatch, "holds a key for Ed25519, but the DKIMKey asks for RSA",
		},
		"swapped": {
			func(_ *corev1.Secret, k *v1alpha1.DKIMKey) { k.Status.PublicKeySHA256 = strings.Repeat("0", 64) },
			v1alpha1.ReasonKeySecretMismatch, "another key than the one that is published under m1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := keyOf("example-org-m1")
			secret, err := New(key, ed25519(t))
			if err != nil {
				t.Fatal(err)
			}
			c.change(secret, key)
			var problem *UnusableError
			_, err = Judge(secret, key)
			if !errors.As(err, &problem) || problem.Reason != c.reason || !strings.Contains(problem.Message, c.words) {
				t.Errorf("got %v, want %s: … %s …", err, c.reason, c.words)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows what the Secret holds")
			}
		})
	}
}

func TestConsentIsEnough(t *testing.T) {
	key, pair := keyOf("imported"), ed25519(t)
	secret, err := New(key, pair)
	if err != nil {
		t.Fatal(err)
	}
	secret.Labels, secret.Annotations = map[string]string{v1alpha1.LabelAdopt: "true"}, nil
	if _, err := Judge(secret, key); err != nil {
		t.Error(err)
	}
	if Marked(secret, key) {
		t.Error("a Secret is not marked before its key was seen to fit")
	}
	Mark(secret, key, pair)
	if !Marked(secret, key) {
		t.Error("a marked Secret is not known again")
	}
}
