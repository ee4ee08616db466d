// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions, by polarity.
//
// Normal-true (they are always there once the controller has looked; False or
// Unknown wants attention): Ready, KeysReady, RecordsPublished,
// RecordsVerified, ProviderReady.
//
// Abnormal-true (they exist only while they are True, and are removed when
// they end): everything else. Reconciling and Stalled are read by kstatus and
// so by `kubectl wait`, Flux and Argo CD; the others inform a person and do not
// change Ready.
const (
	// ConditionReady (MailDomain, DKIMKey, both provider kinds; normal-true):
	// everything that the spec asks for is in place and seen in public DNS. It
	// stays True through a routine rotation and one lagging probe. Manual: judged
	// by DNS; verification None: published suffices; suspend: as it was. For a
	// provider: its credentials were tried and work. Where another normal-true
	// condition holds it back, it has that condition's reason.
	//
	// Reasons: Ready, DomainClaimed, InvalidDomain, InvalidSchedule,
	// InvalidAnnotation, ClockSkew, WaitingForCaches, WaitingForSigners, Deleting.
	// For a provider: Ready, SecretMissing, InvalidCredentials,
	// InvalidConfiguration, EndpointNotAllowed, ZoneNotFound, ServerUnreachable,
	// Throttled.
	ConditionReady = "Ready"

	// ConditionKeysReady (MailDomain, DKIMKey; normal-true): every wanted key
	// pair exists and matches its Secret. On a MailDomain: a key of every wanted
	// algorithm signs; where one cannot without a person, it has that key's reason.
	//
	// Reasons: KeysReady, NotRequested, Progressing, GeneratingKey, SecretMissing,
	// KeyLost, KeySecretInvalid, KeySecretNotAdopted, KeySecretMismatch,
	// SecretNotOurs, SigningSecretTooLarge.
	ConditionKeysReady = "KeysReady"

	// ConditionRecordsPublished (MailDomain, DKIMKey; normal-true): the provider
	// has every wanted record.
	//
	// Reasons: RecordsPublished, NotRequested, Publishing, RecordConflict,
	// AliasNotAllowed, RecordDrifted, OwnerConflict, InvalidRecord, RemovalHeld,
	// WriteRefused, Throttled, AwaitingSigning, PasteRecords.
	ConditionRecordsPublished = "RecordsPublished"

	// ConditionRecordsVerified (MailDomain, DKIMKey; normal-true): the
	// authoritative servers answer every wanted record.
	//
	// Reasons: RecordsVerified, NotRequested, VerificationDisabled,
	// WaitingForPublication, WaitingForVerification, SplitHorizon,
	// WildcardAnswers.
	ConditionRecordsVerified = "RecordsVerified"

	// ConditionProviderReady (MailDomain, DKIMKey; normal-true): the provider
	// exists, is granted, and its credentials work.
	//
	// Reasons: ProviderReady, ProviderNotFound, ProviderNotGranted,
	// ProviderNotReady, ZoneNotFound, InvalidCredentials, ServerUnreachable.
	ConditionProviderReady = "ProviderReady"

	// ConditionReconciling (all kinds; abnormal-true, kstatus): work is under
	// way that needs nobody. Its reason says what is awaited; a fault that may
	// end by itself has that of the condition that it denies.
	//
	// Reasons: Progressing, GeneratingKey, Publishing, WaitingForPublication,
	// WaitingForVerification, WaitingForCaches, WaitingForSigners,
	// AwaitingSigning, Deleting.
	ConditionReconciling = "Reconciling"

	// ConditionStalled (all kinds; abnormal-true, kstatus): it does not go on
	// without a person.
	//
	// Reasons: DomainClaimed, InvalidDomain, InvalidSchedule, InvalidAnnotation,
	// ProviderNotFound, ProviderNotGranted, ProviderNotReady, SecretMissing,
	// InvalidCredentials, InvalidConfiguration, EndpointNotAllowed, ZoneNotFound,
	// RecordConflict, AliasNotAllowed, SplitHorizon, OwnerConflict, InvalidRecord,
	// WriteRefused, RemovalHeld, KeyLost, KeySecretInvalid, KeySecretNotAdopted,
	// KeySecretMismatch, SecretNotOurs, SigningSecretTooLarge, PasteRecords,
	// ClockSkew.
	ConditionStalled = "Stalled"

	// ConditionSuspended (MailDomain; abnormal-true): spec.suspend: the operator
	// looks on and writes nothing.
	//
	// Reasons: Suspended.
	ConditionSuspended = "Suspended"

	// ConditionUnsupportedFields (all kinds; abnormal-true): the spec has fields
	// that this release accepts but does not act upon; the message names them.
	//
	// Reasons: NotImplemented.
	ConditionUnsupportedFields = "UnsupportedFields"

	// ConditionExperimental (both provider kinds; abnormal-true): this provider
	// has not passed the conformance tests.
	//
	// Reasons: NotConformant.
	ConditionExperimental = "Experimental"

	// ConditionWeakKey (MailDomain, DKIMKey; abnormal-true): a key of less than
	// 2048 bits signs; the next rotation replaces it.
	//
	// Reasons: KeyTooShort.
	ConditionWeakKey = "WeakKey"

	// ConditionSigningSecretLarge (MailDomain; abnormal-true): the signing Secret
	// comes close to what a Secret can hold. It warns at 700 KiB; at 900 KiB no
	// further key is added.
	//
	// Reasons: NearSizeLimit, SigningSecretTooLarge.
	ConditionSigningSecretLarge = "SigningSecretLarge"

	// ConditionSPFAtRisk (MailDomain; abnormal-true): receivers give the SPF record
	// up, with all that it includes, or it is close to where they do. The message
	// says which terms cost what.
	//
	// Reasons: PermError, TooManyLookups, TooManyVoidLookups, NearLookupLimit,
	// IncludeUnreadable.
	ConditionSPFAtRisk = "SPFAtRisk"

	// ConditionLargeAnswers (MailDomain, DKIMKey; abnormal-true): the answer at the
	// name of a record is larger than what UDP carries: 1232 octets, or 512 to
	// resolvers without EDNS.
	//
	// Reasons: AnswerTooLarge, AnswerNeedsExtensions.
	ConditionLargeAnswers = "LargeAnswers"

	// ConditionReportsUnauthorized (MailDomain; abnormal-true): a report address
	// outside of the organisation lacks the record that allows it (RFC 9990
	// section 4); the message is that record.
	//
	// Reasons: ReportRecordMissing, ReportRecordUnknown.
	ConditionReportsUnauthorized = "ReportsUnauthorized"

	// ConditionMoving (MailDomain; abnormal-true): the records are kept equal at
	// two places, for the domain changes its DNS provider or zone. The message
	// says what is awaited before the former place is left, and until when.
	//
	// Reasons: FillingPlace, WaitingForDelegation, WaitingForCaches.
	ConditionMoving = "Moving"

	// ConditionMailHeld (MailDomain; abnormal-true): no usable RSA key is left, so
	// the signers hold this domain's mail (451) until a new one may sign.
	//
	// Reasons: NoUsableKey.
	ConditionMailHeld = "MailHeld"
)
