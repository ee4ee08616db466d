// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PlaceState is what becomes of the records at a place.
//
// +kubebuilder:validation:Enum=InUse;Kept;Left
type PlaceState string

// The states of a place, in their order.
const (
	// PlaceInUse: the spec names it.
	PlaceInUse PlaceState = "InUse"
	// PlaceKept: the spec names another one by now; resolvers may still ask here, so both are kept equal.
	PlaceKept PlaceState = "Kept"
	// PlaceLeft: nobody asks here any more; its records stay as they are until a person has them removed.
	PlaceLeft PlaceState = "Left"
)

// PlaceStatus is a DNS provider and a zone there.
type PlaceStatus struct {
	// The provider.
	//
	// +required
	ProviderRef ProviderRef `json:"providerRef"`

	// The zone.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Zone string `json:"zone"`

	// InUse (named by the spec), Kept (as equal as that one, for resolvers may still ask here) or Left (nobody asks here any
	// more; its records stay until the annotation maildomain.dev/clean-former-places has them removed).
	//
	// +required
	State PlaceState `json:"state"`

	// Since when the spec names another place.
	//
	// +optional
	FormerSinceTime *metav1.Time `json:"formerSinceTime,omitempty"`

	// The name servers of the domain while this was its place, as the parent zone and the zone itself named them.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	NameServers []string `json:"nameServers,omitempty"`

	// How long caches may know these name servers, in seconds: the highest TTL of their NS records, at the parent and in
	// the zone itself.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	NameServerTTLSeconds int32 `json:"nameServerTTLSeconds,omitempty"`

	// When neither the parent nor the zone itself named them any more.
	//
	// +optional
	DroppedTime *metav1.Time `json:"droppedTime,omitempty"`

	// What is awaited before this place is left, and until when; or what to do about it then.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	WaitingFor string `json:"waitingFor,omitempty"`
}

// KeyPlaceStatus is a place that has to hold the record of a key.
type KeyPlaceStatus struct {
	// The provider.
	//
	// +required
	ProviderRef ProviderRef `json:"providerRef"`

	// The zone.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Zone string `json:"zone"`

	// Published once it holds what shall stand there; else Pending or Conflict.
	//
	// +required
	RecordState RecordState `json:"recordState"`

	// What is wrong or awaited there, and what to do.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
