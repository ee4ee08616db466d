// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

// Actions of a verifying listener beside Tempfail and Reject.
const (
	Tag        Action = "tag"        // passes, and Authentication-Results says what was found
	Quarantine Action = "quarantine" // passes into the MTA's hold queue, where a person finds it
)

// Finding is what a policy may act upon: a method and its result (RFC 8601 §2.7). For a failure of DMARC it is what the
// author's domain asks for, after sp=, np= and t=.
type Finding string

// The findings that are about DMARC by its policy; all others are method_result.
const (
	FindingDMARCReject     Finding = "dmarc_reject"
	FindingDMARCQuarantine Finding = "dmarc_quarantine"
	FindingDMARCFail       Finding = "dmarc_fail" // the domain asks for nothing: p=none
)

// foundNothing is the reason of a message that gives no policy anything to act upon.
const foundNothing Reason = "judged"

// findingInfo is what is known of a finding.
type findingInfo struct {
	finding Finding
	about   string // for people, in the list of flags
	code    string // enhanced status code without its class (RFC 7372)
	text    string // for the client; %s is the domain
}

// findings are in the order for people; of equal actions the first is the reason.
var findings = []findingInfo{
	{FindingDMARCReject, "DMARC fails, and the author's domain asks to reject", "7.26", "%s asks to reject mail that neither its signature nor SPF proves to be its own"},
	{FindingDMARCQuarantine, "DMARC fails, and the author's domain asks to quarantine", "7.26", "%s asks to hold mail that neither its signature nor SPF proves to be its own"},
	{FindingDMARCFail, "DMARC fails, and the author's domain asks for nothing", "7.26", "neither a signature nor SPF proves that this is of %s"},
	{"dmarc_permerror", "the author or the DMARC record cannot be read", "7.26", "the author or its DMARC record cannot be read"},
	{"dmarc_temperror", "the DNS did not answer, so that DMARC is open", "7.0", "the DNS does not say now whether this is of %s"},
	{"spf_fail", "the sender's domain does not allow the client", "7.23", "%s does not allow this client to send"},
	{"spf_softfail", "the sender's domain says that the client is probably not allowed", "7.23", "%s says that this client is probably not allowed to send"},
	{"spf_permerror", "the SPF record is broken", "7.24", "the SPF record of %s is broken"},
	{"spf_temperror", "the DNS did not answer, so that SPF is open", "7.24", "the DNS does not say now whether %s allows this client to send"},
	{"dkim_fail", "no signature is good, and one fails", "7.20", "the message or its signature was changed"},
	{"dkim_policy", "no signature is good, and one is of a kind not to be trusted", "7.21", "the signature is of a kind that is not trusted"},
	{"dkim_permerror", "no signature is good, and one has no usable key", "7.20", "the signature has no usable key"},
	{"dkim_neutral", "no signature is good, and one cannot be read", "7.20", "the signature cannot be read"},
	{"dkim_temperror", "the DNS did not answer, so that a signature is open", "7.0", "the DNS does not say now which key signed this"},
}

// Findings lists what a policy may act upon, with what it means.
func Findings() (names []Finding, about map[Finding]string) {
	about = map[Finding]string{}
	for _, f := range findings {
		names = append(names, f.finding)
		about[f.finding] = f.about
	}
	return names, about
}

// MayDo lists what may be done about a finding. What is open now may be otherwise later, so it is never refused for good;
// what is settled will be no other, so nobody is told to come back.
func (f Finding) MayDo() []Action {
	if strings.HasSuffix(string(f), "_temperror") {
		return []Action{Tag, Quarantine, Tempfail}
	}
	return []Action{Tag, Quarantine, Reject}
}

// strictness orders actions: who may come back gets a settled word then, and a settled word is the last.
var strictness = []Action{Tag, Quarantine, Tempfail, Reject}

// found lists the findings of a verdict.
func found(v mailauth.Verdict) []Finding {
	// One aligned pass proves the author: a list or a forwarder may break all the rest (RFC 9989 §5).
	if v.DMARC.Result == mailauth.Pass {
		return nil
	}
	out := []Finding{dmarcFinding(v.DMARC), Finding("spf_" + v.Sent().Result)}
	// RFC 6376 §3.6.1: what a domain tests is no worse than what it did not sign.
	if s := v.Signed(); !s.Testing {
		out = append(out, Finding("dkim_"+s.Result))
	}
	return out
}

func dmarcFinding(a mailauth.Author) Finding {
	switch {
	case a.Result == mailauth.Fail && a.Policy == dmarc.Reject:
		return FindingDMARCReject
	case a.Result == mailauth.Fail && a.Policy == dmarc.Quarantine:
		return FindingDMARCQuarantine
	}
	return Finding("dmarc_" + a.Result)
}

// ruling is what becomes of a message that was judged, and why.
type ruling struct {
	action Action
	reason Reason
	reply  string // of Tempfail and Reject
	text   string // of Quarantine
}

// rule applies a policy: of what it wants for all that was found, the strictest.
func rule(actions map[Finding]Action, v mailauth.Verdict) ruling {
	r := ruling{action: Tag, reason: foundNothing}
	all := found(v)
	for _, f := range findings {
		if !slices.Contains(all, f.finding) {
			continue
		}
		action, given := actions[f.finding]
		if !given {
			action = Tag
		}
		if r.reason == foundNothing || slices.Index(strictness, action) > slices.Index(strictness, r.action) {
			r = ruling{action: action, reason: Reason(f.finding), text: f.say(v)}
		}
	}
	switch r.action { //nolint:exhaustive // The others pass.
	case Tempfail:
		r.reply = "451 4." + r.text + "; try again later"
	case Reject:
		r.reply = "550 5." + r.text
	}
	return r
}

// say is the code without its class, and the text.
func (f findingInfo) say(v mailauth.Verdict) string {
	text := strings.ToUpper(f.text[:1]) + f.text[1:]
	if strings.Contains(text, "%s") {
		domain := v.DMARC.Domain.String()
		if strings.HasPrefix(string(f.finding), "spf_") {
			domain = v.Sent().Domain
		}
		text = fmt.Sprintf(text, domain)
	}
	// Sendmail reads % as the start of a format.
	return f.code + " " + strings.ReplaceAll(text, "%", "")
}
