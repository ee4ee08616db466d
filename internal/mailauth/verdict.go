// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Result is what a check came to, in the words of RFC 8601 §2.7.
type Result string

// The results. They are not degrees of one thing: None, TempError and PermError say that nothing was found out.
const (
	None         Result = "none"      // there is nothing to check
	Pass         Result = "pass"      // it was checked and is good
	Fail         Result = "fail"      // it was checked and is bad
	SoftFail     Result = "softfail"  // SPF alone: the domain says that it is probably bad
	Neutral      Result = "neutral"   // the sender says nothing that could be checked
	Unacceptable Result = "policy"    // DKIM alone: it may be good, but is of a kind that nobody should trust
	TempError    Result = "temperror" // the DNS did not answer: later it may be otherwise
	PermError    Result = "permerror" // what was published cannot be used: somebody has to mend it
)

// Verdict is what the checks of one message came to.
type Verdict struct {
	// DKIM has one for each signature that was looked at, in the order of their fields; empty: the message is not signed.
	DKIM []Signature
	// Unread is how many more signatures there are than one message may have.
	Unread int
	// SPF has one for each identity (RFC 7208 §2.3, §2.4): MAIL FROM, where it is not empty, and HELO.
	SPF []Sender
	// DMARC is about the author, the domain in From.
	DMARC Author
}

// Signature is the verdict on one DKIM signature.
type Signature struct {
	Result Result
	Reason string // in words, "" where Pass needs none

	Domain    dnsrecord.Name // d=; "" where it cannot be read
	Selector  string         // s=, in lower case; "" where it cannot be read
	Algorithm string         // a=, in lower case
	Bits      int            // length of an RSA key that was found
	Prefix    string         // the first characters of b=, which tell signatures apart (RFC 6008)
	// Testing says that the key's owner tests DKIM: what fails is to be treated as if it were not signed (RFC 6376 §3.6.1, t=y).
	Testing bool
}

// Sender is the verdict of SPF on one identity.
type Sender struct {
	Result   Result
	Reason   string
	Identity Identity
	Domain   string // as the client gave it where it is no domain
}

// Identity is what SPF was asked about.
type Identity string

// The identities, as RFC 8601 §2.7.2 names their properties.
const (
	MailFrom Identity = "mailfrom"
	HELO     Identity = "helo"
)

// Author is the verdict of DMARC on the author's domain.
type Author struct {
	Result Result
	Reason string
	Domain dnsrecord.Name // of From; "" where there is not one domain
	// Record is where the policy was found; "" if there is none.
	Record dnsrecord.Name
	// Policy is what the domain asks for if the result is Fail: sp=, np= and t= are in it already.
	Policy dmarc.Policy
}

// Signed is the one word for all signatures: the best of them, and of equal ones the first; None without any.
//
// One good signature is enough, whatever stands beside it (RFC 6376 §6.1).
func (v Verdict) Signed() Signature {
	best := Signature{Result: None}
	for _, s := range v.DKIM {
		if goodness(s.Result) > goodness(best.Result) {
			best = s
		}
	}
	return best
}

// goodness orders the results of signatures: a later try may turn TempError into Pass, and nothing else.
func goodness(r Result) int {
	return slices.Index([]Result{None, Neutral, PermError, Unacceptable, Fail, TempError, Pass}, r)
}

// Sent is the one word for SPF: what MAIL FROM came to, or HELO for a null sender.
func (v Verdict) Sent() Sender {
	if len(v.SPF) == 0 {
		return Sender{Result: None}
	}
	return v.SPF[0]
}
