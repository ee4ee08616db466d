// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// OnSecret reconciles what a change of one of our Secrets concerns: byPair for the Secret of a key pair, byDomain for
// each domain whose part of a signing Secret has changed.
func OnSecret(
	byPair func(context.Context, *corev1.Secret) []reconcile.Request,
	byDomain func(ctx context.Context, namespace, secret string, domain dnsrecord.Name) []reconcile.Request,
) handler.EventHandler {
	enqueue := func(ctx context.Context, before, after client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		secret, data := either(before, after), [2]map[string][]byte{dataOf(before), dataOf(after)}
		var requests []reconcile.Request
		if secret.Labels[v1alpha1.LabelSecret] == v1alpha1.SecretSigning {
			for domain := range domainsOf(data[0], data[1]) {
				requests = append(requests, byDomain(ctx, secret.Namespace, secret.Name, domain)...)
			}
		} else {
			requests = byPair(ctx, secret)
		}
		for _, r := range requests {
			queue.Add(r)
		}
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, nil, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, e.ObjectOld, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, nil, q) },
	}
}

func either(before, after client.Object) *corev1.Secret {
	if after == nil {
		return before.(*corev1.Secret)
	}
	return after.(*corev1.Secret)
}

func dataOf(o client.Object) map[string][]byte {
	if o == nil {
		return nil
	}
	return o.(*corev1.Secret).Data
}

// domainsOf lists the domains whose data keys differ between two versions of a signing Secret: hundreds of domains
// may share one, and a change of one concerns that one alone.
func domainsOf(before, after map[string][]byte) map[dnsrecord.Name]bool {
	changed := map[dnsrecord.Name]bool{}
	note := func(dataKey string) {
		if name, ok := keydir.DomainOf(dataKey); ok {
			changed[name] = true
		}
	}
	for k, v := range before {
		if other, ok := after[k]; !ok || string(other) != string(v) {
			note(k)
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok {
			note(k)
		}
	}
	return changed
}
