// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// end is everything that a run leads to, line by line: the API server's objects and the zone. What differs from run to run
// is left out or named: times, versions, UIDs, and keys, which are called after the Secret that holds them.
func (w *world) end() string {
	w.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	keys := w.keyNames()

	var domains v1alpha1.MailDomainList
	w.list(&domains)
	for _, d := range domains.Items {
		add("MailDomain %s deleting=%t %v zone=%s", d.Name, d.DeletionTimestamp != nil, d.Finalizers, d.Status.Zone)
		for _, c := range conditions(d.Status.Conditions) {
			add("  %s", c)
		}
		for _, p := range d.Status.Places {
			add("  %s/%s %s dropped=%t by %v waiting=%q", p.ProviderRef.Name, p.Zone, p.State, p.DroppedTime != nil, p.NameServers, untimed(p.WaitingFor))
		}
		for _, r := range d.Status.Records {
			add("  record %s %s %s %s", r.Name, r.Purpose, r.State, keys.in(r.Value))
		}
		for _, k := range slices.SortedFunc(slices.Values(d.Status.Keys), func(a, b v1alpha1.KeyStatus) int { return cmp.Compare(a.Name, b.Name) }) {
			add("  key %s %s %s %s", k.Selector, k.Algorithm, k.Phase, k.Name)
		}
		if r := d.Status.Rotation; r != nil {
			add("  rotation last=%t next=%t rotate=%t undo=%t waiting=%q", r.LastTime != nil, r.NextTime != nil,
				r.LastHandledRotateTime != "", r.LastHandledRotateUndoTime != "", untimed(r.WaitingFor))
		}
	}
	var all v1alpha1.DKIMKeyList
	w.list(&all)
	for _, k := range all.Items {
		s := k.Status
		add("DKIMKey %s %s %s intent=%s revoked=%t deleting=%t %v", k.Name, k.Spec.Selector, k.Spec.Algorithm, k.Spec.Intent, k.Spec.Revoked, k.DeletionTimestamp != nil, k.Finalizers)
		add("  %s %s %s waiting=%q", s.Phase, s.RecordState, keys.in(s.RecordValue), untimed(s.WaitingFor))
		add("  published=%t verified=%t usable=%t signing=%t retired=%t revoked=%t removed=%t", s.PublishedTime != nil, s.VerifiedTime != nil,
			s.UsableTime != nil, s.SigningSinceTime != nil, s.RetiredTime != nil, s.RevokedTime != nil, s.RemovedTime != nil)
		add("  at %s/%s", k.Spec.ProviderRef.Name, s.Zone)
		for _, p := range s.Places {
			add("  at %s/%s it is %s: %s", p.ProviderRef.Name, p.Zone, p.RecordState, p.Message)
		}
		for _, c := range conditions(s.Conditions) {
			add("  %s", c)
		}
	}
	var secrets corev1.SecretList
	w.list(&secrets)
	for _, s := range secrets.Items {
		add("Secret %s %s deleting=%t %v %v", s.Name, s.Labels[v1alpha1.LabelSecret], s.DeletionTimestamp != nil, s.Finalizers, slices.Sorted(maps.Keys(s.Data)))
		if domain, err := keydir.Decode(s.Data, zoneName); err == nil {
			add("  required=%t", domain.Required)
			for _, k := range domain.Keys {
				add("  %s signs with %s", k.Selector, keys.in(k.Pair.Record().String()))
			}
		}
	}
	var leases coordinationv1.LeaseList
	w.list(&leases)
	for _, l := range leases.Items {
		a := l.Annotations
		used := slices.Sorted(strings.SplitSeq(a["maildomain.dev/used-selectors"], ","))
		add("Lease of %s: held by %q, used %q", a["maildomain.dev/claimed-name"], a["maildomain.dev/holder-name"], used)
	}
	return strings.Join(append(lines, w.zoneLines(keys)...), "\n")
}

// zoneLines are the records, and what a marker lists besides or not.
func (w *world) zoneLines(keys keyNames) []string {
	var lines []string
	for at, sets := range w.dns.sites {
		listed, standing := map[string]bool{}, map[string]bool{}
		for key, set := range sets {
			for _, value := range set.Values {
				if marker, err := dnsplan.ParseMarker(value); err == nil {
					for _, d := range marker.Digests {
						listed[d] = true
					}
					continue
				}
				standing[dnsplan.Digest(key.Name, key.Type, value)] = true
				lines = append(lines, fmt.Sprintf("zone %s: %s %s %s", at, key.Name, key.Type, keys.in(value)))
			}
		}
		if !maps.Equal(listed, standing) {
			lines = append(lines, fmt.Sprintf("the marker of %s lists %d records, and %d stand", at, len(listed), len(standing)))
		}
	}
	slices.Sort(lines)
	return lines
}

// keyNames are the Secrets of key pairs by the public key record.
type keyNames map[string]string

func (w *world) keyNames() keyNames {
	w.Helper()
	names := keyNames{}
	var secrets corev1.SecretList
	w.list(&secrets)
	for _, s := range secrets.Items {
		if text := s.Data[v1alpha1.PrivateKeyEntry]; text != nil {
			pair, err := dkim.ParsePEM(text)
			if err != nil {
				w.Fatal(err)
			}
			names[pair.Record().String()] = "<the key of Secret " + s.Name + ">"
		}
	}
	return names
}

func (k keyNames) in(value string) string { return cmp.Or(k[value], value) }

func conditions(all []metav1.Condition) []string {
	var lines []string
	for _, c := range all {
		lines = append(lines, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(lines)
	return lines
}

// untimed cuts the end of a wait off.
func untimed(wait string) string {
	text, _, _ := strings.Cut(wait, ", until ")
	return text
}
