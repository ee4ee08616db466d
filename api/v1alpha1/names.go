// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Annotations that are a person's one-time word. The value is a timestamp or
// an id: what was acted upon is kept in status, so that the same value in Git
// counts once.
const (
	// AnnotationRotate on a MailDomain starts a rotation.
	AnnotationRotate = "maildomain.dev/rotate"
	// AnnotationRotateUndo on a MailDomain lets the key that is retiring sign again.
	AnnotationRotateUndo = "maildomain.dev/rotate-undo"
	// AnnotationTakeOver on a MailDomain takes over the records of the owner id that is its value.
	AnnotationTakeOver = "maildomain.dev/take-over"
	// AnnotationAllowRemoval on a MailDomain releases the mass-change brake.
	AnnotationAllowRemoval = "maildomain.dev/allow-removal"
	// AnnotationLeaveFormerPlaces on a MailDomain says that nobody asks the places any more that it left before this time,
	// also where that cannot be seen.
	AnnotationLeaveFormerPlaces = "maildomain.dev/leave-former-places"
	// AnnotationCleanFormerPlaces on a MailDomain removes our records from the places that it left before this time, once
	// nobody asks there any more.
	AnnotationCleanFormerPlaces = "maildomain.dev/clean-former-places"
	// AnnotationAbandonRecords with the value "true" lets a deletion end that cannot reach its provider any more.
	AnnotationAbandonRecords = "maildomain.dev/abandon-records"
)

// Where a pod that signs serves /keys: at the port that its annotation names, else at its container port of this name,
// else at the milter's default.
const (
	// AnnotationKeysPort on a pod is the number of the port.
	AnnotationKeysPort = "maildomain.dev/keys-port"
	// KeysPortName is the name of a container port.
	KeysPortName = "maildomain-keys"
	// DefaultKeysPort is that of the milter's --http.
	DefaultKeysPort uint16 = 8080
)

// Labels and annotations on the Secrets of this operator. Labels hold short
// values only; names, which may be longer than a label value, are annotations.
const (
	// LabelManagedBy with the value ManagedBy is on every object that the operator makes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "maildomain-operator"
	// LabelSecret says what a Secret of ours holds: SecretPrivateKey or SecretSigning. The cache holds Secrets with it alone.
	LabelSecret = "maildomain.dev/secret"
	// LabelAdopt on a Secret that a person wrote lets a DKIMKey that names it adopt it. Any value but "false" counts.
	LabelAdopt = "maildomain.dev/adopt"
	// AnnotationHolder on a Secret names its holder: kind/name, such as DKIMKey/example-org-m20260801r; several are joined by commas.
	AnnotationHolder = "maildomain.dev/holder"
	// AnnotationDomain on a Secret or Lease is the domain it is about.
	AnnotationDomain = "maildomain.dev/domain"
	// AnnotationPublicKeySHA256 on a private-key Secret is the hash of its public key.
	AnnotationPublicKeySHA256 = "maildomain.dev/public-key-sha256"

	// SecretPrivateKey is the value of LabelSecret on the Secret of one key pair.
	SecretPrivateKey = "private-key"
	// SecretSigning is the value of LabelSecret on the Secret that signers mount.
	SecretSigning = "signing"
)

// Finalizers.
const (
	// Finalizer is on MailDomains and DKIMKeys.
	Finalizer = "maildomain.dev/finalizer"
	// SecretFinalizer is on private-key and signing Secrets. They have no owner: garbage collection runs beside finalizers
	// and a foreground prune would destroy live keys.
	SecretFinalizer = "maildomain.dev/secret"
)

// The Secret of one key pair.
const (
	// SecretTypeDKIMKey is the type of a private-key Secret that the operator made.
	SecretTypeDKIMKey = "maildomain.dev/dkim-key"
	// PrivateKeyEntry is the entry of a private-key Secret that holds the PKCS#8 PEM.
	PrivateKeyEntry = "privateKey.pem"
)

// Kinds, for owner references, providerRefs and messages.
const (
	KindMailDomain         = "MailDomain"
	KindDKIMKey            = "DKIMKey"
	KindDNSProvider        = "DNSProvider"
	KindClusterDNSProvider = "ClusterDNSProvider"
)
