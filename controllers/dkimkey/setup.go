// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"strings"

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

// workers bounds how many keys are reconciled at once, and so how many RSA key pairs are made at once.
const workers = 4

// SetupWithManager registers the controller, which listens to news of its keys and of their providers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, news *index.News) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("dkimkey").
		For(&v1alpha1.DKIMKey{}).
		Watches(&v1alpha1.MailDomain{}, handler.EnqueueRequestsFromMapFunc(r.keysOfMailDomain)).
		Watches(&corev1.Secret{}, index.OnSecret(r.keysOfSecret, r.keysOfDomain)).
		Watches(&v1alpha1.DNSProvider{}, handler.EnqueueRequestsFromMapFunc(r.usersOfProvider)).
		WatchesRawSource(news.Listen(r.concerned)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers})
	if r.Places.ClusterScope {
		b = b.Watches(&v1alpha1.ClusterDNSProvider{}, handler.EnqueueRequestsFromMapFunc(r.usersOfProvider)).
			Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.keysInNamespace))
	}
	return b.Complete(r)
}

func (r *Reconciler) keysOfMailDomain(ctx context.Context, o client.Object) []reconcile.Request {
	name, err := dnsrecord.ParseDomain(o.(*v1alpha1.MailDomain).Spec.Domain)
	if err != nil {
		return nil
	}
	return r.keysOfDomain(ctx, o.GetNamespace(), "", name)
}

// keysOfDomain asks for every key of a domain whose part of a signing Secret has changed.
func (r *Reconciler) keysOfDomain(ctx context.Context, namespace, _ string, name dnsrecord.Name) []reconcile.Request {
	keys, err := index.KeysOf(ctx, r.Client, namespace, name)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list DKIMKeys", "domain", name)
		return nil
	}
	requests := make([]reconcile.Request, 0, len(keys))
	for i := range keys {
		requests = append(requests, index.Request(&keys[i]))
	}
	return requests
}

// keysOfSecret asks for the key that holds the Secret of a key pair.
func (r *Reconciler) keysOfSecret(_ context.Context, secret *corev1.Secret) []reconcile.Request {
	name, ok := strings.CutPrefix(secret.Annotations[v1alpha1.AnnotationHolder], v1alpha1.KindDKIMKey+"/")
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: secret.Namespace, Name: name}}}
}

func (r *Reconciler) concerned(ctx context.Context, about dnsprovider.Owner) []reconcile.Request {
	if about.Kind == v1alpha1.KindDKIMKey {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: about.Namespace, Name: about.Name}}}
	}
	if provider, ok := index.IsProvider(about); ok {
		return r.usersOf(ctx, provider)
	}
	return nil
}

func (r *Reconciler) usersOfProvider(ctx context.Context, o client.Object) []reconcile.Request {
	return r.usersOf(ctx, index.ProviderOf(o))
}

func (r *Reconciler) usersOf(ctx context.Context, provider dnsprovider.ProviderKey) []reconcile.Request {
	var list v1alpha1.DKIMKeyList
	if err := index.UsersOf(ctx, r.Client, &list, provider); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list DKIMKeys", "provider", provider.Name)
		return nil
	}
	return index.Requests(list.Items)
}

// keysInNamespace: the labels of a namespace decide what is granted to it.
func (r *Reconciler) keysInNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.DKIMKeyList
	if err := r.Client.List(ctx, &list, client.InNamespace(o.GetName())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list DKIMKeys", "namespace", o.GetName())
		return nil
	}
	return index.Requests(list.Items)
}
