// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

// Action is what happens to a message.
type Action string

// The actions.
const (
	Sign     Action = "sign"
	Accept   Action = "accept"   // leaves without our signature
	Tempfail Action = "tempfail" // 4xx: the client tries again
	Reject   Action = "reject"   // 5xx
)

// Reason is why, for metrics and logs.
type Reason string

// Reasons of a message that is as it should be.
const (
	ReasonOurs        Reason = "ours"
	ReasonNotRequired Reason = "not_required" // the domain has no key yet and needs none yet
)

// Reasons that a Policy decides upon.
const (
	ReasonUnknownDomain  Reason = "unknown_domain"  // From is of a domain that the tree does not have
	ReasonUnlistedSender Reason = "unlisted_sender" // senders do not admit the client
	ReasonNoFrom         Reason = "no_from"
	ReasonBadFrom        Reason = "bad_from" // the From field has no address with a domain
	ReasonSeveralFrom    Reason = "several_from"
	ReasonSeveralDomains Reason = "several_domains"
)

// Reasons of a failure: the message should be signed or judged and cannot be.
const (
	ReasonNoTree         Reason = "no_key_tree"   // missing or empty
	ReasonUnread         Reason = "domain_unread" // its files were never read well
	ReasonNoKey          Reason = "no_usable_key" // required, and no key signs
	ReasonKeyFailed      Reason = "key_failed"    // the key refused
	ReasonDeadline       Reason = "deadline"      // our own
	ReasonHeaderTooLarge Reason = "header_too_large"
	ReasonInternal       Reason = "internal"
)

// PolicyReasons lists what a Policy decides upon, in the order for people.
func PolicyReasons() []Reason {
	return []Reason{ReasonUnknownDomain, ReasonUnlistedSender, ReasonNoFrom, ReasonBadFrom, ReasonSeveralFrom, ReasonSeveralDomains}
}

// Policy says what happens to messages that are not plainly ours.
type Policy struct {
	// Actions are Accept, Tempfail or Reject by reason; what is not named is as in DefaultPolicy.
	Actions map[Reason]Action
	// AcceptFailures lets a message leave unsigned where it should be refused for our own failure.
	AcceptFailures bool
}

// DefaultPolicy passes what is not ours and refuses what nobody can sign for.
func DefaultPolicy() map[Reason]Action {
	return map[Reason]Action{
		ReasonUnknownDomain:  Accept,
		ReasonUnlistedSender: Reject,
		ReasonNoFrom:         Reject,
		ReasonBadFrom:        Reject,
		ReasonSeveralFrom:    Reject,
		ReasonSeveralDomains: Reject,
	}
}

// Decision is what happens to a message, and why.
type Decision struct {
	Action Action
	Reason Reason
	Entry  *Entry // who speaks for the author's domain; nil if nobody does or nobody is known
	// Unsigned says that the message leaves without the signature that its domain requires.
	Unsigned bool
	// text is what the client is told, of one that is refused.
	text string
}

// facts are what a decision is made of.
type facts struct {
	from       []string // values of the From fields
	login      string
	client     netip.Addr
	nullSender bool
}

// decide says what happens to a message. Each step names one reason; the first that holds is it.
func (p Policy) decide(t *Table, f facts) Decision {
	if t.Empty() {
		return p.Failure(ReasonNoTree, nil)
	}
	domains, reason := authors(f.from)
	if reason != "" {
		return p.judge(reason, t, domains, nil, f)
	}
	entry := t.Find(domains[0])
	switch {
	case entry == nil && t.Blind != "":
		return p.Failure(ReasonNoTree, nil)
	case entry == nil:
		return p.judge(ReasonUnknownDomain, t, domains, nil, f)
	case entry.Unread:
		return p.Failure(ReasonUnread, entry)
	case !entry.Senders.Admits(f.login, f.client):
		return p.judge(ReasonUnlistedSender, t, domains, entry, f)
	case len(entry.keys) > 0:
		return Decision{Action: Sign, Reason: ReasonOurs, Entry: entry}
	case entry.Required:
		return p.Failure(ReasonNoKey, entry)
	}
	return Decision{Action: Accept, Reason: ReasonNotRequired, Entry: entry}
}

// authors reads the From fields. With a reason, the domains are those that could be read all the same.
func authors(from []string) ([]dnsrecord.Name, Reason) {
	var domains []dnsrecord.Name
	var reason Reason
	for _, value := range from {
		found, err := mailauth.AuthorDomains(value)
		if err != nil {
			reason = ReasonBadFrom
		}
		domains = append(domains, found...)
	}
	switch {
	case len(from) == 0:
		return nil, ReasonNoFrom
	case len(from) > 1:
		return domains, ReasonSeveralFrom
	case reason == "" && len(domains) > 1:
		return domains, ReasonSeveralDomains
	}
	return domains, reason
}

// judge applies the policy for a reason.
func (p Policy) judge(reason Reason, t *Table, domains []dnsrecord.Name, entry *Entry, f facts) Decision {
	action, given := p.Actions[reason]
	if !given {
		action = DefaultPolicy()[reason]
	}
	required := slices.ContainsFunc(domains, func(d dnsrecord.Name) bool {
		e := t.Find(d)
		return e != nil && e.Required
	})
	unknown := len(domains) == 0 || slices.ContainsFunc(domains, func(d dnsrecord.Name) bool { return t.Find(d) == nil })
	// A domain that is not required yet flows as it did before.
	if reason == ReasonUnlistedSender && !required {
		action = Accept
	}
	// What nobody knows may be required by the part of the tree that is missing.
	if action == Accept && unknown && t.Blind != "" {
		return p.Failure(ReasonNoTree, nil)
	}
	// A bounce that is refused for good is lost without a word to anybody (RFC 5321 §4.5.5).
	if action == Reject && f.nullSender {
		action = Tempfail
	}
	return Decision{
		Action: action, Reason: reason, Entry: entry, Unsigned: action == Accept && required,
		text: refusal(reason, entry),
	}
}

// Failure is what happens to a message that we fail: it waits, unless the policy lets it go.
func (p Policy) Failure(reason Reason, entry *Entry) Decision {
	d := Decision{Action: Tempfail, Reason: reason, Entry: entry, text: "the signer is not ready"}
	if entry != nil {
		d.text = fmt.Sprintf("cannot sign for %s now", entry.Domain.Domain)
	}
	if p.AcceptFailures {
		d.Action, d.Unsigned = Accept, true
	}
	return d
}

func refusal(reason Reason, entry *Entry) string {
	switch {
	case reason == ReasonUnlistedSender && entry != nil:
		return fmt.Sprintf("not allowed to send as %s", entry.Domain.Domain)
	case reason == ReasonUnknownDomain:
		return "no signature for the domain of the From field"
	case reason == ReasonNoFrom:
		return "the From field is missing"
	case reason == ReasonBadFrom:
		return "the From field has no address with a domain"
	case reason == ReasonSeveralFrom:
		return "more than one From field"
	}
	return "the From field has addresses of several domains"
}

// Reply is the answer to the client of a message that is refused: code, enhanced code (RFC 3463) and text.
func (d Decision) Reply() string {
	code := "451 4.7.0 "
	if d.Action == Reject {
		code = "550 5.7.1 "
	}
	text := strings.ToUpper(d.text[:1]) + d.text[1:]
	if d.Action == Tempfail {
		text += "; try again later"
	}
	// Sendmail reads % as the start of a format.
	return strings.ReplaceAll(code+text, "%", "")
}
