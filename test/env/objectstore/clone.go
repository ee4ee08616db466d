// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Clone is a store with the same objects, from which another run goes on. Nobody interferes with it, and nobody hears of it.
func (s *Store) Clone(now func() time.Time) *Store {
	twin := &Store{scheme: s.scheme, now: now, version: s.version, kinds: map[schema.GroupVersionKind]*kind{}}
	for gvk, k := range s.kinds {
		same := *k
		same.indexes, same.objects = maps.Clone(k.indexes), maps.Clone(k.objects)
		for name, h := range k.objects {
			applied := make(map[string]map[string]any, len(h.applied))
			for manager, tree := range h.applied {
				applied[manager] = runtime.DeepCopyJSON(tree)
			}
			same.objects[name] = &history{versions: slices.Clone(h.versions), applied: applied}
		}
		twin.kinds[gvk] = &same
	}
	return twin
}
