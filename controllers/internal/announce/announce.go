// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package announce tells people what changed: once as an event and once in the log, when a condition changes.
package announce

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// Conditions tells when the object becomes Ready, and of everything that needs a person: each time its reason or its
// words change, never because time passed.
func Conditions(ctx context.Context, recorder events.EventRecorder, o runtime.Object, before, after []metav1.Condition) {
	say := func(kind, action string, c *metav1.Condition) {
		recorder.Eventf(o, nil, kind, c.Reason, action, "%s", c.Message)
		ctrl.LoggerFrom(ctx).Info(c.Message, "condition", c.Type, "status", c.Status, "reason", c.Reason)
	}
	if c := changed(before, after, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionTrue {
		say(corev1.EventTypeNormal, "Reconcile", c)
	}
	for _, kind := range []string{
		v1alpha1.ConditionStalled, v1alpha1.ConditionMailHeld, v1alpha1.ConditionWeakKey,
		v1alpha1.ConditionSigningSecretLarge, v1alpha1.ConditionUnsupportedFields,
	} {
		if c := changed(before, after, kind); c != nil && c.Status == metav1.ConditionTrue {
			say(corev1.EventTypeWarning, "Reconcile", c)
		}
	}
}

// changed returns the condition if it says something new.
func changed(before, after []metav1.Condition, kind string) *metav1.Condition {
	is, was := meta.FindStatusCondition(after, kind), meta.FindStatusCondition(before, kind)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return nil
	}
	return is
}
