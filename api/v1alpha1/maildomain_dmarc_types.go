// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DMARC describes the record at _dmarc (RFC 9989). Its tags pct, rf and ri are
// no fields: RFC 9989 removed them.
type DMARC struct {
	// What receivers shall do with mail that fails: None, Quarantine or Reject (p). With rollout this is the goal.
	//
	// +required
	Policy DMARCPolicy `json:"policy"`

	// The same for sub-domains that exist (sp). Absent: as policy.
	//
	// +optional
	SubdomainPolicy DMARCPolicy `json:"subdomainPolicy,omitempty"`

	// The same for sub-domains that do not exist (np). Absent: as for those that do.
	//
	// +optional
	NonexistentSubdomainPolicy DMARCPolicy `json:"nonexistentSubdomainPolicy,omitempty"`

	// Ask receivers to apply the next weaker policy and report as if it were this one (t=y).
	//
	// +optional
	Testing bool `json:"testing,omitempty"`

	// How closely the domain that signed must match the author's domain: Relaxed (the same organisation, when absent) or
	// Strict (the very same; adkim).
	//
	// +optional
	// +kubebuilder:default=Relaxed
	DKIMAlignment Alignment `json:"dkimAlignment,omitempty"`

	// How closely the domain of the envelope sender must match the author's domain: Relaxed (when absent) or Strict (aspf).
	//
	// +optional
	// +kubebuilder:default=Relaxed
	SPFAlignment Alignment `json:"spfAlignment,omitempty"`

	// Where daily aggregate reports go (rua): mailto: or https: URIs. An address outside of the domain's organisation
	// needs a record at its destination; status says which.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	AggregateReportsTo []ReportAddress `json:"aggregateReportsTo,omitempty"`

	// Where reports on single failed messages go (ruf). They hold parts of people's mail; few receivers send them.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	FailureReportsTo []ReportAddress `json:"failureReportsTo,omitempty"`

	// What to report single failures for (fo): "0" if everything fails (the rule when absent), "1" if anything fails, "d"
	// if DKIM fails, "s" if SPF fails.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="!(self.exists(o, o == '0') && self.exists(o, o == '1'))",message="0 (if everything fails) and 1 (if anything fails) exclude each other: write one of them"
	FailureOptions []FailureOption `json:"failureOptions,omitempty"`

	// Networks that send for this domain beyond what SPF says, so that reports about them are not taken for forgeries.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	OwnNetworks []Network `json:"ownNetworks,omitempty"`

	// Go to the policy in stages, each only when the reports show that own mail passes. Absent: the policy is published
	// as soon as mail is signed.
	//
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`
}

// DMARCPolicy is what receivers shall do with mail that fails.
//
// +kubebuilder:validation:Enum=None;Quarantine;Reject
type DMARCPolicy string

// The DMARC policies.
const (
	DMARCNone       DMARCPolicy = "None"
	DMARCQuarantine DMARCPolicy = "Quarantine"
	DMARCReject     DMARCPolicy = "Reject"
)

// Alignment says how closely two domains must match.
//
// +kubebuilder:validation:Enum=Relaxed;Strict
type Alignment string

// The alignments.
const (
	AlignmentRelaxed Alignment = "Relaxed"
	AlignmentStrict  Alignment = "Strict"
)

// FailureOption says which failures are reported one by one.
//
// +kubebuilder:validation:Enum="0";"1";d;s
type FailureOption string

// The failure options (fo).
const (
	FailureAll  FailureOption = "0"
	FailureAny  FailureOption = "1"
	FailureDKIM FailureOption = "d"
	FailureSPF  FailureOption = "s"
)

// Rollout is the gated way to a stricter policy.
type Rollout struct {
	// Advise (when absent): status says when the next stage is safe. Automatic: the operator takes it, and steps back at
	// once when own mail begins to fail.
	//
	// +optional
	// +kubebuilder:default=Advise
	Mode RolloutMode `json:"mode,omitempty"`

	// How long each stage lasts at least: 720h (30 days) when absent and at least (RFC 9989 section 7.4).
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$')`,message="write a duration in hours, minutes and seconds, such as 336h (14 days) or 1h30m; there is no unit for days"
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$') || duration(self) >= duration('720h')`,message="minimumStage must be 720h (30 days) or longer: reports need that long to show every sender (RFC 9989 section 7.4)"
	MinimumStage *metav1.Duration `json:"minimumStage,omitempty"`

	// People of this domain write to mailing lists. True (when absent) stops the rollout at Quarantine, for Reject breaks
	// their mail.
	//
	// +optional
	ListUsers *bool `json:"listUsers,omitempty"`
}

// RolloutMode says who takes the next stage.
//
// +kubebuilder:validation:Enum=Advise;Automatic
type RolloutMode string

// The rollout modes.
const (
	RolloutAdvise    RolloutMode = "Advise"
	RolloutAutomatic RolloutMode = "Automatic"
)

// DMARCStatus is how far the DMARC policy has come.
type DMARCStatus struct {
	// The policy that is published now.
	//
	// +optional
	Published DMARCPolicy `json:"published,omitempty"`

	// The published record asks receivers to apply the next weaker policy (t=y).
	//
	// +optional
	PublishedTesting bool `json:"publishedTesting,omitempty"`

	// The policy that is wanted in the end.
	//
	// +optional
	Goal DMARCPolicy `json:"goal,omitempty"`

	// Since when the published policy stands.
	//
	// +optional
	StageSinceTime *metav1.Time `json:"stageSinceTime,omitempty"`

	// What to do next, and why.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Advice string `json:"advice,omitempty"`

	// What the aggregate reports show. Written by the reports service.
	//
	// +optional
	Evidence *DMARCEvidence `json:"evidence,omitempty"`
}

// DMARCEvidence sums up the aggregate reports of trusted reporters.
type DMARCEvidence struct {
	// When this was last summed up.
	//
	// +optional
	UpdatedTime *metav1.Time `json:"updatedTime,omitempty"`

	// Beginning of the time that the reports cover.
	//
	// +optional
	FromTime *metav1.Time `json:"fromTime,omitempty"`

	// End of the time that the reports cover.
	//
	// +optional
	ToTime *metav1.Time `json:"toTime,omitempty"`

	// Days with reports.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Days int32 `json:"days,omitempty"`

	// Receivers that reported.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Reporters int32 `json:"reporters,omitempty"`

	// Messages reported in all.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Messages int64 `json:"messages,omitempty"`

	// Messages that came from our own senders.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	OwnMessages int64 `json:"ownMessages,omitempty"`

	// Messages from our own senders that passed DMARC.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	OwnAlignedMessages int64 `json:"ownAlignedMessages,omitempty"`

	// What keeps the next stage from being safe, the gravest first.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Findings []DMARCFinding `json:"findings,omitempty"`
}

// DMARCFinding is one kind of trouble that reports show.
type DMARCFinding struct {
	// Class of the trouble, such as OwnUnsigned, OwnBroken, OwnKeyMissing, OwnUnknownHost or ThirdParty.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Class string `json:"class"`

	// Where the messages came from.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Source string `json:"source,omitempty"`

	// How many messages were like this.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Messages int64 `json:"messages,omitempty"`

	// The likely cause and what to do, in words.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
