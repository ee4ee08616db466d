// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DKIMKeySpec is one key pair under one selector.
//
// +kubebuilder:validation:XValidation:rule="self.domain == oldSelf.domain",message="domain cannot be changed: a key belongs to one domain for ever; write a new DKIMKey"
// +kubebuilder:validation:XValidation:rule="self.selector == oldSelf.selector",message="selector cannot be changed: a key stays under its selector for ever (RFC 6376 section 3.1); write a new DKIMKey"
// +kubebuilder:validation:XValidation:rule="self.algorithm == oldSelf.algorithm",message="algorithm cannot be changed: write a new DKIMKey with a new selector"
// +kubebuilder:validation:XValidation:rule="has(self.bits) == has(oldSelf.bits) && (!has(self.bits) || self.bits == oldSelf.bits)",message="bits cannot be changed, set later or removed: write a new DKIMKey with a new selector"
// +kubebuilder:validation:XValidation:rule="self.algorithm == 'RSA' || !has(self.bits)",message="Ed25519 keys have one size: leave bits out"
// +kubebuilder:validation:XValidation:rule="!has(self.bits) || self.bits in [2048, 3072, 4096] || (self.bits == 1024 && has(self.privateKeySecretName))",message="write bits: 2048, 3072 or 4096; 1024 only together with privateKeySecretName, to bring in a key that signs already"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.revoked) && oldSelf.revoked) || (has(self.revoked) && self.revoked)",message="a revoked key stays revoked, for receivers may remember it: leave revoked: true and write a new DKIMKey with a new selector"
type DKIMKeySpec struct {
	// The mail domain that the key signs for (d= in signatures). Cannot be changed.
	//
	// +required
	Domain DomainName `json:"domain"`

	// The selector under which the public key is published (s= in signatures). Cannot be changed.
	//
	// +required
	Selector SelectorName `json:"selector"`

	// RSA or Ed25519. Cannot be changed.
	//
	// +required
	Algorithm Algorithm `json:"algorithm"`

	// Size of an RSA key: 2048, 3072 or 4096; 1024 only together with privateKeySecretName. Absent: 2048 for a key that is
	// made, whatever it has for one that is brought in. Cannot be changed.
	//
	// +optional
	Bits int32 `json:"bits,omitempty"`

	// The DNS provider that publishes the record.
	//
	// +required
	ProviderRef ProviderRef `json:"providerRef"`

	// Secret with the private key (PEM, entry privateKey.pem). Absent: a key is made. A Secret that is there already is
	// adopted only if it has the label maildomain.dev/adopt.
	//
	// +optional
	PrivateKeySecretName ObjectName `json:"privateKeySecretName,omitempty"`

	// What the MailDomain wants of this key: Standby, Signing or Retired. Only goes forward. Written by the MailDomain:
	// leave it out in your own manifests.
	//
	// +optional
	Intent KeyIntent `json:"intent,omitempty"`

	// True takes the key out of use at once and for ever: for a private key that may be known to others.
	//
	// +optional
	Revoked bool `json:"revoked,omitempty"`
}

// KeyIntent is what a MailDomain wants of a key.
//
// +kubebuilder:validation:Enum=Standby;Signing;Retired
type KeyIntent string

// The intents, in the order in which they may follow each other.
const (
	IntentStandby KeyIntent = "Standby"
	IntentSigning KeyIntent = "Signing"
	IntentRetired KeyIntent = "Retired"
)

// KeyPhase is where a key is in its life.
//
// +kubebuilder:validation:Enum=Pending;Publishing;Standby;Signing;Retiring;Revoked
type KeyPhase string

// The phases of a key, in their order.
const (
	// PhasePending: the key pair is missing.
	PhasePending KeyPhase = "Pending"
	// PhasePublishing: the record is written, but not yet seen everywhere.
	PhasePublishing KeyPhase = "Publishing"
	// PhaseStandby: seen on every name server, caches waited out; may sign.
	PhaseStandby KeyPhase = "Standby"
	// PhaseSigning: in the signing Secret.
	PhaseSigning KeyPhase = "Signing"
	// PhaseRetiring: out of the signing Secret, the record still there.
	PhaseRetiring KeyPhase = "Retiring"
	// PhaseRevoked: the record is published with an empty p=.
	PhaseRevoked KeyPhase = "Revoked"
)

// DKIMKeyStatus is what has become of a key.
type DKIMKeyStatus struct {
	// The generation of the spec that this status speaks of.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// How things stand, Ready first.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Where the key is in its life: Pending (no key pair yet), Publishing (not yet seen everywhere), Standby (ready),
	// Signing, Retiring (signs no more, still published) or Revoked (published with an empty p=).
	//
	// +optional
	Phase KeyPhase `json:"phase,omitempty"`

	// What the next phase waits for, and until when.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	WaitingFor string `json:"waitingFor,omitempty"`

	// Secret that holds the private key.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PrivateKeySecretName string `json:"privateKeySecretName,omitempty"`

	// SHA-256 of the public key (of the octets that p= encodes), in hexadecimal.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PublicKeySHA256 string `json:"publicKeySHA256,omitempty"`

	// Size of an RSA key in bits, as it really is.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bits int32 `json:"bits,omitempty"`

	// The DNS zone that holds the record.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Zone string `json:"zone,omitempty"`

	// Full name of the record, without the final dot.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	RecordName string `json:"recordName,omitempty"`

	// Where the record itself stands, if a CNAME or DNAME leads there from recordName.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	TargetName string `json:"targetName,omitempty"`

	// The text that shall stand there. With a manual provider this is what to paste.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	RecordValue string `json:"recordValue,omitempty"`

	// What the provider last had from us, where it is not what shall stand there now.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PublishedValue string `json:"publishedValue,omitempty"`

	// Every place that has to hold the record, while its MailDomain moves from one provider or zone to another; of a key
	// without a MailDomain the one that its spec names.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Places []KeyPlaceStatus `json:"places,omitempty"`

	// State of the record: Pending, Published, Verified, Conflict or Drifted.
	//
	// +optional
	RecordState RecordState `json:"recordState,omitempty"`

	// When the state of the record last changed.
	//
	// +optional
	RecordStateChangedTime *metav1.Time `json:"recordStateChangedTime,omitempty"`

	// Why the record is not seen, in a word, where more is known than that it is waited for: SplitHorizon, WildcardAnswers.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RecordReason string `json:"recordReason,omitempty"`

	// What is wrong with the record or awaited, and what to do.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	RecordMessage string `json:"recordMessage,omitempty"`

	// Generation of the marker at _maildomain that we last wrote.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MarkerGeneration int64 `json:"markerGeneration,omitempty"`

	// When the provider first had the record.
	//
	// +optional
	PublishedTime *metav1.Time `json:"publishedTime,omitempty"`

	// When all authoritative servers answered the record.
	//
	// +optional
	VerifiedTime *metav1.Time `json:"verifiedTime,omitempty"`

	// How long a cache may deny the record, in seconds: the highest that was seen since the key pair was made (SOA minimum,
	// what stood at the name before, and so on).
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	WaitSeconds int32 `json:"waitSeconds,omitempty"`

	// Since when the key may sign: caches that could deny its record have run out.
	//
	// +optional
	UsableTime *metav1.Time `json:"usableTime,omitempty"`

	// Since when the key signs.
	//
	// +optional
	SigningSinceTime *metav1.Time `json:"signingSinceTime,omitempty"`

	// When the signing Secret stopped to hold the key.
	//
	// +optional
	RetiredTime *metav1.Time `json:"retiredTime,omitempty"`

	// When the record was emptied.
	//
	// +optional
	RevokedTime *metav1.Time `json:"revokedTime,omitempty"`

	// When the record was removed. The key itself is deleted once no cache can know its record any more.
	//
	// +optional
	RemovedTime *metav1.Time `json:"removedTime,omitempty"`
}

// DKIMKey is one DKIM key pair under one selector. MailDomains make them; a person may write one alone, for example to bring in a key that signs already.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=dkimkeys,singular=dkimkey,shortName=dk,categories=mail
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domain`
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=`.spec.selector`
// +kubebuilder:printcolumn:name="Algorithm",type=string,JSONPath=`.spec.algorithm`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Usable",type=date,JSONPath=`.status.usableTime`
// +kubebuilder:printcolumn:name="Record",type=string,priority=1,JSONPath=`.status.recordState`
// +kubebuilder:printcolumn:name="Waiting for",type=string,priority=1,JSONPath=`.status.waitingFor`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.intent) || has(self.spec.intent)",message="spec.intent belongs to the MailDomain and cannot be removed: leave it as it is"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.intent) || !has(self.spec.intent) || self.spec.intent == oldSelf.spec.intent || oldSelf.spec.intent == 'Standby' || (oldSelf.spec.intent == 'Signing' && self.spec.intent == 'Retired') || (oldSelf.spec.intent == 'Retired' && self.spec.intent == 'Signing' && has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Signing', 'Retiring'])",message="spec.intent only goes forward: Standby, Signing, Retired; a rotation is undone by the annotation maildomain.dev/rotate-undo on the MailDomain, as long as this key is Retiring"
type DKIMKey struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The key pair that is wanted.
	//
	// +required
	Spec DKIMKeySpec `json:"spec"`

	// What has become of it, written by the operator.
	//
	// +optional
	Status DKIMKeyStatus `json:"status,omitzero"`
}

// DKIMKeyList is a list of DKIMKeys.
//
// +kubebuilder:object:root=true
type DKIMKeyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []DKIMKey `json:"items"`
}
