// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProviderKind says where a DNS provider is described.
//
// +kubebuilder:validation:Enum=DNSProvider;ClusterDNSProvider
type ProviderKind string

// The kinds that a providerRef may name.
const (
	ProviderKindDNSProvider        ProviderKind = "DNSProvider"
	ProviderKindClusterDNSProvider ProviderKind = "ClusterDNSProvider"
)

// ProviderRef names the DNS provider that publishes the records.
type ProviderRef struct {
	// Kind of the provider: DNSProvider (of this namespace, when absent) or ClusterDNSProvider.
	//
	// +optional
	// +kubebuilder:default=DNSProvider
	Kind ProviderKind `json:"kind,omitempty"`

	// Name of the DNSProvider in this namespace or of the ClusterDNSProvider.
	//
	// +required
	Name ObjectName `json:"name"`
}

// SecretKeyRef names one entry of a Secret.
type SecretKeyRef struct {
	// Name of the Secret: in the namespace of the DNSProvider, or in the operator's own for a ClusterDNSProvider.
	//
	// +required
	Name ObjectName `json:"name"`

	// Entry of the Secret that holds the value, such as token.
	//
	// +required
	Key SecretKeyName `json:"key"`
}

// SecretRef names a whole Secret.
type SecretRef struct {
	// Name of the Secret: in the namespace of the DNSProvider, or in the operator's own for a ClusterDNSProvider.
	//
	// +required
	Name ObjectName `json:"name"`
}

// LabelSelector selects objects by their labels, as metav1.LabelSelector does,
// with the bounds that the API server's cost budget asks for.
type LabelSelector struct {
	// Labels that must all be there with these values. Empty selects everything.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// Further conditions on labels, which must all hold.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelSelectorRequirement is one condition on a label.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="In and NotIn need values; Exists and DoesNotExist take none"
type LabelSelectorRequirement struct {
	// Label that the condition is about.
	//
	// +required
	Key LabelKey `json:"key"`

	// How the label relates to the values: In, NotIn, Exists or DoesNotExist.
	//
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`

	// Values for In and NotIn.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Values []LabelValue `json:"values,omitempty"`
}

// LabelKey is the name of a label.
//
// +kubebuilder:validation:MaxLength=317
// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="not the name of a label: write name or prefix/name, such as app.kubernetes.io/name"
type LabelKey = string

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="not the value of a label: write at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
type LabelValue string

// AsMeta returns the selector in the form that client libraries take: nil for nil.
func (s *LabelSelector) AsMeta() *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	meta := &metav1.LabelSelector{}
	for key, value := range s.MatchLabels {
		metav1.AddLabelToSelector(meta, key, string(value))
	}
	for _, requirement := range s.MatchExpressions {
		values := make([]string, 0, len(requirement.Values))
		for _, value := range requirement.Values {
			values = append(values, string(value))
		}
		meta.MatchExpressions = append(meta.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: requirement.Key, Operator: requirement.Operator, Values: values,
		})
	}
	return meta
}

// Algorithm is the algorithm of a DKIM key pair.
//
// +kubebuilder:validation:Enum=RSA;Ed25519
type Algorithm string

// The algorithms of DKIM key pairs.
const (
	AlgorithmRSA     Algorithm = "RSA"     // rsa-sha256, RFC 6376
	AlgorithmEd25519 Algorithm = "Ed25519" // ed25519-sha256, RFC 8463
)

// RecordState is what became of one DNS record.
//
// +kubebuilder:validation:Enum=Pending;Published;Verified;Conflict;Drifted;AwaitingSigning
type RecordState string

// The states of a DNS record.
const (
	// RecordPending: not written yet.
	RecordPending RecordState = "Pending"
	// RecordPublished: the provider has it.
	RecordPublished RecordState = "Published"
	// RecordVerified: the authoritative servers answer it.
	RecordVerified RecordState = "Verified"
	// RecordConflict: someone else's record stands there; the message says how to adopt it.
	RecordConflict RecordState = "Conflict"
	// RecordDrifted: it was ours and was changed outside.
	RecordDrifted RecordState = "Drifted"
	// RecordAwaitingSigning: held on purpose until mail is signed and SPF is seen.
	RecordAwaitingSigning RecordState = "AwaitingSigning"
)

// RecordPurpose says what a DNS record is for.
//
// +kubebuilder:validation:Enum=DKIM;WildcardDKIM;SPF;HeloSPF;DMARC;Report;NullMX;Marker
type RecordPurpose string

// The purposes of the records that a MailDomain wants.
const (
	PurposeDKIM         RecordPurpose = "DKIM"         // <selector>._domainkey
	PurposeWildcardDKIM RecordPurpose = "WildcardDKIM" // *._domainkey of a parked domain, empty p=
	PurposeSPF          RecordPurpose = "SPF"          // v=spf1 at the domain
	PurposeHeloSPF      RecordPurpose = "HeloSPF"      // v=spf1 at a HELO name
	PurposeDMARC        RecordPurpose = "DMARC"        // _dmarc
	PurposeReport       RecordPurpose = "Report"       // <domain>._report._dmarc.<destination>
	PurposeNullMX       RecordPurpose = "NullMX"       // MX 0 . of a parked domain
	PurposeMarker       RecordPurpose = "Marker"       // _maildomain
)

// The longest texts that a status holds. Longer ones are cut by who writes them.
const (
	MaxRecordValueLength = 4096
	MaxMessageLength     = 1024
	MaxAdviceLength      = 2048
)

// RecordStatus is what became of one DNS record.
type RecordStatus struct {
	// Full name of the record, without the final dot.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name"`

	// What the record is for: DKIM, SPF, DMARC, a HELO name's SPF, a report address's permission, the operator's marker and so on.
	//
	// +required
	Purpose RecordPurpose `json:"purpose"`

	// Type of the record: TXT when absent.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=10
	Type string `json:"type,omitempty"`

	// The text that shall stand there, as one string. With a manual provider this is what to paste.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`

	// What the provider last had from us, where it is not what shall stand there now.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PublishedValue string `json:"publishedValue,omitempty"`

	// The text of someone else that stood there before the record was adopted.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	ReplacedValue string `json:"replacedValue,omitempty"`

	// Pending, Published (the provider has it), Verified (the authoritative servers answer it), Conflict (someone
	// else's record stands there), Drifted (changed outside) or AwaitingSigning (held on purpose until mail is signed).
	//
	// +required
	State RecordState `json:"state"`

	// When the state last changed.
	//
	// +optional
	StateChangedTime *metav1.Time `json:"stateChangedTime,omitempty"`

	// Why it is not seen, in a word, where more is known than that it is waited for: SplitHorizon, WildcardAnswers.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// What is wrong or awaited, and what to do.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
