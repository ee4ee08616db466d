// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dmarcreport reads aggregate reports (RFC 7489 appendix C, RFC 9990) as they are met in the wild: Extract finds
// the documents in a mail, an archive or a file, Parse reads one of them, Read does both.
//
// What it reads is hostile. Limits bound time and memory, rows are handed out as they come, every text is made harmless
// for a terminal, and what cannot be true is a Finding and is not counted.
package dmarcreport

import (
	"net/netip"
	"time"
)

// Report is one aggregate report, without its rows.
type Report struct {
	Version         string // "" (draft reports, Google), "0.1", "1.0", "2.0", and whatever else reporters write
	Organisation    string
	Email           string
	Contact         string
	ID              string
	Generator       string
	Errors          []string // what the reporter says went wrong, such as with our policy record
	Begin, End      time.Time
	Policy          Policy
	Rows            int   // records that were handed out
	Messages        int64 // the sum of their counts
	Left            int   // records that were left out, each with a Finding
	Findings        []Finding
	FindingsOmitted int // beyond Limits.Findings
}

// Policy is what the reporter found published. Words are in lower case; "" is what the report does not say.
type Policy struct {
	Domain                                              string
	Policy, SubdomainPolicy, NonexistentSubdomainPolicy string
	DKIMAlignment, SPFAlignment                         string // "r" or "s"
	FailureOptions, Percent, Testing, DiscoveryMethod   string
}

// Row is one record: so many messages from one address with one outcome.
type Row struct {
	Source       netip.Addr // IPv4-mapped addresses are IPv4
	Count        int64
	Disposition  string // none, pass (RFC 9990), quarantine, reject
	DKIM, SPF    Result // policy_evaluated: Pass if there is an aligned pass, Fail if there is none. Not a signature's result!
	Overrides    []Override
	HeaderFrom   string // the author's domain
	EnvelopeFrom string
	EnvelopeTo   string // many reporters leave it out
	Signatures   []Signature
	Senders      []Sender
}

// Override is why a receiver did not do what the policy asks for.
type Override struct{ Type, Comment string }

// Signature is what the receiver found of one DKIM signature.
type Signature struct {
	Domain   string
	Selector string // RFC 7489 lets reporters leave it out
	Result   Result
	Human    string
}

// Sender is what the receiver found by SPF.
type Sender struct {
	Domain string
	Scope  string // mfrom, helo, ""
	Result Result
	Human  string
}

// Result is a result of DKIM or SPF (RFC 8601 §2.7). The zero Result is a word that nobody knows, or none at all.
type Result string

// The results.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	Neutral   Result = "neutral"
	Policed   Result = "policy"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// results has the words of today, and those of RFC 4408 and the drafts that some reporters never gave up.
var results = map[string]Result{
	"none": None, "pass": Pass, "fail": Fail, "softfail": SoftFail, "neutral": Neutral, "policy": Policed,
	"temperror": TempError, "permerror": PermError,
	"hardfail": Fail, "error": TempError, "unknown": PermError,
}

// Finding is something in a report that cannot be true or is not as it should be.
type Finding struct {
	Kind  Kind
	Where string // "record 3", or an element
	Text  string
}

// Kind says what a Finding is about; tools may rely on the words.
type Kind string

// The kinds. Those of a record mean that it was left out, but for UnknownResult.
const (
	BadCount        Kind = "BadCount"        // no number, negative, zero, or beyond belief
	BadAddress      Kind = "BadAddress"      // no IP address
	WrongDomain     Kind = "WrongDomain"     // the author's domain is not under the policy's
	RepeatedElement Kind = "RepeatedElement" // twice, with two values
	UnknownResult   Kind = "UnknownResult"   // a word that is no result
	LongPeriod      Kind = "LongPeriod"      // more than a month in one report
	TextAfterReport Kind = "TextAfterReport" // something follows the document
	ShortenedText   Kind = "ShortenedText"   // longer than Limits.Text
	MissingAuthor   Kind = "MissingAuthor"   // no header_from
)
