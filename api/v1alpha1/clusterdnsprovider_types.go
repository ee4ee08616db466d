// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClusterDNSProviderSpec is a DNSProviderSpec that says who may use it.
type ClusterDNSProviderSpec struct {
	DNSProviderSpec `json:",inline"`

	// Which namespaces may use this provider for which domains. Absent: none.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Grants []Grant `json:"grants,omitempty"`
}

// Grant lets namespaces use a provider for domains.
type Grant struct {
	// Labels of the namespaces. {} means all.
	//
	// +required
	NamespaceSelector LabelSelector `json:"namespaceSelector"`

	// Mail domains that they may publish for: example.org stands for itself, *.example.org for all names below it.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Domains []GrantedDomain `json:"domains"`
}

// ClusterDNSProvider is an account at a DNS provider for the namespaces that it is granted to. Its credentials are in a Secret of the operator's namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clusterdnsproviders,singular=clusterdnsprovider,scope=Cluster,shortName=cdnsp,categories=mail
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Zones",type=integer,JSONPath=`.status.zoneCount`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterDNSProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The account that is used, and who may use it.
	//
	// +required
	Spec ClusterDNSProviderSpec `json:"spec"`

	// How the account stands, written by the operator.
	//
	// +optional
	Status DNSProviderStatus `json:"status,omitzero"`
}

// ClusterDNSProviderList is a list of ClusterDNSProviders.
//
// +kubebuilder:object:root=true
type ClusterDNSProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterDNSProvider `json:"items"`
}
