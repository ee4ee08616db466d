// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// Reason is the class of a provider's error.
type Reason string

// Reasons.
const (
	// Unauthorized: the credentials are wrong or may not do this at all.
	Unauthorized Reason = "Unauthorized"
	// Unreachable: no answer; temporary.
	Unreachable Reason = "Unreachable"
	// ZoneNotFound: the provider does not hold the zone.
	ZoneNotFound Reason = "ZoneNotFound"
	// Throttled: too many requests; temporary.
	Throttled Reason = "Throttled"
	// Refused: understood, and not allowed for this record or zone.
	Refused Reason = "Refused"
	// NotReady: the provider object is not (yet) usable; temporary.
	NotReady Reason = "NotReady"
	// NotBuiltIn: this version has no such driver.
	NotBuiltIn Reason = "NotBuiltIn"
	// Invalid: the provider's specification or Secret cannot be used.
	Invalid Reason = "Invalid"
	// Unknown: anything else; temporary, since nothing says that it is not.
	Unknown Reason = "Unknown"
)

const maxMessage = 400

// Error is what a provider did not do, in words for people: stable, bounded, without secrets.
type Error struct {
	Reason  Reason
	Message string
	// RetryAfter is how long the provider asked to be left alone; 0 if it did not.
	RetryAfter time.Duration
	// Err is the cause for errors.Is; its text is never shown.
	Err error
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same call may succeed later without anybody doing anything.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case Unreachable, Throttled, NotReady, Unknown:
		return true
	case Unauthorized, ZoneNotFound, Refused, NotBuiltIn, Invalid:
		return false
	}
	return true
}

// newError bounds and cleans the message; every secret in it becomes "…".
func newError(reason Reason, cause error, message string, secrets ...string) *Error {
	return &Error{Reason: reason, Message: clean(message, secrets...), Err: cause}
}

// asError makes an *Error of any error.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Reason: e.Reason, Message: clean(e.Message), RetryAfter: e.RetryAfter, Err: e.Err}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newError(Unreachable, err, "the provider did not answer in time")
	}
	return newError(Unknown, err, err.Error())
}

// clean makes foreign text fit for a status: one line, printable, bounded, no secret.
func clean(message string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			message = strings.ReplaceAll(message, s, "…")
		}
	}
	message = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(message, ""))
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return message
}
