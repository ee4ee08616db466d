// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// KeyOf reads what a DKIMKey itself tells; whether it signs or is held by a signer, whether it was seen just now, and what
// could not be read is for the caller to add.
func KeyOf(k *v1alpha1.DKIMKey) Key {
	return Key{
		Name: k.Name, Selector: k.Spec.Selector, Algorithm: dkim.Algorithm(k.Spec.Algorithm), Bits: bitsOf(k),
		Created:      k.CreationTimestamp.Time,
		Intent:       intentOf(k.Spec.Intent),
		Revoked:      k.Spec.Revoked,
		Deleting:     !k.DeletionTimestamp.IsZero(),
		Manual:       k.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy,
		Adopted:      k.Spec.PrivateKeySecretName != "",
		KeyPair:      k.Status.PublicKeySHA256 != "",
		Conflict:     k.Status.RecordState == v1alpha1.RecordConflict,
		PublishedAt:  timeOf(k.Status.PublishedTime),
		VerifiedAt:   timeOf(k.Status.VerifiedTime),
		UsableAt:     timeOf(k.Status.UsableTime),
		SigningSince: timeOf(k.Status.SigningSinceTime),
		RetiredAt:    timeOf(k.Status.RetiredTime),
		RevokedAt:    timeOf(k.Status.RevokedTime),
		RemovedAt:    timeOf(k.Status.RemovedTime),
	}
}

// bitsOf is the size of an RSA key: as it really is, or as it will be once it is made.
func bitsOf(k *v1alpha1.DKIMKey) int {
	switch {
	case k.Spec.Algorithm != v1alpha1.AlgorithmRSA:
		return 0
	case k.Status.Bits != 0:
		return int(k.Status.Bits)
	case k.Spec.Bits != 0:
		return int(k.Spec.Bits)
	}
	return int(v1alpha1.DefaultRSABits)
}

func intentOf(i v1alpha1.KeyIntent) Intent {
	if i == "" {
		return ToStandBy
	}
	return Intent(i)
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
