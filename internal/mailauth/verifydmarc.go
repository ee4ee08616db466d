// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// authors are the domains in From, and what is known of them.
type authors struct {
	fault string // why they are not known
	all   []author
}

// author is one of them, and what the DNS says of it whoever signed or sent the message.
type author struct {
	verdict Author // without a Result where that depends on who signed or sent
	record  dmarc.Record
	walker  *treeWalker
}

// authorsOf reads the From fields.
func authorsOf(dns Resolver, from []string) authors {
	domains, fault := readAuthors(from)
	a := authors{fault: fault}
	for _, domain := range domains {
		a.all = append(a.all, author{verdict: Author{Domain: domain}, walker: &treeWalker{dns: dns, seen: map[dnsrecord.Name]dmarcAnswer{}}})
	}
	return a
}

// readAuthors is the domains in From, or what is wrong with it.
func readAuthors(from []string) ([]dnsrecord.Name, string) {
	switch {
	case len(from) == 0:
		return nil, "there is no From field"
	case len(from) > 1:
		return nil, "there are several From fields, and a reader may be shown any of them"
	}
	domains, err := AuthorDomains(from[0])
	switch {
	case err != nil:
		return nil, "the From field has no address with a domain"
	case len(domains) > maxAuthors:
		return nil, fmt.Sprintf("the From field has addresses of more than %d domains", maxAuthors)
	}
	return domains, ""
}

// judge holds the verdicts of DKIM and SPF against what the authors' domains publish (RFC 9989).
//
// A message that names several authors' domains is judged for each, and the worst counts: a reader may be shown any of them.
func (as authors) judge(ctx context.Context, v Verdict) Author {
	if as.fault != "" {
		return Author{Result: PermError, Reason: as.fault}
	}
	walker := as.all[0].walker // It has the answers of all, so that nothing is asked twice from here on.
	for _, a := range as.all[1:] {
		maps.Copy(walker.seen, a.walker.seen)
	}
	var worst Author
	for i, a := range as.all {
		if a.verdict.Result == "" {
			a.verdict.Result, a.verdict.Reason = walker.align(ctx, a.verdict.Domain, a.record, v)
		}
		if i == 0 || badness(a.verdict) > badness(worst) {
			worst = a.verdict
		}
	}
	return worst
}

// badness orders verdicts on authors; of failures, the one that asks for more is worse.
func badness(a Author) int {
	return 4*slices.Index([]Result{Pass, None, TempError, PermError, Fail}, a.Result) +
		slices.Index([]dmarc.Policy{dmarc.None, dmarc.Quarantine, dmarc.Reject}, a.Policy)
}

// ask asks for all that the DNS says of an author's domain itself.
func (a *author) ask(ctx context.Context) {
	v := &a.verdict
	policy, err := a.walker.policy(ctx, v.Domain)
	switch {
	case err != nil && policy.domain != "":
		v.Result, v.Reason, v.Record = PermError, err.Error(), policy.domain
	case err != nil:
		v.Result, v.Reason = TempError, err.Error()
	case policy.domain == "":
		v.Result, v.Reason = None, v.Domain.String()+" has no DMARC record"
	default:
		v.Record, v.Policy, a.record = policy.domain, a.walker.asked(ctx, v.Domain, policy), policy.record
		_, _ = a.walker.organisation(ctx, v.Domain) // It is remembered: alignment will need it.
	}
}

// asked is what the record asks for: for its own domain p=, below it sp=, and np= for names that do not exist
// (RFC 9989 §4.10.1).
func (w *treeWalker) asked(ctx context.Context, author dnsrecord.Name, found dmarcFound) dmarc.Policy {
	domain, subdomains, nonexistent := found.record.Effective()
	switch {
	case author == found.domain:
		return domain
	case nonexistent == subdomains || w.exists(ctx, author):
		return subdomains
	}
	return nonexistent
}

// exists says whether a domain is in the DNS, be it without records of its own (RFC 9989 §3.2.13). What the DNS does not
// say now exists.
func (w *treeWalker) exists(ctx context.Context, name dnsrecord.Name) bool {
	exists, err := w.dns.Exists(ctx, name.String())
	return exists || err != nil
}

// align looks for one identity that passed and is the author's (RFC 9989 §4.4). Where none is and one may yet pass,
// nothing is known.
func (w *treeWalker) align(ctx context.Context, author dnsrecord.Name, record dmarc.Record, v Verdict) (Result, string) {
	var open error
	try := func(result Result, domain dnsrecord.Name, alignment dmarc.Alignment, what string) bool {
		if result != Pass && result != TempError {
			return false
		}
		aligned, err := w.aligned(ctx, author, domain, alignment)
		switch {
		case err != nil:
			open = err
		case aligned && result == TempError:
			open = fmt.Errorf("%s of %s could not be judged now", what, domain)
		}
		return aligned && err == nil && result == Pass
	}
	for _, s := range v.DKIM {
		if try(s.Result, s.Domain, record.DKIMAlignment, "the signature") {
			return Pass, ""
		}
	}
	sent := v.Sent()
	if domain, err := dnsrecord.ParseDomain(sent.Domain); err == nil && try(sent.Result, domain, record.SPFAlignment, "SPF") {
		return Pass, ""
	}
	if open != nil {
		return TempError, open.Error()
	}
	return Fail, fmt.Sprintf("neither a good signature nor SPF speaks for %s", author)
}

// aligned tells whether a domain that passed is near enough to the author's (RFC 9989 §4.4).
func (w *treeWalker) aligned(ctx context.Context, author, domain dnsrecord.Name, alignment dmarc.Alignment) (bool, error) {
	if domain == author || domain == "" || alignment == dmarc.Strict {
		return domain == author, nil
	}
	mine, err := w.organisation(ctx, author)
	if err != nil {
		return false, err
	}
	if !domain.In(mine) {
		return false, nil
	}
	its, err := w.organisation(ctx, domain)
	return its == mine, err
}
