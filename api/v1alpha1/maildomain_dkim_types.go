// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DKIM describes the DKIM keys of a domain and their life.
//
// +kubebuilder:validation:XValidation:rule="!has(self.keys) || self.keys.exists(k, k.algorithm == 'RSA')",message="an RSA key is needed: several large receivers fail mail that is signed with Ed25519 only; add {algorithm: RSA} to keys or leave keys out"
type DKIM struct {
	// The keys that sign every message, one of each algorithm. An RSA key is mandatory, for several large receivers
	// fail mail that is signed with Ed25519 only. Absent: one RSA key of 2048 bits.
	//
	// +optional
	// +listType=map
	// +listMapKey=algorithm
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Keys []WantedKey `json:"keys,omitempty"`

	// How selectors are named. Absent: the prefix m and the date.
	//
	// +optional
	Selectors *Selectors `json:"selectors,omitempty"`

	// Name of the Secret that the signers mount. Absent: the name of this object and -dkim. MailDomains of one namespace
	// may share one.
	//
	// +optional
	SigningSecretName ObjectName `json:"signingSecretName,omitempty"`

	// Tables of other signers to write beside ours into the signing Secret: OpenDKIM, Rspamd.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	SigningFormats []SigningFormat `json:"signingFormats,omitempty"`

	// The pods that sign. Where given, a key is retired only after each of them says that it has dropped it.
	//
	// +optional
	Signers *Signers `json:"signers,omitempty"`

	// Who may send as this domain through our signers. Absent: whoever reaches a signing listener.
	//
	// +optional
	Senders *Senders `json:"senders,omitempty"`

	// Sign also for sub-domains that have no MailDomain in the same Secret, with d= of this domain; senders says who may
	// send as them, too. Such a signature aligns with its author under relaxed alignment only. Absent: mail of a
	// sub-domain is not ours.
	//
	// +optional
	SignSubdomains bool `json:"signSubdomains,omitempty"`

	// Selectors that are compromised. They are taken out of use at once and for ever: the spare key signs, and the record
	// of the selector is emptied. This is for emergencies; receivers may fail mail that is still on its way.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	RevokedSelectors []SelectorName `json:"revokedSelectors,omitempty"`

	// When keys are replaced. Absent: only by hand (annotation maildomain.dev/rotate).
	//
	// +optional
	Rotation *Rotation `json:"rotation,omitempty"`
}

// WantedKey is one key that signs every message.
//
// +kubebuilder:validation:XValidation:rule="self.algorithm == 'RSA' || !has(self.bits)",message="Ed25519 keys have one size: leave bits out"
type WantedKey struct {
	// RSA or Ed25519.
	//
	// +required
	Algorithm Algorithm `json:"algorithm"`

	// Size of an RSA key: 2048 (when absent), 3072 or 4096. A change starts a rotation.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self in [2048, 3072, 4096]",message="write 2048, 3072 or 4096: smaller RSA keys are not trusted any more; a 1024-bit key that signs already is brought in by a DKIMKey with privateKeySecretName"
	Bits int32 `json:"bits,omitempty"`
}

// Selectors says how selectors are named.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.prefix) && has(self.ring))",message="write either prefix (new names, with the date) or ring (fixed names, each CNAMEd once by hand), not both"
type Selectors struct {
	// Beginning of every selector; the date and a letter for the algorithm follow, as in m20260801r.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9][a-z0-9-]*$')`,message="a prefix is the beginning of a DNS label: write lower-case letters, digits and hyphens only, beginning with a letter or digit, such as m"
	Prefix string `json:"prefix,omitempty"`

	// Fixed selectors that are used in turn, for names that were CNAMEd once by hand into a zone that the provider
	// writes. At least three: one signs, one stands ready, one is on its way out. Three for each algorithm let
	// rotations go on without waiting.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="size(self) >= 3",message="a ring needs three selectors or more: one signs, one stands ready, one is on its way out"
	// +kubebuilder:validation:XValidation:rule="self.all(s, self.exists_one(t, t == s))",message="a selector stands twice in the ring: write each once"
	Ring []SelectorName `json:"ring,omitempty"`
}

// SigningFormat is the configuration language of another signer.
//
// +kubebuilder:validation:Enum=OpenDKIM;Rspamd
type SigningFormat string

// The signing formats beside our own.
const (
	SigningFormatOpenDKIM SigningFormat = "OpenDKIM"
	SigningFormatRspamd   SigningFormat = "Rspamd"
)

// Signers selects the pods that sign.
type Signers struct {
	// Labels of the pods in this namespace that sign. {} selects all of them.
	//
	// +required
	PodSelector LabelSelector `json:"podSelector"`
}

// Senders says who may send as the domain.
type Senders struct {
	// Login names that may send as this domain (SASL names, as the mail server reports them).
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	Logins []string `json:"logins,omitempty"`

	// Networks from which mail of this domain may come, such as 192.0.2.0/24.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Networks []Network `json:"networks,omitempty"`
}

// Rotation says when keys are replaced and how long old ones stay.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.schedule) && has(self.interval))",message="write either schedule (at these times) or interval (this long after the last rotation), not both"
// +kubebuilder:validation:XValidation:rule="!has(self.timeZone) || has(self.schedule)",message="timeZone says how to read schedule: add a schedule or remove timeZone"
// +kubebuilder:validation:XValidation:rule=`!has(self.interval) || !self.interval.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$') || duration(self.interval) >= duration('24h') || (has(self.allowShortOverlap) && self.allowShortOverlap && duration(self.interval) > duration('0s'))`,message="interval must be 24h or longer, such as 2160h (90 days)"
// +kubebuilder:validation:XValidation:rule=`!has(self.overlap) || !self.overlap.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$') || duration(self.overlap) >= duration('120h') || (has(self.allowShortOverlap) && self.allowShortOverlap)`,message="overlap must be 120h (5 days) or longer, for mail queues hold messages that long and their signatures must still verify; only tests set allowShortOverlap"
// +kubebuilder:validation:XValidation:rule=`!has(self.tombstone) || !self.tombstone.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$') || duration(self.tombstone) >= duration('48h') || (has(self.allowShortOverlap) && self.allowShortOverlap)`,message="tombstone must be 48h or longer, so that receivers see the revocation; only tests set allowShortOverlap"
type Rotation struct {
	// Times at which to rotate, as in cron: minute hour day month weekday. Absent, and no interval: by hand only.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'(?i)^(\*|\?|([0-5]?[0-9])(-([0-5]?[0-9]))?)(/[1-9][0-9]?)?(,(\*|\?|([0-5]?[0-9])(-([0-5]?[0-9]))?)(/[1-9][0-9]?)?)* +(\*|\?|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?(,(\*|\?|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)* +(\*|\?|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?(,(\*|\?|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)* +(\*|\?|(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(-(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))?)(/[1-9][0-9]?)?(,(\*|\?|(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(-(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))?)(/[1-9][0-9]?)?)* +(\*|\?|(0?[0-6]|sun|mon|tue|wed|thu|fri|sat)(-(0?[0-6]|sun|mon|tue|wed|thu|fri|sat))?)(/[1-9][0-9]?)?(,(\*|\?|(0?[0-6]|sun|mon|tue|wed|thu|fri|sat)(-(0?[0-6]|sun|mon|tue|wed|thu|fri|sat))?)(/[1-9][0-9]?)?)*$')`,message="not a schedule: write five fields (minute hour day month weekday), such as \"0 4 1 */3 *\" for 04:00 on the first of every third month; the time zone goes into timeZone, a span of time into interval"
	Schedule string `json:"schedule,omitempty"`

	// Time zone of the schedule, such as Europe/Berlin. Absent: UTC.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self != 'Local' && self.matches(r'^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')`,message="not a time zone: write a name of the IANA database, such as Europe/Berlin or UTC"
	TimeZone string `json:"timeZone,omitempty"`

	// Rotate this long after the last rotation, such as 2160h. Instead of schedule.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$')`,message="write a duration in hours, minutes and seconds, such as 336h (14 days) or 1h30m; there is no unit for days"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// How long a retired selector stays published, so that mail on its way still verifies. 336h (14 days) when absent,
	// 120h at least.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$')`,message="write a duration in hours, minutes and seconds, such as 336h (14 days) or 1h30m; there is no unit for days"
	Overlap *metav1.Duration `json:"overlap,omitempty"`

	// How long the record then says that the key is revoked (empty p=), before it is deleted. 720h (30 days) when absent,
	// 48h at least.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms))+$')`,message="write a duration in hours, minutes and seconds, such as 336h (14 days) or 1h30m; there is no unit for days"
	Tombstone *metav1.Duration `json:"tombstone,omitempty"`

	// Lets overlap, tombstone and interval be shorter than is safe. For tests only: mail that is still on its way then fails.
	//
	// +optional
	AllowShortOverlap bool `json:"allowShortOverlap,omitempty"`

	// Start no scheduled rotation. Rotations by hand, revocations and those under way go on.
	//
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}
