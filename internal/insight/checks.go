// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package insight

import (
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarcreport"
)

// checks decide, the first that holds. Each line is one cause.
//
//	address   aligned pass    signature of ours      someone else's pass    class
//	ours      yes                                                           Aligned
//	ours      no              fail                                          OwnBroken
//	ours      no              key not to be had                             OwnKeyMissing
//	ours      no              none                                          OwnUnsigned
//	other     SPF                                                           OwnUnknownHost
//	other     DKIM            of a selector that we do not have             OwnUnknownHost
//	other     DKIM            ours                                          Forwarded
//	other     no              fails or is gone       a list                 MailingList
//	other     no                                     a service              ThirdParty
//	other     no              whatever it claims     none                   Spoofed
//
// A signature that does not pass proves nothing: anybody can write our selector into one. So such a row from a foreign
// address is never ours, or forgers could hold a domain back from enforcing its policy.
var checks = []struct {
	class Class
	cause Cause
	holds func(*facts) bool
}{
	{Aligned, PassesBoth, func(f *facts) bool { return f.home() && f.dkim && f.spf }},
	{Aligned, PassesDKIM, func(f *facts) bool { return f.own && f.dkim }},
	{Aligned, PassesSPF, func(f *facts) bool { return f.home() && f.spf }},

	{OwnKeyMissing, KeyRevoked, func(f *facts) bool { return f.own && f.unusable(revoked) }},
	{OwnBroken, ChangedAfterSigning, func(f *facts) bool { return f.own && f.fails() }},
	{OwnKeyMissing, NotYetPublished, func(f *facts) bool { return f.own && f.unusable(notYetPublished) }},
	{OwnKeyMissing, WithdrawnTooEarly, func(f *facts) bool { return f.own && f.unusable(withdrawn) }},
	{OwnKeyMissing, OurServersDown, func(f *facts) bool { return f.own && f.keyless() && f.outage() }},
	{OwnKeyMissing, NoAnswer, func(f *facts) bool { return f.own && f.has(dmarcreport.TempError) }},
	{OwnKeyMissing, KeyNotFound, func(f *facts) bool { return f.own && f.keyless() }},
	{OwnUnsigned, SignedByAnother, func(f *facts) bool { return f.own && len(f.ours) > 0 }},
	{OwnUnsigned, NotSigned, func(f *facts) bool { return f.own }},

	{Aligned, ServicePasses, func(f *facts) bool { return (f.dkim || f.spf) && f.service != nil && f.service.Decided }},
	{OwnUnknownHost, SPFCoversIt, func(f *facts) bool { return f.addressesKnown && f.spf }},
	{OwnUnknownHost, SelectorNotOurs, func(f *facts) bool { return f.dkim && f.strangeSelector() }},
	{OwnUnknownHost, EnvelopeWithoutSPF, func(f *facts) bool { return f.dkim && f.addressesKnown && f.envelopeHasNoSPF() }},
	{Forwarded, SignatureSurvived, func(f *facts) bool { return f.dkim }},

	{ThirdParty, UnalignedService, func(f *facts) bool { return f.service != nil && !f.list() }},
	{MailingList, ListSaysSo, func(f *facts) bool { return f.list() }},
	{MailingList, BrokenOnTheWay, func(f *facts) bool { return len(f.others) > 0 && f.claims() }},
	{Spoofed, ClaimsOurSelector, func(f *facts) bool { return f.claims() }},
	{Spoofed, OthersPass, func(f *facts) bool { return f.other != "" }},
}

// home is an address that is ours, or of which nobody can say that it is not.
func (f *facts) home() bool { return f.own || !f.addressesKnown && (f.spf || !f.dkim) }

// genuine are signatures by a selector that is ours, as far as anybody knows: reporters may leave the selector out, and
// without a history each may be.
func (f *facts) genuine(which func(signature) bool) bool {
	return slices.ContainsFunc(f.ours, func(s signature) bool {
		return (s.history != nil || s.Selector == "" || !f.selectorsKnown) && which(s)
	})
}

func (f *facts) has(results ...dmarcreport.Result) bool {
	return f.genuine(func(s signature) bool { return slices.Contains(results, s.Result) })
}

// fails says whether a signature of ours was judged and is bad.
func (f *facts) fails() bool {
	return f.has(dmarcreport.Fail, dmarcreport.Neutral, dmarcreport.Policed)
}

func (f *facts) keyless() bool { return f.has(dmarcreport.PermError, dmarcreport.TempError) }

// unusable says whether the key of a signature that does not pass had a state at that time.
func (f *facts) unusable(state func(*Selector, Period) bool) bool {
	return f.genuine(func(s signature) bool {
		return s.Result != dmarcreport.Pass && s.history != nil && state(s.history, f.period)
	})
}

func revoked(s *Selector, p Period) bool {
	return !s.Revoked.IsZero() && s.Revoked.Before(p.End)
}

func notYetPublished(s *Selector, p Period) bool {
	return s.Published.IsZero() || s.Published.After(p.Begin)
}

func withdrawn(s *Selector, p Period) bool {
	return !s.Withdrawn.IsZero() && s.Withdrawn.Before(p.End)
}

func (f *facts) outage() bool {
	return slices.ContainsFunc(f.domain.Outages, func(o Outage) bool { return f.period.touches(o.Begin, o.End) })
}

// claims says whether there is a signature that calls itself ours and does not pass.
func (f *facts) claims() bool {
	return slices.ContainsFunc(f.ours, func(s signature) bool { return s.Result != dmarcreport.Pass && s.Result != dmarcreport.None })
}

// strangeSelector: all that passes in our name passes by selectors that we never had.
func (f *facts) strangeSelector() bool {
	passing := 0
	for _, s := range f.ours {
		if s.Result != dmarcreport.Pass {
			continue
		}
		if s.history != nil || s.Selector == "" {
			return false
		}
		passing++
	}
	return f.selectorsKnown && passing > 0
}

// envelopeHasNoSPF: bounces go to a name of ours that has no SPF record. A forwarder keeps an envelope of ours that has one.
func (f *facts) envelopeHasNoSPF() bool {
	return slices.ContainsFunc(f.row.Senders, func(s dmarcreport.Sender) bool {
		return s.Result == dmarcreport.None && s.Scope != "helo" && related(s.Domain, f.domain.Name)
	})
}

// list says whether somebody knows that a mailing list or forwarder was in between: the receiver, or we.
func (f *facts) list() bool {
	if len(f.others) == 0 && f.other == "" {
		return false
	}
	return within(f.other, f.domain.Lists) ||
		slices.ContainsFunc(f.others, func(d string) bool { return within(d, f.domain.Lists) }) ||
		slices.ContainsFunc(f.row.Overrides, func(o dmarcreport.Override) bool {
			return len(f.others) > 0 && (o.Type == "mailing_list" || o.Type == "trusted_forwarder")
		})
}
