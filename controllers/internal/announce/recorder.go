// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"hash/fnv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Recorder tells events with other words apart. client-go takes two events about one object for the same one if their
// reason and action are the same, whatever they say, and drops the second one's words: of three records that drift
// together a person would read of one.
func Recorder(r events.EventRecorder) events.EventRecorder { return recorder{r} }

type recorder struct{ events.EventRecorder }

// Eventf adds a hash of the words to the action, which nobody reads but programs.
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	words := fmt.Sprintf(note, args...)
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(words)) // it never fails
	r.EventRecorder.Eventf(regarding, related, kind, reason, fmt.Sprintf("%s-%08x", action, hash.Sum32()), "%s", readiness.Cut(words, maxNote))
}

// maxNote is what the API server takes; a longer event would not be written at all.
const maxNote = 1024
