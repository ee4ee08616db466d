// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/claim"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Holds tells by a live read whether the holder of a claim still exists and still asks for the name.
func Holds(live client.Reader) func(context.Context, claim.Holder, dnsrecord.Name) (bool, error) {
	return func(ctx context.Context, by claim.Holder, name dnsrecord.Name) (bool, error) {
		key := types.NamespacedName{Namespace: by.Namespace, Name: by.Name}
		var asks []dnsrecord.Name
		var uid types.UID
		var err error
		switch by.Kind {
		case v1alpha1.KindMailDomain:
			var o v1alpha1.MailDomain
			if err = live.Get(ctx, key, &o); err == nil {
				uid = o.UID
				domain, _ := dnsrecord.ParseDomain(o.Spec.Domain)
				asks = []dnsrecord.Name{domain}
			}
		case v1alpha1.KindDKIMKey:
			var o v1alpha1.DKIMKey
			if err = live.Get(ctx, key, &o); err == nil {
				uid = o.UID
				domain, _ := dnsrecord.ParseDomain(o.Spec.Domain)
				record, _ := dkim.RecordName(o.Spec.Selector, domain)
				asks = []dnsrecord.Name{record, dnsrecord.Name(o.Status.TargetName)}
			}
		default:
			return false, nil
		}
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && string(uid) == by.UID && slices.Contains(asks, name), err
	}
}

// Standing is what an object that found its place has to show for its claims: at a ClusterDNSProvider there is none without
// a grant.
func Standing(ref v1alpha1.ProviderRef) claim.Standing {
	if ref.WithDefaults().Kind == v1alpha1.ProviderKindClusterDNSProvider {
		return claim.Granted
	}
	return claim.Asserted
}
