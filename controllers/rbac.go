// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

// What the operator may do, for all controllers together: whoever installs it reads one list. `make generate` writes
// config/rbac/role.yaml and the chart's copy from it. namespace=system stands for the operator's own namespace.
//
// Status and finalizers are written with patches; Secrets are written with server-side apply, which is a patch that may
// also create. No update verb on Secrets: nothing of ours replaces a whole Secret. In the operator's own namespace lie the
// credentials of ClusterDNSProviders, which are read live, also when other namespaces are watched.

// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains;dnsproviders;clusterdnsproviders,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=maildomain.dev,resources=dkimkeys,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains/status;dkimkeys/status;dnsproviders/status;clusterdnsproviders/status,verbs=get;patch;update
// +kubebuilder:rbac:groups=maildomain.dev,resources=maildomains/finalizers;dkimkeys/finalizers;dnsproviders/finalizers;clusterdnsproviders/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=system,resources=leases,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=get
// +kubebuilder:rbac:groups="";events.k8s.io,namespace=system,resources=events,verbs=create;patch
