// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package grant decides who may publish what through a ClusterDNSProvider.
package grant

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Allows tells whether one of the grants gives a namespace with these labels the name. Absent grants allow nothing,
// and a namespace whose labels are not known has none. The error says which grant cannot be read; it allows nothing.
func Allows(grants []v1alpha1.Grant, namespace labels.Set, name dnsrecord.Name) (bool, error) {
	for i, g := range grants {
		selector, err := metav1.LabelSelectorAsSelector(g.NamespaceSelector.AsMeta())
		if err != nil {
			return false, fmt.Errorf("grants[%d].namespaceSelector: %w", i, err)
		}
		if selector.Matches(namespace) && covers(g.Domains, name) {
			return true, nil
		}
	}
	return false, nil
}

// covers tells whether a pattern stands for the name: example.org for itself, *.example.org for all below it. The
// comparison is by labels: notexample.org is not below example.org.
func covers(patterns []v1alpha1.GrantedDomain, name dnsrecord.Name) bool {
	for _, p := range patterns {
		pattern, err := dnsrecord.ParseName(p)
		if err != nil {
			continue
		}
		if pattern == name {
			return true
		}
		if labels := pattern.Labels(); len(labels) > 1 && labels[0] == "*" {
			if above := pattern.Parent(); name != above && name.In(above) {
				return true
			}
		}
	}
	return false
}
