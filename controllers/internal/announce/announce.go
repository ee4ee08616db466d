// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package announce tells people what changed: once as an event and once in the log, when a condition changes.
package announce

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// Conditions tells when the object becomes Ready, what keeps it from that, and of everything that needs a person: each
// time its reason or its words change, never because time passed. Work that is under way and needs nobody is no news.
func Conditions(ctx context.Context, recorder events.EventRecorder, o runtime.Object, before, after []metav1.Condition) {
	say := func(kind string, c *metav1.Condition) {
		recorder.Eventf(o, nil, kind, c.Reason, "Reconcile", "%s", c.Message)
		ctrl.LoggerFrom(ctx).Info(c.Message, "condition", c.Type, "status", c.Status, "reason", c.Reason)
	}
	if c := changed(before, after, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionTrue {
		say(corev1.EventTypeNormal, c)
	} else if c != nil && c.Status == metav1.ConditionFalse && !underWay(c.Reason) && !meta.IsStatusConditionTrue(after, v1alpha1.ConditionStalled) {
		say(corev1.EventTypeWarning, c)
	}
	if c := changed(before, after, v1alpha1.ConditionSuspended); c != nil {
		say(corev1.EventTypeNormal, c)
	}
	for _, kind := range []string{
		v1alpha1.ConditionStalled, v1alpha1.ConditionMailHeld, v1alpha1.ConditionWeakKey,
		v1alpha1.ConditionSigningSecretLarge, v1alpha1.ConditionLargeAnswers, v1alpha1.ConditionUnsupportedFields,
		v1alpha1.ConditionSPFAtRisk, v1alpha1.ConditionReportsUnauthorized,
	} {
		if c := changed(before, after, kind); c != nil && c.Status == metav1.ConditionTrue {
			say(corev1.EventTypeWarning, c)
		}
	}
}

// underWay are the reasons of work that ends by itself. What a provider or a server does not do may end by itself, too,
// but a person would want to know.
func underWay(reason string) bool {
	return slices.Contains([]string{
		v1alpha1.ReasonProgressing, v1alpha1.ReasonGeneratingKey, v1alpha1.ReasonPublishing,
		v1alpha1.ReasonWaitingForPublication, v1alpha1.ReasonWaitingForVerification, v1alpha1.ReasonWaitingForCaches,
		v1alpha1.ReasonWaitingForSigners, v1alpha1.ReasonAwaitingSigning,
		v1alpha1.ReasonDeleting, v1alpha1.ReasonSuspended, v1alpha1.ReasonRecordDrifted,
	}, reason)
}

// changed returns the condition if it says something new.
func changed(before, after []metav1.Condition, kind string) *metav1.Condition {
	is, was := meta.FindStatusCondition(after, kind), meta.FindStatusCondition(before, kind)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return nil
	}
	return is
}
