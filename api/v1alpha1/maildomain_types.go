// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailDomainSpec is what a person wants of a mail domain.
//
// +kubebuilder:validation:XValidation:rule="self.domain == oldSelf.domain",message="domain cannot be changed: delete this MailDomain and write a new one for the other domain"
// +kubebuilder:validation:XValidation:rule="!has(self.parked) || !(has(self.dkim) || has(self.spf) || has(self.dmarc))",message="parked means that the domain sends no mail: remove dkim, spf and dmarc, or remove parked"
// +kubebuilder:validation:XValidation:rule="!(has(self.dkim) && has(self.dkim.signSubdomains) && self.dkim.signSubdomains && has(self.dmarc) && has(self.dmarc.dkimAlignment) && self.dmarc.dkimAlignment == 'Strict')",message="with Strict alignment a signature of this domain proves nothing for its sub-domains: remove dkim.signSubdomains and write a MailDomain for each sub-domain that sends, or set dmarc.dkimAlignment to Relaxed"
type MailDomainSpec struct {
	// The mail domain: what stands after the @ in the addresses. Umlauts and other scripts are accepted and published
	// as A-labels (xn--). Cannot be changed.
	//
	// +required
	Domain DomainName `json:"domain"`

	// The DNS provider that publishes the records.
	//
	// +required
	ProviderRef ProviderRef `json:"providerRef"`

	// DKIM: keys are made, published, handed to the signers and rotated. Absent: no key is made and no selector is
	// touched. {} means one RSA key of 2048 bits.
	//
	// +optional
	DKIM *DKIM `json:"dkim,omitempty"`

	// SPF: the one v=spf1 record of the domain. Absent: SPF is not touched.
	//
	// +optional
	SPF *SPF `json:"spf,omitempty"`

	// DMARC: the record at _dmarc. Absent: _dmarc is not touched.
	//
	// +optional
	DMARC *DMARC `json:"dmarc,omitempty"`

	// This domain sends no mail: SPF, DMARC and a wildcard DKIM record say so. Excludes dkim, spf and dmarc.
	//
	// +optional
	Parked *Parked `json:"parked,omitempty"`

	// What to do about a record of someone else that stands where ours belongs: Never (report a conflict), Identical
	// (take it over if it says the same) or Always (replace it; the old text is kept in status). Judged once for each
	// record. Selectors are never overwritten.
	//
	// +optional
	// +kubebuilder:default=Never
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`

	// What happens to records and Secrets when this object is deleted: Retain (they stay, and are taken up again by a
	// MailDomain of the same domain) or Delete (exactly ours go, at once).
	//
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Observe and report, but write nothing.
	//
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// AdoptionPolicy says what may happen to records of someone else.
//
// +kubebuilder:validation:Enum=Never;Identical;Always
type AdoptionPolicy string

// The adoption policies.
const (
	AdoptNever     AdoptionPolicy = "Never"
	AdoptIdentical AdoptionPolicy = "Identical"
	AdoptAlways    AdoptionPolicy = "Always"
)

// DeletionPolicy says what happens to records and Secrets at deletion.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// Parked describes a domain that sends no mail.
type Parked struct {
	// Also publish a null MX (RFC 7505): the domain receives no mail either. Only where no MX stands.
	//
	// +optional
	NullMX bool `json:"nullMX,omitempty"`

	// Where aggregate reports about forged mail go (rua): mailto: or https: URIs.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	AggregateReportsTo []ReportAddress `json:"aggregateReportsTo,omitempty"`
}

// SPF describes the SPF record of the domain (RFC 7208).
type SPF struct {
	// Who sends mail for this domain, in the order of the record: mx, a, ip4:, ip6:, include:, exists:. One mechanism in
	// each item. ptr is refused, and so is all: see the field all.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Mechanisms []Mechanism `json:"mechanisms,omitempty"`

	// What receivers shall think of mail from anywhere else: Fail (-all), SoftFail (~all, when absent) or Neutral (?all).
	//
	// +optional
	// +kubebuilder:default=SoftFail
	All SPFAll `json:"all,omitempty"`

	// Names that the mail servers say in HELO. Each gets the record "v=spf1 a -all", for bounces are judged by the HELO
	// name (RFC 7208 section 2.3).
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	HeloNames []DomainName `json:"heloNames,omitempty"`
}

// SPFAll is the result for senders that no mechanism names.
//
// +kubebuilder:validation:Enum=Fail;SoftFail;Neutral
type SPFAll string

// The results of all.
const (
	SPFAllFail     SPFAll = "Fail"     // -all
	SPFAllSoftFail SPFAll = "SoftFail" // ~all
	SPFAllNeutral  SPFAll = "Neutral"  // ?all
)

// MailDomain makes a mail domain trustworthy and keeps it so: DKIM keys, SPF and DMARC, published and proven.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=maildomains,singular=maildomain,shortName=md,categories=mail
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domain`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Signing",type=string,JSONPath=`.status.keys[?(@.phase=="Signing")].selector`
// +kubebuilder:printcolumn:name="DMARC",type=string,JSONPath=`.status.dmarc.published`
// +kubebuilder:printcolumn:name="Next rotation",type=string,JSONPath=`.status.rotation.nextTime`
// +kubebuilder:printcolumn:name="Waiting for",type=string,priority=1,JSONPath=`.status.rotation.waitingFor`
// +kubebuilder:printcolumn:name="Zone",type=string,priority=1,JSONPath=`.status.zone`
// +kubebuilder:printcolumn:name="Provider",type=string,priority=1,JSONPath=`.spec.providerRef.name`
// +kubebuilder:printcolumn:name="Also kept at",type=string,priority=1,JSONPath=`.status.places[?(@.state=="Kept")].providerRef.name`
// +kubebuilder:printcolumn:name="Until",type=string,priority=1,JSONPath=`.status.places[?(@.state=="Kept")].waitingFor`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.dkim) || !has(oldSelf.spec.dkim) || (has(self.spec.dkim.signingSecretName) == has(oldSelf.spec.dkim.signingSecretName) && (!has(self.spec.dkim.signingSecretName) || self.spec.dkim.signingSecretName == oldSelf.spec.dkim.signingSecretName)) || !has(oldSelf.status) || !has(oldSelf.status.keys) || !oldSelf.status.keys.exists(k, has(k.phase) && k.phase == 'Signing')",message="spec.dkim.signingSecretName cannot be changed, set later or removed while a key signs: signers mount the Secret of the old name and would miss a revocation; remove dkim first, then write it with the new name"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 200",message="write a metadata.name of 200 characters or less: the names of keys and Secrets are made from it"
type MailDomain struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted of this mail domain.
	//
	// +required
	Spec MailDomainSpec `json:"spec"`

	// What has become of it, written by the operator.
	//
	// +optional
	Status MailDomainStatus `json:"status,omitzero"`
}

// MailDomainList is a list of MailDomains.
//
// +kubebuilder:object:root=true
type MailDomainList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MailDomain `json:"items"`
}
