// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	evaluator "blitiri.com.ar/go/spf"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// judgeSPF judges MAIL FROM, then HELO; for a null sender HELO alone, which then stands for both (RFC 7208 §2.4).
func judgeSPF(ctx context.Context, dns Resolver, e Envelope) []Sender {
	var out []Sender
	if e.MailFrom != "" {
		local, domain := splitAddress(e.MailFrom)
		out = append(out, checkHost(ctx, dns, e, MailFrom, local, domain))
	}
	return append(out, checkHost(ctx, dns, e, HELO, "postmaster", e.HELO))
}

// splitAddress splits at the last "@": a quoted local part may hold others. Without any, all of it is the domain.
func splitAddress(address string) (local, domain string) {
	at := strings.LastIndexByte(address, '@')
	if at <= 0 { // RFC 7208 §4.3: what has no local part is written by the postmaster.
		return "postmaster", address[at+1:]
	}
	return address[:at], address[at+1:]
}

// checkHost is check_host() of RFC 7208 §4 for one identity.
func checkHost(ctx context.Context, dns Resolver, e Envelope, identity Identity, local, domain string) Sender {
	s := Sender{Result: None, Identity: identity, Domain: domain}
	name, err := dnsrecord.ParseDomain(domain)
	switch {
	case !e.Client.IsValid():
		s.Reason = "the message did not come over a network"
		return s
	case err != nil: // §4.3
		s.Reason = string(identity) + " has no domain that could be asked"
		return s
	}
	s.Domain = name.String()
	r := &spfResolver{Resolver: dns}
	// The library splits at the first "@".
	sender := strings.ReplaceAll(local, "@", "_") + "@" + s.Domain
	result, err := evaluator.CheckHostWithSender(net.IP(e.Client.AsSlice()), e.HELO, sender,
		evaluator.WithContext(ctx), evaluator.WithResolver(r))
	s.Result, s.Reason = r.judge(Result(result), err, s.Domain, e.Client)
	return s
}

// spfResolver answers the evaluator, and remembers what it should not have to tell.
//
// The evaluator reads a record term by term, up to the first that matches. RFC 7208 §4.6 wants a record with a syntax
// error anywhere to be a permerror, so each is read by our own parser before the evaluator sees it.
type spfResolver struct {
	Resolver

	broken  error // what is wrong with a record
	trouble error // of the DNS
}

var errBrokenRecord = errors.New("the record cannot be read")

func (r *spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	values, err := ask(r, ctx, name, r.Resolver.LookupTXT)
	for _, value := range values {
		if !spf.Is(value) {
			continue
		}
		if _, err := spf.Parse(value); err != nil {
			r.broken = fmt.Errorf("at %s: %w", name, err)
			return nil, errBrokenRecord
		}
	}
	return values, err
}

func (r *spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(r, ctx, name, r.Resolver.LookupMX)
}

func (r *spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return ask(r, ctx, host, r.Resolver.LookupIPAddr)
}

// ask asks for what a macro may have made: too long a name loses labels on the left (RFC 7208 §7.3), and a name that
// cannot be in the DNS is not there (§4.8).
func ask[T any](r *spfResolver, ctx context.Context, name string, lookup func(context.Context, string) (T, error)) (T, error) { //nolint:revive // The receiver of a generic method.
	var nothing T
	name = strings.TrimSuffix(name, ".")
	for len(name) > dnsrecord.MaxName {
		_, name, _ = strings.Cut(name, ".")
	}
	if !canBeAsked(name) {
		return nothing, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	}
	answer, err := lookup(ctx, name)
	if err != nil && !notFound(err) {
		r.trouble = fmt.Errorf("at %s: %s", name, problem(err))
		return nothing, &net.DNSError{Err: problem(err), Name: name, IsTemporary: true}
	}
	return answer, err
}

// canBeAsked tells whether a name has labels of a length that the DNS has.
func canBeAsked(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > dnsrecord.MaxLabel {
			return false
		}
	}
	return true
}

// judge puts the evaluator's result into our words.
func (r *spfResolver) judge(result Result, err error, domain string, client netip.Addr) (Result, string) {
	switch result {
	case Pass:
		return Pass, ""
	case None:
		return None, domain + " has no SPF record"
	case Fail:
		return Fail, fmt.Sprintf("%s does not allow %s to send", domain, client)
	case SoftFail:
		return SoftFail, fmt.Sprintf("%s says that %s is probably not allowed to send", domain, client)
	case Neutral:
		return Neutral, fmt.Sprintf("%s says nothing about %s", domain, client)
	case TempError:
		why := "no answer"
		if r.trouble != nil {
			why = r.trouble.Error()
		}
		return TempError, "the DNS does not say now whether " + domain + " allows it: " + why
	case PermError, Unacceptable:
	}
	if r.broken != nil {
		return PermError, "an SPF record is broken: " + r.broken.Error()
	}
	return PermError, "the SPF record of " + domain + " is broken: " + fault(err)
}

// fault is what is wrong with a record, for whoever has to mend it.
func fault(err error) string {
	switch {
	case errors.Is(err, evaluator.ErrLookupLimitReached):
		return fmt.Sprintf("it needs more than %d DNS lookups (RFC 7208 §4.6.4)", spf.MaxLookups)
	case errors.Is(err, evaluator.ErrVoidLookupLimitReached):
		return "more than 2 of the names in it do not exist (RFC 7208 §4.6.4)"
	case errors.Is(err, evaluator.ErrTooManyMXRecords):
		return "it names a domain with more than 10 MX records (RFC 7208 §4.6.4)"
	case errors.Is(err, evaluator.ErrMultipleRecords):
		return "there are several at one name (RFC 7208 §4.5)"
	case errors.Is(err, evaluator.ErrNoResult):
		return "it includes a domain that has none (RFC 7208 §5.2)"
	case err != nil:
		return err.Error()
	}
	return "it cannot be evaluated"
}
