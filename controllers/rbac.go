// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

// The rights of each controller stand beside its Reconcile, as markers that `make generate` turns into
// config/rbac/role.yaml and the chart's copy. Here is what belongs to none of them: the leader tells of itself in the
// operator's own namespace ("system"), also where it watches others.

// +kubebuilder:rbac:groups="";events.k8s.io,namespace=system,resources=events,verbs=create;patch
