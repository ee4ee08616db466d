// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"fmt"
	"slices"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// judgeDMARC holds the verdicts of DKIM and SPF against what the author's domain publishes (RFC 9989).
//
// A message that names several authors' domains is judged for each, and the worst counts: a reader may be shown any of them.
func judgeDMARC(ctx context.Context, dns Resolver, from []string, v Verdict) Author {
	domains, fault := authorsOf(from)
	if fault != "" {
		return Author{Result: PermError, Reason: fault}
	}
	w := &treeWalker{dns: dns, seen: map[dnsrecord.Name]dmarcAnswer{}}
	var worst Author
	for i, domain := range domains {
		a := w.judge(ctx, domain, v)
		if i == 0 || badness(a) > badness(worst) {
			worst = a
		}
	}
	return worst
}

// authorsOf is the domains in From, or what is wrong with it.
func authorsOf(from []string) ([]dnsrecord.Name, string) {
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

// badness orders verdicts on authors; of failures, the one that asks for more is worse.
func badness(a Author) int {
	return 4*slices.Index([]Result{Pass, None, TempError, PermError, Fail}, a.Result) +
		slices.Index([]dmarc.Policy{dmarc.None, dmarc.Quarantine, dmarc.Reject}, a.Policy)
}

// judge judges one author's domain.
func (w *treeWalker) judge(ctx context.Context, author dnsrecord.Name, v Verdict) Author {
	a := Author{Domain: author}
	policy, err := w.policy(ctx, author)
	switch {
	case err != nil && policy.domain != "":
		a.Result, a.Reason, a.Record = PermError, err.Error(), policy.domain
		return a
	case err != nil:
		a.Result, a.Reason = TempError, err.Error()
		return a
	case policy.domain == "":
		a.Result, a.Reason = None, author.String()+" has no DMARC record"
		return a
	}
	a.Record = policy.domain
	a.Policy = w.asked(ctx, author, policy)
	a.Result, a.Reason = w.align(ctx, author, policy.record, v)
	return a
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
