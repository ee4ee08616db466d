// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of maildomain-operator: MailDomain, DKIMKey,
// DNSProvider and ClusterDNSProvider, with their conditions, reasons,
// annotations and defaults.
//
// The comments on the fields are what `kubectl explain` prints: they are
// written for postmasters.
//
// +kubebuilder:object:generate=true
// +groupName=maildomain.dev
package v1alpha1
