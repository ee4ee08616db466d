// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion names this API: maildomain.dev/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "maildomain.dev", Version: "v1alpha1"}

	// SchemeBuilder collects the kinds of this version.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme makes the kinds of this version known to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&MailDomain{}, &MailDomainList{},
		&DKIMKey{}, &DKIMKeyList{},
		&DNSProvider{}, &DNSProviderList{},
		&ClusterDNSProvider{}, &ClusterDNSProviderList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
