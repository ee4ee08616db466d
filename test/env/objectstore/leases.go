// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Leases are the Leases of a namespace behind client-go's typed client, which reads live.
func (s *Store) Leases(namespace string) coordinationclient.LeaseInterface {
	return leases{store: s, namespace: namespace}
}

type leases struct {
	coordinationclient.LeaseInterface // nil: what is not implemented here panics

	store     *Store
	namespace string
}

func (l leases) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	var found coordinationv1.Lease
	err := l.store.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: name}, &found)
	return &found, err
}

func (l leases) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	created := lease.DeepCopy()
	created.Namespace = l.namespace
	return created, l.store.Create(ctx, created)
}

func (l leases) Update(ctx context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	updated := lease.DeepCopy()
	updated.Namespace = l.namespace
	return updated, l.store.Update(ctx, updated)
}

func (l leases) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	gone := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: name}}
	if options.Preconditions == nil {
		return l.store.Delete(ctx, gone)
	}
	return l.store.Delete(ctx, gone, client.Preconditions(*options.Preconditions))
}
