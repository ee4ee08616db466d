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

// workers bounds how many keys are reconciled at once.
const workers = 4

// SetupWithManager registers the controller, which listens to news of its keys and of their providers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, news *index.News) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("dkimkey").
		For(&v1alpha1.DKIMKey{}).
		Watches(&v1alpha1.MailDomain{}, handler.EnqueueRequestsFromMapFunc(r.keysOfMailDomain)).
		Watches(&corev1.Secret{}, index.OnSecret(r.keysOfSecret, r.keysOfDomain)).
		WatchesRawSource(news.Listen(r.concerned)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers})
	return r.kind().WatchProviders(b, r.Places.ClusterScope).Complete(r)
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
	return index.Requests(keys)
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
		return r.kind().UsersOf(ctx, provider)
	}
	return nil
}

func (r *Reconciler) kind() index.Kind {
	return index.Kind{Client: r.Client, List: &v1alpha1.DKIMKeyList{}}
}
