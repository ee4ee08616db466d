// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MailDomainStatus is what has become of a mail domain.
type MailDomainStatus struct {
	// The generation of the spec that this status speaks of.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// How things stand. Ready: everything that is wanted is in place and seen in public DNS. Reconciling and Stalled exist
	// only while they are true.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// The DNS zone that holds the records.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Zone string `json:"zone,omitempty"`

	// Where the records of this domain are: first the provider and zone that spec.providerRef names, then former ones.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Places []PlaceStatus `json:"places,omitempty"`

	// The keys of this domain, newest first.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Keys []KeyStatus `json:"keys,omitempty"`

	// How key rotation stands.
	//
	// +optional
	Rotation *RotationStatus `json:"rotation,omitempty"`

	// How close the SPF record is to its limits.
	//
	// +optional
	SPF *SPFStatus `json:"spf,omitempty"`

	// How far the DMARC policy has come.
	//
	// +optional
	DMARC *DMARCStatus `json:"dmarc,omitempty"`

	// Every DNS record that this object wants, and its state.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +listMapKey=purpose
	// +kubebuilder:validation:MaxItems=128
	Records []RecordStatus `json:"records,omitempty"`

	// Generation of the marker at _maildomain that we last wrote. A higher one in the DNS means that someone else writes
	// in our name.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MarkerGeneration int64 `json:"markerGeneration,omitempty"`

	// Value of the annotation maildomain.dev/take-over that was last acted upon.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledTakeOver string `json:"lastHandledTakeOver,omitempty"`

	// Value of the annotation maildomain.dev/allow-removal that was last acted upon.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledAllowRemoval string `json:"lastHandledAllowRemoval,omitempty"`
}

// KeyStatus is one key of the domain.
type KeyStatus struct {
	// Name of the DKIMKey.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// The selector, as it stands in signatures (s=).
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Selector string `json:"selector"`

	// RSA or Ed25519.
	//
	// +required
	Algorithm Algorithm `json:"algorithm"`

	// Size of an RSA key in bits.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bits int32 `json:"bits,omitempty"`

	// Where the key is in its life: Pending, Publishing, Standby (ready), Signing, Retiring (signs no more, still published)
	// or Revoked (published with an empty p=).
	//
	// +optional
	Phase KeyPhase `json:"phase,omitempty"`

	// Since when this key may sign: caches that could deny its record have run out.
	//
	// +optional
	UsableTime *metav1.Time `json:"usableTime,omitempty"`

	// Since when this key signs.
	//
	// +optional
	SigningSinceTime *metav1.Time `json:"signingSinceTime,omitempty"`

	// When this key stopped to sign.
	//
	// +optional
	RetiredTime *metav1.Time `json:"retiredTime,omitempty"`
}

// RotationStatus is how key rotation stands.
type RotationStatus struct {
	// When the next rotation begins.
	//
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`

	// When the last rotation took place: the new key began to sign.
	//
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`

	// Value of the annotation maildomain.dev/rotate that was last acted upon.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledRotateTime string `json:"lastHandledRotateTime,omitempty"`

	// Value of the annotation maildomain.dev/rotate-undo that was last acted upon.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledRotateUndoTime string `json:"lastHandledRotateUndoTime,omitempty"`

	// What a rotation under way waits for, and until when.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	WaitingFor string `json:"waitingFor,omitempty"`
}

// SPFStatus is how close the SPF record is to the limits of RFC 7208 section 4.6.4, with all that it includes.
type SPFStatus struct {
	// Terms that make receivers ask the DNS, in the record and in all that it includes. More than 10 are an error.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Lookups int32 `json:"lookups,omitempty"`

	// Head-room: lookups that are left of 10. Below 0 receivers answer permerror. Absent before the first look.
	//
	// +optional
	LookupsLeft *int32 `json:"lookupsLeft,omitempty"`

	// Questions among them that have no answer, for senders of the address family that meets more of them. Of 2 allowed.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	VoidLookups int32 `json:"voidLookups,omitempty"`

	// The terms of the record that cost lookups, each with all that it leads to.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Terms []SPFTermStatus `json:"terms,omitempty"`

	// Why receivers give the record up whatever it costs, such as an include of a domain that has no SPF record.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	PermError string `json:"permError,omitempty"`

	// What could not be looked up for an hour. The rest is what was seen before.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Unread string `json:"unread,omitempty"`

	// Octets of the answer that holds the record, the TXT records of others at the name too, to somebody who asks without
	// EDNS. More than 512 do not fit into one packet then.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	AnswerOctets int32 `json:"answerOctets,omitempty"`
}

// SPFTermStatus is what one term of the SPF record costs receivers.
type SPFTermStatus struct {
	// The term as it stands in the record, such as include:_spf.example.net.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Term string `json:"term"`

	// Its lookups, with those of everything that it includes.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Lookups int32 `json:"lookups"`

	// Questions among them that have no answer.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	VoidLookups int32 `json:"voidLookups,omitempty"`
}
