// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// write carries a write out, unless somebody interferes.
func (s *Store) write(verb string, k *kind, name types.NamespacedName, manager string, do func() error) error {
	if s.Interfere == nil {
		return do()
	}
	return s.Interfere(Write{Verb: verb, Kind: k.Kind, Name: name, Manager: manager}, do)
}

// Create makes an object. Its status, where it has one, is not taken.
func (s *Store) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	k, err := s.kindOf(o)
	if err != nil {
		return err
	}
	name := client.ObjectKeyFromObject(o)
	return s.write("create", k, name, "", func() error {
		if o.GetResourceVersion() != "" {
			return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
		}
		if k.live(name) != nil {
			return apierrors.NewAlreadyExists(k.resource(), name.Name)
		}
		created := o.DeepCopyObject().(client.Object)
		if status, ok := statusOf(created); ok {
			status.SetZero()
		}
		copyInto(o, s.put(k, name, nil, created))
		return nil
	})
}

// Update replaces all of an object but its status.
func (s *Store) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return s.change("update", o, func(live client.Object) (client.Object, error) {
		return keepStatus(live, o.DeepCopyObject().(client.Object)), nil
	})
}

// Patch changes all of an object but its status, by a JSON merge patch (RFC 7396).
func (s *Store) Patch(_ context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	return s.change("patch", o, func(live client.Object) (client.Object, error) {
		after, err := merged(live, o, p)
		if err != nil {
			return nil, err
		}
		return keepStatus(live, after), nil
	})
}

// change writes what becomes of an object, if that has the version that is there, or none.
func (s *Store) change(verb string, o client.Object, become func(live client.Object) (client.Object, error)) error {
	k, err := s.kindOf(o)
	if err != nil {
		return err
	}
	name := client.ObjectKeyFromObject(o)
	return s.write(verb, k, name, "", func() error {
		live := k.live(name)
		if live == nil {
			return apierrors.NewNotFound(k.resource(), name.Name)
		}
		after, err := become(live)
		if err != nil {
			return err
		}
		if v := after.GetResourceVersion(); v != "" && v != live.GetResourceVersion() {
			return apierrors.NewConflict(k.resource(), name.Name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
		}
		copyInto(o, s.put(k, name, live, after))
		return nil
	})
}

// merged is an object after a merge patch.
func merged(live, o client.Object, p client.Patch) (client.Object, error) {
	if p.Type() != types.MergePatchType {
		return nil, fmt.Errorf("a %s is not known here", p.Type())
	}
	data, err := p.Data(o)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	text, err := jsonpatch.MergePatch(before, data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	after := reflect.New(reflect.TypeOf(live).Elem()).Interface().(client.Object)
	if err := json.Unmarshal(text, after); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return after, nil
}

// Delete deletes an object, or says that it is to go if somebody's finalizer holds it.
func (s *Store) Delete(_ context.Context, o client.Object, options ...client.DeleteOption) error {
	k, err := s.kindOf(o)
	if err != nil {
		return err
	}
	var of client.DeleteOptions
	of.ApplyOptions(options)
	name := client.ObjectKeyFromObject(o)
	return s.write("delete", k, name, "", func() error {
		live := k.live(name)
		if live == nil {
			return apierrors.NewNotFound(k.resource(), name.Name)
		}
		if p := of.Preconditions; p != nil && (p.UID != nil && *p.UID != live.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != live.GetResourceVersion()) {
			return apierrors.NewConflict(k.resource(), name.Name, errors.New("the preconditions in the request do not hold"))
		}
		after := live.DeepCopyObject().(client.Object)
		if after.GetDeletionTimestamp() == nil {
			after.SetDeletionTimestamp(&metav1.Time{Time: s.now().Truncate(time.Second)})
		}
		s.put(k, name, live, after)
		return nil
	})
}

// put stores what a write makes of an object, with what the API server alone writes. A write that changes nothing makes no
// version.
func (s *Store) put(k *kind, name types.NamespacedName, before, after client.Object) client.Object {
	if before == nil {
		s.born(after)
		k.objects[name] = k.reborn(name)
	} else if !carriesOn(before, after) {
		return before
	}
	s.version++
	after.SetResourceVersion(strconv.Itoa(s.version))
	if after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0 {
		s.show(k, name, before, nil)
		return after
	}
	s.show(k, name, before, after)
	return after
}

func (s *Store) born(o client.Object) {
	o.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version+1)))
	o.SetCreationTimestamp(metav1.Time{Time: s.now().UTC().Truncate(time.Second)})
	o.SetDeletionTimestamp(nil)
	o.SetGeneration(0)
	if specOf(o) != nil {
		o.SetGeneration(1)
	}
}

// carriesOn keeps what nobody can change, counts the generation, and tells whether anything changed.
func carriesOn(before, after client.Object) bool {
	after.SetUID(before.GetUID())
	after.SetCreationTimestamp(before.GetCreationTimestamp())
	after.SetResourceVersion(before.GetResourceVersion())
	after.SetGeneration(before.GetGeneration())
	if before.GetDeletionTimestamp() != nil {
		after.SetDeletionTimestamp(before.GetDeletionTimestamp())
	}
	deleted := before.GetDeletionTimestamp() == nil && after.GetDeletionTimestamp() != nil
	if specOf(after) != nil && (deleted || !equality.Semantic.DeepEqual(specOf(before), specOf(after))) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	return !equality.Semantic.DeepEqual(before, after)
}

// reborn is the history of an object that is made where one may have been: caches may still show that one.
func (k *kind) reborn(name types.NamespacedName) *history {
	h := &history{applied: map[string]map[string]any{}}
	if former := k.objects[name]; former != nil {
		h.versions = former.versions
	}
	return h
}

// show has caches show a version, in the order of the writes.
func (s *Store) show(k *kind, name types.NamespacedName, before, after client.Object) {
	visible := s.now()
	if s.Lag != nil {
		visible = visible.Add(s.Lag())
	}
	if visible.Before(k.latest) {
		visible = k.latest
	}
	k.latest = visible
	h := k.objects[name]
	h.versions = append(h.versions, version{object: after, visible: visible})
	if after == nil {
		clear(h.applied)
	}
	if s.Changed != nil {
		s.Changed(before, after, visible)
	}
}

// statusOf is the status of an object that has one apart from the rest.
func statusOf(o client.Object) (reflect.Value, bool) {
	status := reflect.ValueOf(o).Elem().FieldByName("Status")
	return status, status.IsValid()
}

// specOf is what a generation counts; nil where there is none.
func specOf(o client.Object) any {
	if spec := reflect.ValueOf(o).Elem().FieldByName("Spec"); spec.IsValid() {
		return spec.Interface()
	}
	return nil
}

func keepStatus(live, after client.Object) client.Object {
	if status, ok := statusOf(after); ok {
		before, _ := statusOf(live.DeepCopyObject().(client.Object))
		status.Set(before)
	}
	return after
}

// Status writes the status alone.
func (s *Store) Status() client.SubResourceWriter { return statusWriter{store: s} }

type statusWriter struct {
	client.SubResourceWriter // nil: what is not implemented here panics
	store                    *Store
}

// Update replaces the status.
func (w statusWriter) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return w.store.change("update status", o, func(live client.Object) (client.Object, error) { return onlyStatus(live, o), nil })
}

// Patch changes the status by a JSON merge patch.
func (w statusWriter) Patch(_ context.Context, o client.Object, p client.Patch, _ ...client.SubResourcePatchOption) error {
	return w.store.change("patch status", o, func(live client.Object) (client.Object, error) {
		after, err := merged(live, o, p)
		if err != nil {
			return nil, err
		}
		return onlyStatus(live, after), nil
	})
}

func onlyStatus(live, after client.Object) client.Object {
	with := live.DeepCopyObject().(client.Object)
	with.SetResourceVersion(after.GetResourceVersion())
	status, _ := statusOf(with)
	written, _ := statusOf(after.DeepCopyObject().(client.Object))
	status.Set(written)
	return with
}

func labelsOf(o client.Object) labels.Set { return o.GetLabels() }
