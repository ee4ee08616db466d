// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package objectstore keeps objects as the API server does, in the process and by a clock that is handed in: versions,
// generations, status apart from the rest, deletion by finalizers, server-side apply with a set of fields for each manager.
// test/api has it and a real API server carry out the same calls, and expects the same of both.
//
// It shows what a process may see at worst: Cached lags behind each write for as long as Lag says, and Interfere may refuse
// a write, or carry it out and lose the answer. It knows no admission: no defaults, no schema, no rules. All calls come from
// one goroutine at a time.
package objectstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Store is a client.Client that reads live.
type Store struct {
	client.Client // nil: what is not implemented here panics

	// Interfere, if set, carries a write out by do, or does not, and says what the caller is told.
	Interfere func(w Write, do func() error) error
	// Lag, if set, is how long after a write Cached shows it.
	Lag func() time.Duration
	// Changed, if set, hears of every change right after it; before or after is nil for an object that came or went. visible
	// is when Cached shows it. Neither may be edited.
	Changed func(before, after client.Object, visible time.Time)

	scheme  *runtime.Scheme
	now     func() time.Time
	version int
	kinds   map[schema.GroupVersionKind]*kind
}

// Write is a call that changes something.
type Write struct {
	Verb    string // create, update, patch, apply, delete; "patch status"
	Kind    string
	Name    types.NamespacedName
	Manager string // of an apply
}

func (w Write) String() string { return fmt.Sprintf("%s %s %s", w.Verb, w.Kind, w.Name) }

// kind is all objects of one kind.
type kind struct {
	schema.GroupVersionKind
	objects map[types.NamespacedName]*history
	indexes map[string]client.IndexerFunc
	latest  time.Time // a watch tells in order
}

// history is one object in all versions that a cache may still show, oldest first.
type history struct {
	versions []version
	applied  map[string]map[string]any // what each field manager applied last
}

type version struct {
	object  client.Object // nil: it is gone
	visible time.Time
}

// New makes an empty store.
func New(scheme *runtime.Scheme, now func() time.Time) *Store {
	return &Store{scheme: scheme, now: now, kinds: map[schema.GroupVersionKind]*kind{}}
}

// IndexField has List find objects by a field of our own.
func (s *Store) IndexField(_ context.Context, o client.Object, field string, values client.IndexerFunc) error {
	k, err := s.kindOf(o)
	if err == nil {
		k.indexes[field] = values
	}
	return err
}

// Scheme knows the kinds.
func (s *Store) Scheme() *runtime.Scheme { return s.scheme }

// GroupVersionKindFor is the kind of an object.
func (s *Store) GroupVersionKindFor(o runtime.Object) (schema.GroupVersionKind, error) {
	return apiutil.GVKForObject(o, s.scheme)
}

func (s *Store) kindOf(o runtime.Object) (*kind, error) {
	gvk, err := apiutil.GVKForObject(o, s.scheme)
	if err != nil {
		return nil, err
	}
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	k := s.kinds[gvk]
	if k == nil {
		k = &kind{GroupVersionKind: gvk, objects: map[types.NamespacedName]*history{}, indexes: map[string]client.IndexerFunc{}}
		s.kinds[gvk] = k
	}
	return k, nil
}

func (k *kind) resource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: strings.ToLower(k.Kind) + "s"}
}

// live is the object as it is now; nil if there is none.
func (k *kind) live(name types.NamespacedName) client.Object {
	if h := k.objects[name]; h != nil {
		return h.versions[len(h.versions)-1].object
	}
	return nil
}

// cached is the object as it is shown at a moment.
func (k *kind) cached(name types.NamespacedName, now time.Time) client.Object {
	h := k.objects[name]
	if h == nil || h.versions[0].visible.After(now) {
		return nil
	}
	for len(h.versions) > 1 && !h.versions[1].visible.After(now) {
		h.versions = h.versions[1:]
	}
	return h.versions[0].object
}

// Get reads live.
func (s *Store) Get(_ context.Context, name types.NamespacedName, into client.Object, _ ...client.GetOption) error {
	k, err := s.kindOf(into)
	if err != nil {
		return err
	}
	return k.get(k.live(name), name, into)
}

// List reads live.
func (s *Store) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	k, err := s.kindOf(into)
	if err != nil {
		return err
	}
	return k.list(k.live, into, options)
}

func (k *kind) get(found client.Object, name types.NamespacedName, into client.Object) error {
	if found == nil {
		return apierrors.NewNotFound(k.resource(), name.Name)
	}
	copyInto(into, found)
	return nil
}

func (k *kind) list(read func(types.NamespacedName) client.Object, into client.ObjectList, options []client.ListOption) error {
	var of client.ListOptions
	of.ApplyOptions(options)
	var items []runtime.Object
	names := slices.SortedFunc(maps.Keys(k.objects), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, name := range names {
		if of.Namespace != "" && name.Namespace != of.Namespace {
			continue
		}
		o := read(name)
		if o == nil {
			continue
		}
		if ok, err := k.matches(o, &of); err != nil {
			return err
		} else if ok {
			items = append(items, o.DeepCopyObject())
		}
	}
	return meta.SetList(into, items)
}

func (k *kind) matches(o client.Object, of *client.ListOptions) (bool, error) {
	if of.LabelSelector != nil && !of.LabelSelector.Matches(labelsOf(o)) {
		return false, nil
	}
	if of.FieldSelector == nil {
		return true, nil
	}
	for _, r := range of.FieldSelector.Requirements() {
		values := k.indexes[r.Field]
		if values == nil {
			return false, apierrors.NewBadRequest("field label not supported: " + r.Field)
		}
		if !slices.Contains(values(o), r.Value) {
			return false, nil
		}
	}
	return true, nil
}

// Cached reads what a cache shows that lags behind, and writes to the store. Of kinds that holds names it shows those objects
// alone for which it is true.
func (s *Store) Cached(holds map[string]func(client.Object) bool) client.Client {
	return &cached{Store: s, holds: holds}
}

type cached struct {
	*Store
	holds map[string]func(client.Object) bool
}

func (c *cached) Get(_ context.Context, name types.NamespacedName, into client.Object, _ ...client.GetOption) error {
	k, err := c.kindOf(into)
	if err != nil {
		return err
	}
	return k.get(c.reader(k)(name), name, into)
}

func (c *cached) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	k, err := c.kindOf(into)
	if err != nil {
		return err
	}
	return k.list(c.reader(k), into, options)
}

func (c *cached) reader(k *kind) func(types.NamespacedName) client.Object {
	return func(name types.NamespacedName) client.Object {
		o := k.cached(name, c.now())
		if holds := c.holds[k.Kind]; o == nil || holds != nil && !holds(o) {
			return nil
		}
		return o
	}
}

// Stale tells whether Cached shows less than there is.
func (s *Store) Stale() bool {
	now := s.now()
	for _, k := range s.kinds {
		if k.latest.After(now) {
			return true
		}
	}
	return false
}

// copyInto copies an object over another one of the same type.
func copyInto(into, from client.Object) {
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(from.DeepCopyObject()).Elem())
}
