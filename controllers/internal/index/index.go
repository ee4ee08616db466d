// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package index finds objects by what connects them: a domain, a provider.
package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// The fields that the cache indexes. They are values that we compute, not paths of the objects.
const (
	byDomain   = "maildomain.dev/domain"
	byProvider = "maildomain.dev/provider"
)

// Register adds the indexes to the cache; call it once, before the manager starts.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range []struct {
		object client.Object
		field  string
		values client.IndexerFunc
	}{
		{&v1alpha1.MailDomain{}, byDomain, func(o client.Object) []string { return domain(o.(*v1alpha1.MailDomain).Spec.Domain) }},
		{&v1alpha1.DKIMKey{}, byDomain, func(o client.Object) []string { return domain(o.(*v1alpha1.DKIMKey).Spec.Domain) }},
		{&v1alpha1.MailDomain{}, byProvider, func(o client.Object) []string { return providersOfDomain(o.(*v1alpha1.MailDomain)) }},
		{&v1alpha1.DKIMKey{}, byProvider, func(o client.Object) []string { return providersOfKey(o.(*v1alpha1.DKIMKey)) }},
	} {
		if err := indexer.IndexField(ctx, i.object, i.field, i.values); err != nil {
			return fmt.Errorf("index %T by %s: %w", i.object, i.field, err)
		}
	}
	return nil
}

// domain is compared as the A-label that is published, whatever the spec's spelling.
func domain(text v1alpha1.DomainName) []string {
	name, err := dnsrecord.ParseDomain(text)
	if err != nil {
		return nil
	}
	return []string{string(name)}
}

func provider(ref v1alpha1.ProviderRef) string {
	ref = ref.WithDefaults()
	return string(ref.Kind) + "/" + ref.Name
}

// providersOfDomain are those that the spec names, and those of former places.
func providersOfDomain(d *v1alpha1.MailDomain) []string {
	all := []string{provider(d.Spec.ProviderRef)}
	for _, p := range d.Status.Places {
		all = append(all, provider(p.ProviderRef))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func providersOfKey(k *v1alpha1.DKIMKey) []string {
	all := []string{provider(k.Spec.ProviderRef)}
	for _, p := range k.Status.Places {
		all = append(all, provider(p.ProviderRef))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// MailDomainsOf lists the MailDomains of a domain; namespace "" looks in all.
func MailDomainsOf(ctx context.Context, c client.Reader, namespace string, name dnsrecord.Name) ([]v1alpha1.MailDomain, error) {
	var list v1alpha1.MailDomainList
	err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{byDomain: string(name)})
	return list.Items, err
}

// KeysOf lists the DKIMKeys of a domain in a namespace.
func KeysOf(ctx context.Context, c client.Reader, namespace string, name dnsrecord.Name) ([]v1alpha1.DKIMKey, error) {
	var list v1alpha1.DKIMKeyList
	err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{byDomain: string(name)})
	return list.Items, err
}

// MarkerGeneration is the highest generation of the domain's marker in a zone that the status of any of these objects
// remembers. One of them may have made the marker move on while another one slept.
func MarkerGeneration(zone dnsrecord.Name, domain *v1alpha1.MailDomain, keys []v1alpha1.DKIMKey) int64 {
	var highest int64
	note := func(in string, generation int64) {
		if in == "" || in == string(zone) { // a status that lost its zone remembers the generation still
			highest = max(highest, generation)
		}
	}
	if domain != nil {
		note(domain.Status.Zone, domain.Status.MarkerGeneration)
	}
	for i := range keys {
		note(keys[i].Status.Zone, keys[i].Status.MarkerGeneration)
	}
	return highest
}

// Published are the digests of what these objects have published or are about to, as their statuses tell.
func Published(domain *v1alpha1.MailDomain, keys []v1alpha1.DKIMKey) []string {
	var digests []string
	note := func(name string, t dnsrecord.Type, values ...string) {
		for _, v := range values {
			if v != "" {
				digests = append(digests, dnsplan.Digest(dnsrecord.Name(name), t, v))
			}
		}
	}
	if domain != nil {
		for _, r := range domain.Status.Records {
			note(r.Name, dnsrecord.Type(cmp.Or(r.Type, string(dnsrecord.TXT))), r.Value, r.PublishedValue)
		}
	}
	for i := range keys {
		s := &keys[i].Status
		note(cmp.Or(s.TargetName, s.RecordName), dnsrecord.TXT, s.RecordValue, s.PublishedValue)
	}
	return digests
}

// ProviderOf names a provider object.
func ProviderOf(o client.Object) dnsprovider.ProviderKey {
	kind := v1alpha1.KindDNSProvider
	if _, ok := o.(*v1alpha1.ClusterDNSProvider); ok {
		kind = v1alpha1.KindClusterDNSProvider
	}
	return dnsprovider.ProviderKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// IsProvider tells whether news is about a provider.
func IsProvider(about dnsprovider.Owner) (dnsprovider.ProviderKey, bool) {
	key := dnsprovider.ProviderKey{Kind: about.Kind, Namespace: about.Namespace, Name: about.Name}
	return key, about.Kind == v1alpha1.KindDNSProvider || about.Kind == v1alpha1.KindClusterDNSProvider
}

// Request asks for the reconciliation of an object.
func Request(o client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// Requests asks for the reconciliation of each.
func Requests[T any, P interface {
	*T
	client.Object
}](items []T,
) []reconcile.Request {
	requests := make([]reconcile.Request, 0, len(items))
	for i := range items {
		requests = append(requests, Request(P(&items[i])))
	}
	return requests
}

// SpecChanged passes over events that only tell of our own status writes. Annotations are a person's word.
func SpecChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
}
