// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "time"

// What absent fields mean. The schema itself sets only fixed words outside of
// lists, so that a GitOps tool sees no difference; everything else is read
// through the functions below, which also hold for objects that no API server
// has seen.
const (
	DefaultRSABits        int32         = 2048
	DefaultSelectorPrefix string        = "m"
	DefaultTTLSeconds     int32         = 300
	DefaultOverlap        time.Duration = 14 * 24 * time.Hour
	DefaultTombstone      time.Duration = 30 * 24 * time.Hour
	DefaultMinimumStage   time.Duration = 30 * 24 * time.Hour
	DefaultPowerDNSServer string        = "localhost"
	signingSecretSuffix   string        = "-dkim"
)

// WithDefaults returns the reference with its kind filled in.
func (r ProviderRef) WithDefaults() ProviderRef {
	if r.Kind == "" {
		r.Kind = ProviderKindDNSProvider
	}
	return r
}

// WantedKeys returns the keys that shall sign, with their sizes: one RSA key where keys is absent, none for a nil DKIM.
func (d *DKIM) WantedKeys() []WantedKey {
	if d == nil {
		return nil
	}
	if len(d.Keys) == 0 {
		return []WantedKey{{Algorithm: AlgorithmRSA, Bits: DefaultRSABits}}
	}
	keys := make([]WantedKey, 0, len(d.Keys))
	for _, key := range d.Keys {
		if key.Algorithm == AlgorithmRSA && key.Bits == 0 {
			key.Bits = DefaultRSABits
		}
		keys = append(keys, key)
	}
	return keys
}

// SelectorPrefix returns the beginning of new selectors; it means nothing where there is a ring.
func (d *DKIM) SelectorPrefix() string {
	if d == nil || d.Selectors == nil || d.Selectors.Prefix == "" {
		return DefaultSelectorPrefix
	}
	return d.Selectors.Prefix
}

// SelectorRing returns the fixed selectors, or nil.
func (d *DKIM) SelectorRing() []string {
	if d == nil || d.Selectors == nil {
		return nil
	}
	return d.Selectors.Ring
}

// OverlapOrDefault returns how long a retired selector stays published.
func (r *Rotation) OverlapOrDefault() time.Duration {
	if r == nil || r.Overlap == nil {
		return DefaultOverlap
	}
	return r.Overlap.Duration
}

// TombstoneOrDefault returns how long an emptied record stays published.
func (r *Rotation) TombstoneOrDefault() time.Duration {
	if r == nil || r.Tombstone == nil {
		return DefaultTombstone
	}
	return r.Tombstone.Duration
}

// SigningSecret returns the name of the Secret that the signers mount.
func (m *MailDomain) SigningSecret() string {
	if m.Spec.DKIM != nil && m.Spec.DKIM.SigningSecretName != "" {
		return m.Spec.DKIM.SigningSecretName
	}
	return m.Name + signingSecretSuffix
}

// Adoption returns the adoption policy, Never where it is absent.
func (s *MailDomainSpec) Adoption() AdoptionPolicy {
	if s.AdoptionPolicy == "" {
		return AdoptNever
	}
	return s.AdoptionPolicy
}

// Deletion returns the deletion policy, Retain where it is absent.
func (s *MailDomainSpec) Deletion() DeletionPolicy {
	if s.DeletionPolicy == "" {
		return DeletionRetain
	}
	return s.DeletionPolicy
}

// AllOrDefault returns the result for other senders, SoftFail where it is absent.
func (s *SPF) AllOrDefault() SPFAll {
	if s.All == "" {
		return SPFAllSoftFail
	}
	return s.All
}

// MinimumStageOrDefault returns how long each stage lasts at least.
func (r *Rollout) MinimumStageOrDefault() time.Duration {
	if r == nil || r.MinimumStage == nil {
		return DefaultMinimumStage
	}
	return r.MinimumStage.Duration
}

// StopsAtQuarantine says whether people of the domain write to mailing lists: true where it is absent.
func (r *Rollout) StopsAtQuarantine() bool {
	return r == nil || r.ListUsers == nil || *r.ListUsers
}

// TTL returns the time to live of our records in seconds.
func (s *DNSProviderSpec) TTL() uint32 {
	if s.TTLSeconds <= 0 {
		return uint32(DefaultTTLSeconds)
	}
	return uint32(s.TTLSeconds)
}

// VerificationMode returns who is asked for proof, Authoritative where it is absent.
func (s *DNSProviderSpec) VerificationMode() VerificationMode {
	if s.Verification == nil || s.Verification.Mode == "" {
		return VerificationAuthoritative
	}
	return s.Verification.Mode
}

// Type returns which provider this is, as status.type has it.
func (s *DNSProviderSpec) Type() string {
	switch {
	case s.Cloudflare != nil:
		return "cloudflare"
	case s.Route53 != nil:
		return "route53"
	case s.RFC2136 != nil:
		return "rfc2136"
	case s.PowerDNS != nil:
		return "powerdns"
	case s.Libdns != nil:
		return s.Libdns.Name
	case s.Manual != nil:
		return "manual"
	default:
		return ""
	}
}

// AlgorithmOrDefault returns the TSIG algorithm, hmac-sha256 where it is absent.
func (t *TSIG) AlgorithmOrDefault() TSIGAlgorithm {
	if t.Algorithm == "" {
		return TSIGHMACSHA256
	}
	return t.Algorithm
}
