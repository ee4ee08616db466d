// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/objectstore"
)

// The simulation of the controllers stands on the store: where it answered otherwise than an API server, years of it would
// prove nothing.
func TestTheStoreInTheProcessDoesWhatTheAPIServerDoes(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		noError(t, add(scheme))
	}
	server, err := client.New(shared.Get(t).Config, client.Options{Scheme: scheme})
	noError(t, err)
	store := objectstore.New(scheme, func() time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) })
	want, got := carryOut(t, server), carryOut(t, store)
	for i := range want {
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("the API server (-) and the store (+) differ:\n%s", diff)
		}
	}
}

// carryOut does one call after the other, and notes what each came to.
func carryOut(t *testing.T, c client.Client) []string {
	t.Helper()
	var notes []string
	versions := map[string]string{}
	var outdated v1alpha1.DKIMKey
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return c.Create(t.Context(), storedKey()) }},
		{"create again", func() error { return c.Create(t.Context(), storedKey()) }},
		{"remember", func() error { return c.Get(t.Context(), storedName, &outdated) }},
		{"patch nothing", func() error { return c.Patch(t.Context(), outdated.DeepCopy(), client.MergeFrom(&outdated)) }},
		{"patch the status", func() error {
			return patched(t, c, true, func(k *v1alpha1.DKIMKey) { k.Status.Phase, k.Status.Bits = v1alpha1.PhaseStandby, 2048 })
		}},
		{"patch the status by an outdated copy", func() error {
			after := outdated.DeepCopy()
			after.Status.Phase = v1alpha1.PhaseSigning
			return c.Status().Patch(t.Context(), after, client.MergeFromWithOptions(&outdated, client.MergeFromWithOptimisticLock{}))
		}},
		{"write a status beside the status", func() error {
			return patched(t, c, false, func(k *v1alpha1.DKIMKey) { k.Status.Phase = v1alpha1.PhaseSigning })
		}},
		{"add a finalizer", func() error {
			return patched(t, c, false, func(k *v1alpha1.DKIMKey) { k.Finalizers = append(k.Finalizers, "example.org/a") })
		}},
		{"apply an intent", func() error { return applyTo(t, c, storedUID(t, c), "intent", map[string]any{"intent": "Signing"}) }},
		{"apply the same", func() error { return applyTo(t, c, storedUID(t, c), "intent", map[string]any{"intent": "Signing"}) }},
		{"apply to one that is gone", func() error { return applyTo(t, c, "another", "intent", map[string]any{"intent": "Retired"}) }},
		{"apply what another one applied", func() error { return applyTo(t, c, "", "person", map[string]any{"intent": "Retired"}) }},
		{"apply less", func() error { return applyTo(t, c, "", "intent", map[string]any{}) }},
		{"delete by an outdated version", func() error {
			return c.Delete(t.Context(), storedKey(), client.Preconditions{ResourceVersion: &outdated.ResourceVersion})
		}},
		{"delete", func() error { return c.Delete(t.Context(), storedKey()) }},
		{"delete again", func() error { return c.Delete(t.Context(), storedKey()) }},
		{"let go", func() error { return patched(t, c, false, func(k *v1alpha1.DKIMKey) { k.Finalizers = nil }) }},
		{"delete what is gone", func() error { return c.Delete(t.Context(), storedKey()) }},
		{"apply to one when there is none", func() error { return applyTo(t, c, "another", "intent", map[string]any{}) }},
		{"apply anew", func() error { return applyTo(t, c, "", "intent", map[string]any{}) }},
		{"one domain in a Secret", func() error { return applySecret(t, c, "one", true, "one.example") }},
		{"two domains in a Secret", func() error { return applySecret(t, c, "two", true, "two.example") }},
		{"one changes", func() error { return applySecret(t, c, "one", true, "one.example", "more.one.example") }},
		{"one is as before", func() error { return applySecret(t, c, "one", true, "one.example") }},
		{"one leaves", func() error { return applySecret(t, c, "one", false) }},
		{"two leaves", func() error { return applySecret(t, c, "two", false) }},
		{"the Secret goes", func() error {
			return c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stored"}})
		}},
	} {
		err := step.do()
		notes = append(notes, fmt.Sprintf("%s: %s\n%s\n%s", step.name, apierrors.ReasonForError(err),
			describe(t, c, &v1alpha1.DKIMKey{}, versions), describe(t, c, &corev1.Secret{}, versions)))
	}
	return notes
}

var storedName = types.NamespacedName{Namespace: "default", Name: "stored"}

func storedKey() *v1alpha1.DKIMKey {
	return &v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: storedName.Namespace, Name: storedName.Name},
		Spec: v1alpha1.DKIMKeySpec{
			Domain: "stored.example", Selector: "m1", Algorithm: v1alpha1.AlgorithmRSA,
			ProviderRef: v1alpha1.ProviderRef{Kind: v1alpha1.ProviderKindDNSProvider, Name: "dns"},
		},
		Status: v1alpha1.DKIMKeyStatus{Phase: v1alpha1.PhaseRevoked}, // which is not taken
	}
}

func storedUID(t *testing.T, c client.Client) types.UID {
	t.Helper()
	var k v1alpha1.DKIMKey
	noError(t, c.Get(t.Context(), storedName, &k))
	return k.UID
}

func patched(t *testing.T, c client.Client, status bool, change func(*v1alpha1.DKIMKey)) error {
	t.Helper()
	var before v1alpha1.DKIMKey
	noError(t, c.Get(t.Context(), storedName, &before))
	after := before.DeepCopy()
	change(after)
	if status {
		return c.Status().Patch(t.Context(), after, client.MergeFromWithOptions(&before, client.MergeFromWithOptimisticLock{}))
	}
	return c.Patch(t.Context(), after, client.MergeFrom(&before))
}

// applyTo applies what identifies the key, and more.
func applyTo(t *testing.T, c client.Client, uid types.UID, manager string, more map[string]any) error {
	t.Helper()
	k := storedKey()
	spec := map[string]any{
		"domain": k.Spec.Domain, "selector": k.Spec.Selector, "algorithm": string(k.Spec.Algorithm),
		"providerRef": map[string]any{"kind": string(k.Spec.ProviderRef.Kind), "name": k.Spec.ProviderRef.Name},
	}
	maps.Copy(spec, more)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.KindDKIMKey,
		"metadata": map[string]any{"namespace": k.Namespace, "name": k.Name}, "spec": spec,
	}}
	u.SetUID(uid)
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
}

func applySecret(t *testing.T, c client.Client, manager string, holds bool, entries ...string) error {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": storedName.Namespace, "name": storedName.Name},
	}}
	data := map[string]any{}
	for _, e := range entries {
		data[e] = "eA=="
	}
	if len(data) > 0 {
		u.Object["data"] = data
	}
	if holds {
		u.SetLabels(map[string]string{"ours": "yes"})
		u.SetFinalizers([]string{"example.org/a"})
	}
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
}

// describe says what there is, but for what no two servers have alike, and whether its version is another one than before.
func describe(t *testing.T, c client.Client, o client.Object, versions map[string]string) string {
	t.Helper()
	kind := fmt.Sprintf("%T", o)
	err := c.Get(t.Context(), storedName, o)
	if err != nil {
		versions[kind] = ""
		return kind + ": " + string(apierrors.ReasonForError(err))
	}
	changed := versions[kind] != o.GetResourceVersion()
	versions[kind] = o.GetResourceVersion()
	made, content := o.GetCreationTimestamp(), ""
	switch o := o.(type) {
	case *v1alpha1.DKIMKey:
		content = fmt.Sprintf("%+v %+v", o.Spec, o.Status)
	case *corev1.Secret:
		content = fmt.Sprint(slices.Sorted(maps.Keys(o.Data)))
	}
	return fmt.Sprintf("%s %s/%s: changed %t, generation %d, made %t, uid %t, deleting %t, finalizers %v, labels %v, %s", kind, o.GetNamespace(), o.GetName(), changed, o.GetGeneration(),
		!made.IsZero(), o.GetUID() != "", o.GetDeletionTimestamp() != nil, o.GetFinalizers(), o.GetLabels(), content)
}
