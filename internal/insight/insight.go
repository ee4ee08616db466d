// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package insight explains what aggregate reports say: each row gets one Class, one cause, one sentence and one next step.
// It is pure: what is known of a domain is handed in as Domain.
//
// Two readings that most people get wrong are made here once. `none` is not `fail`: nothing was there to check. And
// policy_evaluated's dkim=fail says that there is no aligned pass, not that a signature is bad (RFC 9990 §3.1.1.8).
package insight

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarcreport"
)

// Class is what a row is taken for; tools may rely on the words.
type Class string

// The classes.
const (
	Aligned        Class = "Aligned"        // DKIM or SPF passes for the author's domain
	Forwarded      Class = "Forwarded"      // not our address; our signature came through, SPF did not
	MailingList    Class = "MailingList"    // not our address; our signature is broken or gone, the list's own passes
	OwnUnsigned    Class = "OwnUnsigned"    // our address; no signature of ours
	OwnBroken      Class = "OwnBroken"      // our address, our selector; changed after it was signed
	OwnKeyMissing  Class = "OwnKeyMissing"  // our address, our selector; the key could not be had
	OwnUnknownHost Class = "OwnUnknownHost" // proven to be ours, from an address that we do not know
	ThirdParty     Class = "ThirdParty"     // a service that sends for us, and passes for itself alone
	Spoofed        Class = "Spoofed"        // nothing in it is ours
)

// Classes are all of them, what needs something done first.
func Classes() []Class {
	return []Class{OwnUnsigned, OwnBroken, OwnKeyMissing, OwnUnknownHost, ThirdParty, MailingList, Forwarded, Spoofed, Aligned}
}

// Ours says whether mail of this class is ours and fails for a fault on our side.
func (c Class) Ours() bool {
	return c == OwnUnsigned || c == OwnBroken || c == OwnKeyMissing || c == OwnUnknownHost
}

// Domain is what is known of a domain. Its zero value knows nothing, and then no row is said to be ours by its address.
type Domain struct {
	Name      string
	Networks  []netip.Prefix // SPF expanded, and spec.dmarc.ownNetworks
	Selectors []Selector     // all that ever were ours; none: nobody knows
	Outages   []Outage       // when our name servers did not answer
	Services  []Service      // that may send for the domain, beside the well-known ones
	Lists     []string       // domains of mailing lists that our people write to
}

// Selector is one key's history. A zero time is an event that has not happened.
type Selector struct {
	Name      string
	Published time.Time // seen at every name server
	Revoked   time.Time // published with an empty key
	Withdrawn time.Time // its record was removed
}

// Outage is a time in which not all of a domain's name servers answered.
type Outage struct{ Begin, End time.Time }

// Service sends mail for others.
type Service struct {
	Name    string
	Domains []string // it signs with, or sends bounces to
	Setting string   // what to set there
	Decided bool     // somebody has said that it may send, as it does
}

// Period is the days that a report covers.
type Period struct{ Begin, End time.Time }

func (p Period) touches(begin, end time.Time) bool {
	return begin.Before(p.End) && (end.IsZero() || end.After(p.Begin))
}

// Explanation is what a row means.
type Explanation struct {
	Class    Class
	Cause    Cause
	Sentence string
	Next     string // what to do; "" is nothing
}

// facts are what the decision looks at.
type facts struct {
	row    dmarcreport.Row
	domain Domain
	period Period

	own, addressesKnown, selectorsKnown bool
	dkim, spf                           bool // an aligned pass
	ours                                []signature
	others                              []string // foreign domains whose signature passes
	service                             *Service
	selector, other                     string // for the sentence
}

// signature is one of the domain's, or one that says so.
type signature struct {
	dmarcreport.Signature

	history *Selector // nil: not known to be ours
}

// Explain says what a row means, for a domain that the row is about.
func Explain(row dmarcreport.Row, period Period, domain Domain) Explanation {
	f := gather(row, period, domain)
	for _, c := range checks {
		if c.holds(&f) {
			return c.cause.explain(c.class, &f)
		}
	}
	return NothingOurs.explain(Spoofed, &f)
}

func gather(row dmarcreport.Row, period Period, domain Domain) facts {
	f := facts{
		row: row, domain: domain, period: period,
		addressesKnown: len(domain.Networks) > 0, selectorsKnown: len(domain.Selectors) > 0,
		dkim: row.DKIM == dmarcreport.Pass, spf: row.SPF == dmarcreport.Pass,
	}
	for _, network := range domain.Networks {
		f.own = f.own || network.Contains(row.Source)
	}
	f.signatures()
	passing := append(slices.Clone(f.others), f.senders()...)
	if f.service, f.other = domain.service(passing); f.other == "" && len(passing) > 0 {
		f.other = passing[0]
	}
	return f
}

func (f *facts) signatures() {
	for _, s := range f.row.Signatures {
		switch {
		case related(s.Domain, f.domain.Name):
			f.ours = append(f.ours, signature{s, f.domain.selector(s.Selector)})
			if f.selector == "" || s.Result != dmarcreport.Pass {
				f.selector = s.Selector
			}
		case s.Result == dmarcreport.Pass && s.Domain != "":
			f.others = append(f.others, s.Domain)
		}
	}
}

// senders are the foreign domains for which SPF passes.
func (f *facts) senders() []string {
	var passing []string
	for _, s := range f.row.Senders {
		if s.Result == dmarcreport.Pass && s.Domain != "" && !related(s.Domain, f.domain.Name) {
			passing = append(passing, s.Domain)
		}
	}
	return passing
}

// related says whether a name is in the domain's own tree, above or below it.
func related(name, domain string) bool {
	return name != "" && domain != "" && (name == domain || strings.HasSuffix(name, "."+domain) ||
		strings.HasSuffix(domain, "."+name) && strings.Contains(name, "."))
}

func (d *Domain) selector(name string) *Selector {
	for i := range d.Selectors {
		if strings.EqualFold(d.Selectors[i].Name, name) {
			return &d.Selectors[i]
		}
	}
	return nil
}

// service finds one that the domains belong to, the domain's own decisions first.
func (d *Domain) service(domains []string) (service *Service, domain string) {
	for _, list := range [][]Service{d.Services, wellKnown} {
		for i := range list {
			for _, name := range domains {
				if within(name, list[i].Domains) {
					return &list[i], name
				}
			}
		}
	}
	return nil, ""
}

func within(name string, domains []string) bool {
	for _, d := range domains {
		if name == d || strings.HasSuffix(name, "."+d) {
			return true
		}
	}
	return false
}
