// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package maildomain

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// event is one entry of the catalogue: what a person reads in kubectl describe.
type event struct{ kind, reason, action string }

// The catalogue of a MailDomain's events, beside those of its conditions.
var (
	keyCreated      = event{corev1.EventTypeNormal, "KeyCreated", "CreateKey"}
	signingChanged  = event{corev1.EventTypeNormal, "SigningChanged", "Sign"}
	recordHeld      = event{corev1.EventTypeNormal, "RecordHeld", "PublishRecord"}
	recordPublished = event{corev1.EventTypeNormal, "RecordPublished", "PublishRecord"}
	recordVerified  = event{corev1.EventTypeNormal, "RecordVerified", "VerifyRecord"}
	recordAdopted   = event{corev1.EventTypeWarning, "RecordAdopted", "PublishRecord"}
	recordDrifted   = event{corev1.EventTypeWarning, "RecordDrifted", "VerifyRecord"}
	recordConflict  = event{corev1.EventTypeWarning, "RecordConflict", "PublishRecord"}
	recordLeft      = event{corev1.EventTypeNormal, "RecordLeft", "PublishRecord"}
	retained        = event{corev1.EventTypeNormal, "RecordsRetained", "Delete"}
	removed         = event{corev1.EventTypeNormal, "RecordsRemoved", "Delete"}
	providerGone    = event{corev1.EventTypeWarning, "ProviderGone", "Delete"}
)

func (r *Reconciler) say(domain *v1alpha1.MailDomain, e event, note string, args ...any) {
	r.Events.Eventf(domain, nil, e.kind, e.reason, e.action, note, args...)
}

// sayTransitions tells of every change that the domain's own records make; those of its keys are told there.
func (r *Reconciler) sayTransitions(domain *v1alpha1.MailDomain, before, after v1alpha1.MailDomainStatus) {
	was := map[string]v1alpha1.RecordStatus{}
	for _, record := range before.Records {
		was[record.Name+"/"+string(record.Purpose)] = record
	}
	for _, record := range after.Records {
		last := was[record.Name+"/"+string(record.Purpose)]
		delete(was, record.Name+"/"+string(record.Purpose))
		if record.Purpose == v1alpha1.PurposeDKIM {
			continue
		}
		if record.ReplacedValue != "" && last.ReplacedValue != record.ReplacedValue {
			r.say(domain, recordAdopted, "%s replaced what stood there: %s", record.Name, record.ReplacedValue)
		}
		if last.State != record.State {
			r.sayState(domain, record)
		}
	}
	for _, record := range was {
		if record.Purpose != v1alpha1.PurposeDKIM && domain.DeletionTimestamp.IsZero() {
			r.say(domain, recordLeft, "%s (%s) is not in the spec any more; it stays as it is", record.Name, record.Purpose)
		}
	}
}

func (r *Reconciler) sayState(domain *v1alpha1.MailDomain, record v1alpha1.RecordStatus) {
	switch record.State {
	case v1alpha1.RecordPublished:
		r.say(domain, recordPublished, "%s (%s) is at the provider", record.Name, record.Purpose)
	case v1alpha1.RecordVerified:
		r.say(domain, recordVerified, "every authoritative server answers %s (%s)", record.Name, record.Purpose)
	case v1alpha1.RecordDrifted:
		r.say(domain, recordDrifted, "%s (%s): %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordConflict:
		r.say(domain, recordConflict, "%s (%s): %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordAwaitingSigning:
		r.say(domain, recordHeld, "%s (%s) %s", record.Name, record.Purpose, record.Message)
	case v1alpha1.RecordPending:
	}
}

func list(selectors []string) string {
	if len(selectors) == 0 {
		return "no key"
	}
	return strings.Join(selectors, " and ")
}
