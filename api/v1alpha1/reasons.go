// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Reasons of conditions that are as they should be.
const (
	// ReasonReady: everything that is wanted is in place.
	ReasonReady = "Ready"
	// ReasonKeysReady: every wanted key pair exists and matches its Secret.
	ReasonKeysReady = "KeysReady"
	// ReasonRecordsPublished: the provider has every wanted record.
	ReasonRecordsPublished = "RecordsPublished"
	// ReasonRecordsVerified: the authoritative servers answer every wanted record.
	ReasonRecordsVerified = "RecordsVerified"
	// ReasonProviderReady: the provider exists, is granted, and its credentials work.
	ReasonProviderReady = "ProviderReady"
	// ReasonNotRequested: the spec asks for nothing that this condition speaks of.
	ReasonNotRequested = "NotRequested"
	// ReasonVerificationDisabled: the provider's verification mode is None; published suffices.
	ReasonVerificationDisabled = "VerificationDisabled"
)

// Reasons of work that is under way and needs nobody.
const (
	// ReasonProgressing: work is under way that no other reason names.
	ReasonProgressing = "Progressing"
	// ReasonGeneratingKey: a key pair is being made.
	ReasonGeneratingKey = "GeneratingKey"
	// ReasonPublishing: records are on their way to the provider.
	ReasonPublishing = "Publishing"
	// ReasonWaitingForPublication: the provider has not taken the record yet.
	ReasonWaitingForPublication = "WaitingForPublication"
	// ReasonWaitingForVerification: not every authoritative server answers the record yet.
	ReasonWaitingForVerification = "WaitingForVerification"
	// ReasonWaitingForCaches: caches may still deny the record; the message says until when.
	ReasonWaitingForCaches = "WaitingForCaches"
	// ReasonWaitingForSigners: signers still hold the old key.
	ReasonWaitingForSigners = "WaitingForSigners"
	// ReasonFillingPlace: a provider or zone that is new to the domain does not hold all of its records yet.
	ReasonFillingPlace = "FillingPlace"
	// ReasonWaitingForDelegation: the parent zone still names the former name servers, or nobody can tell.
	ReasonWaitingForDelegation = "WaitingForDelegation"
	// ReasonAwaitingSigning: a stricter _dmarc is held until an RSA key signs and SPF is verified.
	ReasonAwaitingSigning = "AwaitingSigning"
	// ReasonThrottled: the provider asks for patience; it is tried again.
	ReasonThrottled = "Throttled"
	// ReasonDeleting: the object is being deleted; what is left is taken down in order.
	ReasonDeleting = "Deleting"
	// ReasonSuspended: spec.suspend holds all writing.
	ReasonSuspended = "Suspended"
)

// Reasons about domains, names and schedules.
const (
	// ReasonDomainClaimed: another MailDomain of this installation holds the domain.
	ReasonDomainClaimed = "DomainClaimed"
	// ReasonInvalidDomain: the domain has no valid A-label form (RFC 5891), or a name below it is too long.
	ReasonInvalidDomain = "InvalidDomain"
	// ReasonInvalidSchedule: the time zone is unknown or the schedule never fires.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonInvalidAnnotation: an annotation that is a person's word cannot be read.
	ReasonInvalidAnnotation = "InvalidAnnotation"
	// ReasonClockSkew: our clock and the API server's are more than five minutes apart; no irreversible step is taken.
	ReasonClockSkew = "ClockSkew"
	// ReasonNotImplemented: this release accepts the field but does not act upon it.
	ReasonNotImplemented = "NotImplemented"
)

// Reasons about providers.
const (
	// ReasonProviderNotFound: no provider of this kind and name.
	ReasonProviderNotFound = "ProviderNotFound"
	// ReasonProviderNotGranted: the ClusterDNSProvider does not grant this domain to this namespace.
	ReasonProviderNotGranted = "ProviderNotGranted"
	// ReasonProviderNotReady: the provider's own Ready condition is not True.
	ReasonProviderNotReady = "ProviderNotReady"
	// ReasonSecretMissing: a Secret that the spec names, or one of its entries, does not exist.
	ReasonSecretMissing = "SecretMissing"
	// ReasonInvalidCredentials: the provider refuses the credentials.
	ReasonInvalidCredentials = "InvalidCredentials"
	// ReasonInvalidConfiguration: the provider cannot be set up as the spec says.
	ReasonInvalidConfiguration = "InvalidConfiguration"
	// ReasonEndpointNotAllowed: --provider-endpoint-allow does not admit the endpoint of a DNSProvider.
	ReasonEndpointNotAllowed = "EndpointNotAllowed"
	// ReasonZoneNotFound: no zone of the provider holds the domain.
	ReasonZoneNotFound = "ZoneNotFound"
	// ReasonServerUnreachable: the provider or a name server cannot be reached.
	ReasonServerUnreachable = "ServerUnreachable"
	// ReasonNotConformant: the provider has not passed the conformance tests.
	ReasonNotConformant = "NotConformant"
)

// Reasons about records.
const (
	// ReasonRecordConflict: a record of someone else stands where ours belongs.
	ReasonRecordConflict = "RecordConflict"
	// ReasonRecordDrifted: our record was changed outside and is being repaired.
	ReasonRecordDrifted = "RecordDrifted"
	// ReasonOwnerConflict: another installation, or someone with our owner id, writes these records.
	ReasonOwnerConflict = "OwnerConflict"
	// ReasonInvalidRecord: the spec cannot be written as a valid record; the message says what to change.
	ReasonInvalidRecord = "InvalidRecord"
	// ReasonRemovalHeld: the mass-change brake holds; the message names the annotation that releases it.
	ReasonRemovalHeld = "RemovalHeld"
	// ReasonWriteRefused: the provider refused the change.
	ReasonWriteRefused = "WriteRefused"
	// ReasonPasteRecords: the provider is manual; status.records says what to paste.
	ReasonPasteRecords = "PasteRecords"
	// ReasonSplitHorizon: the provider has the record, public DNS does not.
	ReasonSplitHorizon = "SplitHorizon"
	// ReasonWildcardAnswers: a wildcard answers in place of our record.
	ReasonWildcardAnswers = "WildcardAnswers"
	// ReasonAliasNotAllowed: a CNAME or DNAME leads to a name that this MailDomain's provider may not write.
	ReasonAliasNotAllowed = "AliasNotAllowed"
	// ReasonPermError: receivers give the SPF record up, for one that it includes is missing, doubled, broken or a loop.
	ReasonPermError = "PermError"
	// ReasonNearLookupLimit: fewer than two lookups are left; one more include may break the SPF record.
	ReasonNearLookupLimit = "NearLookupLimit"
	// ReasonIncludeUnreadable: a name that the SPF record depends on cannot be looked up for an hour.
	ReasonIncludeUnreadable = "IncludeUnreadable"
	// ReasonTooManyLookups: the SPF record needs more than 10 lookups (RFC 7208 section 4.6.4).
	ReasonTooManyLookups = "TooManyLookups"
	// ReasonTooManyVoidLookups: the SPF record needs more than 2 lookups that find nothing.
	ReasonTooManyVoidLookups = "TooManyVoidLookups"
	// ReasonAnswerNeedsExtensions: an answer has more than the 512 octets that UDP carries without EDNS (RFC 6891).
	ReasonAnswerNeedsExtensions = "AnswerNeedsExtensions"
	// ReasonAnswerTooLarge: an answer is larger than UDP carries.
	ReasonAnswerTooLarge = "AnswerTooLarge"
	// ReasonReportRecordMissing: a report address lacks the record that allows it.
	ReasonReportRecordMissing = "ReportRecordMissing"
	// ReasonReportRecordUnknown: nobody could be asked for an hour whether a report address is allowed.
	ReasonReportRecordUnknown = "ReportRecordUnknown"
)

// Reasons about keys and their Secrets.
const (
	// ReasonKeyLost: a private key is gone, also from the signing Secret; a rotation replaces it.
	ReasonKeyLost = "KeyLost"
	// ReasonKeySecretInvalid: the Secret holds no private key that can be used.
	ReasonKeySecretInvalid = "KeySecretInvalid"
	// ReasonKeySecretNotAdopted: the Secret exists without the label maildomain.dev/adopt.
	ReasonKeySecretNotAdopted = "KeySecretNotAdopted"
	// ReasonKeySecretMismatch: the Secret holds another key than the one that is published, or one of another algorithm or size.
	ReasonKeySecretMismatch = "KeySecretMismatch"
	// ReasonSecretNotOurs: a Secret of the name that we would write belongs to someone else.
	ReasonSecretNotOurs = "SecretNotOurs"
	// ReasonSigningSecretTooLarge: the signing Secret would pass 900 KiB.
	ReasonSigningSecretTooLarge = "SigningSecretTooLarge"
	// ReasonNearSizeLimit: the signing Secret has passed 700 KiB.
	ReasonNearSizeLimit = "NearSizeLimit"
	// ReasonNoUsableKey: no RSA key may sign.
	ReasonNoUsableKey = "NoUsableKey"
	// ReasonKeyTooShort: a key of less than 2048 bits signs.
	ReasonKeyTooShort = "KeyTooShort"
)
