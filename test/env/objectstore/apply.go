// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Apply is a server-side apply: what this manager applied before and leaves out now goes, unless another one applies it too.
// Finalizers are a set; every other list is one value.
func (s *Store) Apply(_ context.Context, config runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	wanted := &unstructured.Unstructured{}
	if err := wanted.UnmarshalJSON(text); err != nil {
		return err
	}
	var of client.ApplyOptions
	of.ApplyOptions(options)
	k, err := s.kindOf(wanted)
	if err != nil {
		return err
	}
	name := client.ObjectKeyFromObject(wanted)
	return s.write("apply", k, name, of.FieldManager, func() error {
		live := k.live(name)
		switch uid := wanted.GetUID(); {
		case uid != "" && live == nil:
			return apierrors.NewConflict(k.resource(), name.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
		case uid != "" && live.GetUID() != uid:
			return apierrors.NewInvalid(k.GroupKind(), name.Name, field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), uid, "field is immutable")})
		}
		wanted.SetUID("")
		return s.apply(k, name, live, wanted.Object, of)
	})
}

func (s *Store) apply(k *kind, name types.NamespacedName, live client.Object, wanted map[string]any, of client.ApplyOptions) error {
	managers := map[string]map[string]any{}
	tree := map[string]any{}
	after, err := s.scheme.New(k.GroupVersionKind)
	if err != nil {
		return err
	}
	if live != nil {
		managers = k.objects[name].applied
		if tree, err = runtime.DefaultUnstructuredConverter.ToUnstructured(live); err != nil {
			return err
		}
	}
	now := leaves(wanted)
	for path, leaf := range leaves(managers[of.FieldManager]) {
		if _, kept := now[path]; !kept && !appliedByOther(managers, of.FieldManager, path) {
			leaf.removeFrom(tree)
		}
	}
	for path, leaf := range now {
		if err := takeFrom(managers, of, path, leaf); err != nil {
			return apierrors.NewConflict(k.resource(), name.Name, err)
		}
		leaf.setIn(tree)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(tree, after); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	o := after.(client.Object)
	o.SetNamespace(name.Namespace)
	o.SetName(name.Name)
	o.GetObjectKind().SetGroupVersionKind(typeOf(live))
	if live != nil {
		o = keepStatus(live, o)
	}
	s.put(k, name, live, o)
	k.objects[name].applied[of.FieldManager] = wanted
	return nil
}

// typeOf is the kind as typed objects carry it: mostly not at all.
func typeOf(live client.Object) (kind schema.GroupVersionKind) {
	if live != nil {
		kind = live.GetObjectKind().GroupVersionKind()
	}
	return kind
}

// leaf is a field, or an item of a set.
type leaf struct {
	path  []string
	value any
	item  bool
}

// leaves are the fields of a tree that one manager can own, by path. What identifies the object is none.
func leaves(tree map[string]any) map[string]leaf {
	all := map[string]leaf{}
	gather(all, nil, tree)
	for _, identity := range []string{"apiVersion", "kind", "metadata\x00name", "metadata\x00namespace"} {
		delete(all, identity)
	}
	return all
}

func gather(into map[string]leaf, path []string, value any) {
	if fields, ok := value.(map[string]any); ok {
		for key, under := range fields {
			gather(into, append(slices.Clone(path), key), under)
		}
		return
	}
	items, ok := value.([]any)
	if !ok || !slices.Equal(path, []string{"metadata", "finalizers"}) {
		into[strings.Join(path, "\x00")] = leaf{path, value, false}
		return
	}
	for _, item := range items {
		into[strings.Join(path, "\x00")+"\x00"+fmt.Sprint(item)] = leaf{path, item, true}
	}
}

func appliedByOther(managers map[string]map[string]any, me, path string) bool {
	for manager, tree := range managers {
		if _, ok := leaves(tree)[path]; ok && manager != me {
			return true
		}
	}
	return false
}

// takeFrom takes a field from managers that applied another value, by force alone.
func takeFrom(managers map[string]map[string]any, of client.ApplyOptions, path string, mine leaf) error {
	for manager, tree := range managers {
		theirs, ok := leaves(tree)[path]
		if !ok || manager == of.FieldManager || reflect.DeepEqual(theirs.value, mine.value) {
			continue
		}
		if of.Force == nil || !*of.Force {
			return errors.New("conflict with " + manager + ": ." + strings.Join(mine.path, "."))
		}
		theirs.removeFrom(tree)
	}
	return nil
}

func (l leaf) setIn(tree map[string]any) {
	if !l.item {
		_ = unstructured.SetNestedField(tree, l.value, l.path...) // its parents are maps: another shape is not of this kind
		return
	}
	items, _, _ := unstructured.NestedSlice(tree, l.path...)
	if !slices.Contains(items, l.value) {
		_ = unstructured.SetNestedSlice(tree, append(items, l.value), l.path...)
	}
}

func (l leaf) removeFrom(tree map[string]any) {
	if !l.item {
		unstructured.RemoveNestedField(tree, l.path...)
		return
	}
	items, _, _ := unstructured.NestedSlice(tree, l.path...)
	items = slices.DeleteFunc(items, func(item any) bool { return item == l.value })
	_ = unstructured.SetNestedSlice(tree, items, l.path...)
}
