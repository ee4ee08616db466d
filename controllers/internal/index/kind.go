// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// Kind is one kind of object that publishes through providers, and what concerns all of its objects that use one.
type Kind struct {
	Client client.Reader
	List   client.ObjectList // an empty one
}

// WatchProviders has the users of a provider reconciled when it changes. clusterScope says whether cluster-wide objects may be
// read: the labels of a namespace decide what a ClusterDNSProvider grants to it.
func (k Kind) WatchProviders(b *builder.Builder, clusterScope bool) *builder.Builder {
	b = b.Watches(&v1alpha1.DNSProvider{}, handler.EnqueueRequestsFromMapFunc(k.usersOf))
	if clusterScope {
		b = b.Watches(&v1alpha1.ClusterDNSProvider{}, handler.EnqueueRequestsFromMapFunc(k.usersOf)).
			Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(k.inNamespace))
	}
	return b
}

func (k Kind) usersOf(ctx context.Context, o client.Object) []reconcile.Request {
	return k.UsersOf(ctx, ProviderOf(o))
}

// UsersOf asks for the objects that refer to a provider.
func (k Kind) UsersOf(ctx context.Context, p dnsprovider.ProviderKey) []reconcile.Request {
	return k.requests(ctx, "provider "+p.Name, client.InNamespace(p.Namespace), client.MatchingFields{byProvider: p.Kind + "/" + p.Name})
}

func (k Kind) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return k.requests(ctx, "namespace "+o.GetName(), client.InNamespace(o.GetName()))
}

func (k Kind) requests(ctx context.Context, concerns string, options ...client.ListOption) []reconcile.Request {
	list := k.List.DeepCopyObject().(client.ObjectList)
	if err := k.Client.List(ctx, list, options...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list what is concerned", "by", concerns)
		return nil
	}
	var requests []reconcile.Request
	_ = meta.EachListItem(list, func(o runtime.Object) error { // the function never fails
		requests = append(requests, Request(o.(client.Object)))
		return nil
	})
	return requests
}
