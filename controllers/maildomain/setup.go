// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// workers bounds how many domains are reconciled at once.
const workers = 4

// SetupWithManager registers the controller, which listens to news of its domains, their keys and their providers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, news *index.News) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("maildomain").
		For(&v1alpha1.MailDomain{}).
		Watches(&v1alpha1.MailDomain{}, handler.EnqueueRequestsFromMapFunc(r.rivals)).
		Watches(&v1alpha1.DKIMKey{}, handler.EnqueueRequestsFromMapFunc(r.domainOfKey)).
		Watches(&corev1.Secret{}, index.OnSecret(r.domainOfPair, r.domainOfPart)).
		WatchesRawSource(news.Listen(r.concerned)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers})
	return r.kind().WatchProviders(b, r.Places.ClusterScope).Complete(r)
}

// rivals are the other MailDomains of the same domain: when one is deleted, another may claim it, and one that has a better
// right takes it from another.
func (r *Reconciler) rivals(ctx context.Context, o client.Object) []reconcile.Request {
	self := index.Request(o)
	return slices.DeleteFunc(r.mailDomains(ctx, "", o.(*v1alpha1.MailDomain).Spec.Domain), func(other reconcile.Request) bool { return other == self })
}

func (r *Reconciler) domainOfKey(ctx context.Context, o client.Object) []reconcile.Request {
	return r.mailDomains(ctx, o.GetNamespace(), o.(*v1alpha1.DKIMKey).Spec.Domain)
}

func (r *Reconciler) domainOfPair(ctx context.Context, secret *corev1.Secret) []reconcile.Request {
	return r.mailDomains(ctx, secret.Namespace, secret.Annotations[v1alpha1.AnnotationDomain])
}

func (r *Reconciler) domainOfPart(ctx context.Context, namespace, _ string, domain dnsrecord.Name) []reconcile.Request {
	return r.mailDomains(ctx, namespace, v1alpha1.DomainName(domain))
}

func (r *Reconciler) mailDomains(ctx context.Context, namespace string, domain v1alpha1.DomainName) []reconcile.Request {
	name, err := dnsrecord.ParseDomain(domain)
	if err != nil {
		return nil
	}
	domains, err := index.MailDomainsOf(ctx, r.Client, namespace, name)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list MailDomains", "domain", name)
		return nil
	}
	return index.Requests(domains)
}

func (r *Reconciler) concerned(ctx context.Context, about dnsprovider.Owner) []reconcile.Request {
	object := types.NamespacedName{Namespace: about.Namespace, Name: about.Name}
	switch about.Kind {
	case v1alpha1.KindMailDomain:
		return []reconcile.Request{{NamespacedName: object}}
	case v1alpha1.KindDKIMKey: // a fresh look at its record may be what the domain waits for
		var key v1alpha1.DKIMKey
		if err := r.Client.Get(ctx, object, &key); err != nil {
			return nil
		}
		return r.domainOfKey(ctx, &key)
	}
	if provider, ok := index.IsProvider(about); ok {
		return r.kind().UsersOf(ctx, provider)
	}
	return nil
}

func (r *Reconciler) kind() index.Kind {
	return index.Kind{Client: r.Client, List: &v1alpha1.MailDomainList{}}
}
