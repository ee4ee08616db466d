// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/brake"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// HeldLook is how soon it is asked again whether records may go; a person's word wakes at once.
const HeldLook = 5 * time.Minute

// RemovalHeld asks the queue whether all these records may go now, each of which somebody may miss. The finding says why
// not; annotations are those in which a person may have agreed.
func RemovalHeld(ctx context.Context, q Queue, records []v1alpha1.RecordStatus, now time.Time, annotations ...map[string]string) (*readiness.Finding, error) {
	agreed, unreadable := brake.Agreed(now, annotations...)
	var keys []dnsplan.Key
	for _, r := range records {
		if key, ok := brake.Stands(r); ok {
			keys = append(keys, key)
		}
	}
	why, err := q.RemovalHeld(ctx, keys, agreed)
	if err != nil || why == "" {
		return nil, err
	}
	if unreadable != nil {
		why = unreadable.Error() + "; " + why
	}
	return Held(why), nil
}

// CannotRemove says why records have to stay, and how a person lets their object go all the same: a finalizer can always be
// satisfied.
func CannotRemove(why string) string {
	return "records cannot be removed: " + why + "; if that stays so, the annotation " + v1alpha1.AnnotationAbandonRecords +
		"=true lets the object go and leaves its records"
}

// Held is the finding of a removal that waits for a person.
func Held(why string) *readiness.Finding {
	return &readiness.Finding{Condition: v1alpha1.ConditionRecordsPublished, Reason: v1alpha1.ReasonRemovalHeld, Message: why, Person: true}
}
