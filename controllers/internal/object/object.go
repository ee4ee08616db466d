// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package object writes to the objects that are reconciled, only onto the version that was read, so that a stale copy
// never wins, and says when to look at them again.
package object

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// stale is how long to wait for a newer version of what was read, should its event be late.
const stale = time.Second

// PatchFinalizer adds or removes our finalizer: change is controllerutil.AddFinalizer or RemoveFinalizer.
func PatchFinalizer(ctx context.Context, c client.Client, read client.Object, change func(client.Object, string) bool) error {
	after := read.DeepCopyObject().(client.Object)
	change(after, v1alpha1.Finalizer)
	err := c.Patch(ctx, after, client.MergeFromWithOptions(read, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return nil // what we read is outdated; the newer version is on its way
	}
	return client.IgnoreNotFound(err)
}

// PatchStatus writes the status of after, a changed copy of read.
func PatchStatus(ctx context.Context, c client.Client, read, after client.Object) error {
	return c.Status().Patch(ctx, after, client.MergeFromWithOptions(read, client.MergeFromWithOptimisticLock{}))
}

// Result ends a reconcile. look is when time alone changes something, zero if it never does; err is what acting came to,
// patched what writing the status came to.
func Result(now, look time.Time, err, patched error) (ctrl.Result, error) {
	if err == nil && apierrors.IsConflict(patched) {
		return ctrl.Result{RequeueAfter: stale}, nil // what we read is outdated; the newer version is on its way
	}
	err = errors.Join(err, client.IgnoreNotFound(patched))
	if err != nil || look.IsZero() {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: max(look.Sub(now), time.Second)}, nil
}
