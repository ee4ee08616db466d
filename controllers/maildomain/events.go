// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/evidence"
	"github.com/maildomain-operator/maildomain-operator/internal/desired"
)

// event is one entry of the catalogue: what a person reads in kubectl describe.
type event struct{ kind, reason, action string }

// The catalogue of a MailDomain's events, beside those of its conditions.
var (
	keyCreated      = event{corev1.EventTypeNormal, "KeyCreated", "CreateKey"}
	keyDeleted      = event{corev1.EventTypeNormal, "KeyDeleted", "DeleteKey"}
	rotationStays   = event{corev1.EventTypeWarning, "RotationStays", "Undo"}
	signingChanged  = event{corev1.EventTypeNormal, "SigningChanged", "Sign"}
	recordHeld      = event{corev1.EventTypeNormal, "RecordHeld", "Publish"}
	recordPublished = event{corev1.EventTypeNormal, "RecordPublished", "Publish"}
	recordVerified  = event{corev1.EventTypeNormal, "RecordVerified", "Verify"}
	recordAdopted   = event{corev1.EventTypeWarning, "RecordAdopted", "Publish"}
	recordDrifted   = event{corev1.EventTypeWarning, "RecordDrifted", "Verify"}
	recordConflict  = event{corev1.EventTypeWarning, "RecordConflict", "Publish"}
	recordLeft      = event{corev1.EventTypeNormal, "RecordLeft", "Publish"}
	placeChanged    = event{corev1.EventTypeNormal, "PlaceChanged", "Move"}
	placesEqual     = event{corev1.EventTypeNormal, "PlacesEqual", "Move"}
	placeLeft       = event{corev1.EventTypeNormal, "FormerPlaceLeft", "Move"}
	placeCleaned    = event{corev1.EventTypeNormal, "FormerPlaceCleaned", "Move"}
	placeTrouble    = event{corev1.EventTypeWarning, "FormerPlaceUnusable", "Move"}
	includeChanged  = event{corev1.EventTypeWarning, "IncludeChanged", "Verify"}
	retained        = event{corev1.EventTypeNormal, "RecordsRetained", "Delete"}
	removed         = event{corev1.EventTypeNormal, "RecordsRemoved", "Delete"}
	providerGone    = event{corev1.EventTypeWarning, "ProviderGone", "Delete"}
)

func (r *Reconciler) say(domain *v1alpha1.MailDomain, e event, note string, args ...any) {
	r.Events.Eventf(domain, nil, e.kind, e.reason, e.action, note, args...)
}

// sayOfKey relates the event to a key: the API server takes events that differ in their note alone for one.
func (r *Reconciler) sayOfKey(domain *v1alpha1.MailDomain, e event, key, note string, args ...any) {
	related := &v1alpha1.DKIMKey{ObjectMeta: metav1.ObjectMeta{Name: key, Namespace: domain.Namespace}}
	r.Events.Eventf(domain, related, e.kind, e.reason, e.action, note, args...)
}

// sayOfRecord names the record's purpose in the action, for the same reason: PublishSPF, VerifyDMARC.
func (r *Reconciler) sayOfRecord(domain *v1alpha1.MailDomain, e event, record v1alpha1.RecordStatus, note string, args ...any) {
	r.Events.Eventf(domain, nil, e.kind, e.reason, e.action+string(record.Purpose), note, args...)
}

// sayTransitions tells of every change that the domain's own records make; those of its keys are told there.
func (r *Reconciler) sayTransitions(seen observation, after v1alpha1.MailDomainStatus) {
	domain, was := seen.domain, map[string]v1alpha1.RecordStatus{}
	for _, record := range domain.Status.Records {
		was[record.Name+"/"+string(record.Purpose)] = record
	}
	for _, record := range after.Records {
		last := was[record.Name+"/"+string(record.Purpose)]
		delete(was, record.Name+"/"+string(record.Purpose))
		if record.Purpose == v1alpha1.PurposeDKIM {
			continue
		}
		if record.ReplacedValue != "" && last.ReplacedValue != record.ReplacedValue {
			r.sayOfRecord(domain, recordAdopted, record, "%s replaced what stood there: %s", record.Name, record.ReplacedValue)
		}
		if isNews(last, record) {
			r.sayState(seen, record)
		}
	}
	for _, record := range was {
		if record.Purpose != v1alpha1.PurposeDKIM && domain.DeletionTimestamp.IsZero() {
			r.sayOfRecord(domain, recordLeft, record, "%s (%s) is not in the spec any more; it stays as it is", record.Name, record.Purpose)
		}
	}
}

// isNews: why a record is held changes while it is held; that nobody has looked yet is no news.
func isNews(last, record v1alpha1.RecordStatus) bool {
	if record.State == v1alpha1.RecordAwaitingSigning {
		return record.Message != last.Message && record.Message != desired.NobodyLooked
	}
	return record.State != last.State
}

func (r *Reconciler) sayState(seen observation, record v1alpha1.RecordStatus) {
	domain := seen.domain
	switch record.State {
	case v1alpha1.RecordPublished:
		r.sayOfRecord(domain, recordPublished, record, "%s (%s) is at the provider", record.Name, record.Purpose)
	case v1alpha1.RecordVerified:
		r.sayOfRecord(domain, recordVerified, record, "%s (%s)", evidence.Answered(seen.place, record.Name), record.Purpose)
	case v1alpha1.RecordDrifted:
		r.sayOfRecord(domain, recordDrifted, record, "%s (%s): %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordConflict:
		r.sayOfRecord(domain, recordConflict, record, "%s (%s): %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordAwaitingSigning:
		r.sayOfRecord(domain, recordHeld, record, "%s (%s) %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordPending:
	}
}

func list(selectors []string) string {
	if len(selectors) == 0 {
		return "no key"
	}
	return strings.Join(selectors, " and ")
}
