// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// change edits the newest version of an object's spec.
func (b *bench) change(d *v1alpha1.MailDomain, edit func()) error {
	b.Helper()
	if err := b.Get(b.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		b.Fatal(err)
	}
	before := d.DeepCopy()
	edit()
	return b.Patch(b.Context(), d, client.MergeFrom(before))
}

func TestSignersNeverLoseTheSecretThatTheyMount(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.DKIM.SigningSecretName = "mounted" })
	b.awaitReady(d)

	err := b.change(d, func() { d.Spec.DKIM.SigningSecretName = "other" })
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "cannot be changed, set later or removed while a key signs") {
		t.Fatalf("the name was changed while a key signs: %v", err)
	}

	// dkim leaves the spec, and the Secret's name with it: the keys leave the Secret all the same.
	if err := b.change(d, func() { d.Spec.DKIM = nil }); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{}
	secret.Name, secret.Namespace = "mounted", b.namespace
	b.await(secret, "no keys of example.org", func() bool { return len(secret.Data) == 0 })
	b.await(d, "keys that sign no more", func() bool {
		for _, k := range d.Status.Keys {
			if k.Phase == v1alpha1.PhaseSigning {
				return false
			}
		}
		return true
	})
}
