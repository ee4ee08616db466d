// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rotation decides how the DKIM keys of one domain step through their lives.
//
//	Pending ──► Publishing ──► Standby ──► Signing ──► Retiring ──► Revoked ──► (deleted)
//	 key pair    TXT written,   seen on     in the      out of the    empty p=
//	 missing     not yet seen   every NS,   signing     signing       published
//	             everywhere     caches      Secret      Secret, TXT
//	                            waited out              still there
//
// It is pure: what was observed and the time come in, the next steps go out as data. Next decides for the domain who
// signs and which keys there are, Retire for one key what stands under its selector, Calendar when a rotation is due.
// docs/rotation.md is the same in words.
package rotation

import (
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// Phase is where in its life a key stands.
type Phase string

// The phases, in the order in which a key passes through them.
const (
	Pending    Phase = "Pending"
	Publishing Phase = "Publishing"
	Standby    Phase = "Standby"
	Signing    Phase = "Signing"
	Retiring   Phase = "Retiring"
	Revoked    Phase = "Revoked"
)

// Intent is what the MailDomain asks of a key. It moves forward, but for a rotation that is undone.
type Intent string

// The intents.
const (
	ToStandBy Intent = "Standby"
	ToSign    Intent = "Signing"
	ToRetire  Intent = "Retired"
)

// Key is what is known of one key at this moment. A zero time means "not yet".
type Key struct {
	Name      string // of the DKIMKey
	Selector  string
	Algorithm dkim.Algorithm
	Bits      int // 0 for Ed25519
	Created   time.Time

	Intent   Intent
	Revoked  bool   // a person's word, or the key's own tombstone
	Deleting bool   // a person deleted the DKIMKey
	Manual   bool   // a person wrote the DKIMKey, and alone deletes it
	Adopted  bool   // a person brought its private key; its size is nobody's wish, and its record stood there before
	Unsure   string // what could not be read of it, in the words of a wait: nothing that depends on it is decided (invariant 7)

	KeyPair     bool      // the private key was read and is the one that the record speaks of
	Lost        bool      // the private key was made and cannot be read any more
	Conflict    bool      // someone else's record stands under the selector
	PublishedAt time.Time // the provider had the record
	VerifiedAt  time.Time // every authoritative server had it, without relapse since
	UsableAt    time.Time // when every cache that may remember its absence has forgotten
	Fresh       bool      // a sweep of all servers, made just now, found it

	Signs        bool      // the signing Secret holds it
	SigningSince time.Time // when it began to
	RetiredAt    time.Time // when it was read live that signers hold it no more; zero again once it was noted that it came back
	HeldBy       string    // who else holds it or does not tell, in words (pod b still holds m1); then RetiredAt is not noted, or forgotten again
	RevokedAt    time.Time // when its record was emptied
	RemovedAt    time.Time // when its record was gone
}

// PhaseOf names the phase of a key from what is known of it.
func PhaseOf(k Key, now time.Time) Phase {
	switch {
	case k.Signs:
		return Signing
	case k.Revoked || k.reached() != Keep:
		return Revoked
	case k.Intent == ToRetire || !k.SigningSince.IsZero():
		return Retiring
	case !k.KeyPair:
		return Pending
	case k.waitedOut(now):
		return Standby
	default:
		return Publishing
	}
}

// waitedOut tells whether every verifier in the world can find the key.
func (k Key) waitedOut(now time.Time) bool {
	return !k.VerifiedAt.IsZero() && !k.UsableAt.IsZero() && !now.Before(k.UsableAt)
}

// ready tells whether the key may begin to sign, but for the fresh sweep that precedes the switch; see Policy.begins.
func (k Key) ready(now time.Time) bool { return k.sound() && k.KeyPair && k.waitedOut(now) }

// retired tells whether the key is on its way out.
func (k Key) retired() bool { return k.Revoked || k.Intent == ToRetire }

// sound tells whether nothing stands against the key's use, were it not retired.
func (k Key) sound() bool {
	return !k.Revoked && !k.Deleting && !k.Conflict && !k.Lost && k.reached() == Keep
}

// alive tells whether the key may still be put to use.
func (k Key) alive() bool { return k.sound() && !k.retired() }

// noted tells whether its controller has noted that the key signs, and that it does again. Until then it does not make way
// for another: a key of which no beginning is known never signed, and goes without overlap; and the overlap of one that
// came back must not count from when it left before.
func (k Key) noted() bool { return !k.SigningSince.IsZero() && k.RetiredAt.IsZero() }

// newest is when the last of the keys of one algorithm began to sign. Where a rotation was undone, that one signs no more.
func newest(keys []Key) time.Time {
	var last time.Time
	for _, k := range keys {
		if k.SigningSince.After(last) {
			last = k.SigningSince
		}
	}
	return last
}
