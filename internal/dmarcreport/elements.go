// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// fields is what each element with a text sets (RFC 9990 appendix A; pct and the order of things as in RFC 7489).
var fields = map[string]func(*parser, string){
	"/feedback/version":                                    once(func(p *parser) *string { return &p.report.Version }),
	"/feedback/report_metadata/org_name":                   once(func(p *parser) *string { return &p.report.Organisation }),
	"/feedback/report_metadata/email":                      once(func(p *parser) *string { return &p.report.Email }),
	"/feedback/report_metadata/extra_contact_info":         once(func(p *parser) *string { return &p.report.Contact }),
	"/feedback/report_metadata/report_id":                  once(func(p *parser) *string { return &p.report.ID }),
	"/feedback/report_metadata/generator":                  once(func(p *parser) *string { return &p.report.Generator }),
	"/feedback/report_metadata/date_range/begin":           once(func(p *parser) *string { return &p.begin }),
	"/feedback/report_metadata/date_range/end":             once(func(p *parser) *string { return &p.end }),
	"/feedback/policy_published/domain":                    name(func(p *parser) *string { return &p.report.Policy.Domain }),
	"/feedback/policy_published/p":                         word(func(p *parser) *string { return &p.report.Policy.Policy }),
	"/feedback/policy_published/sp":                        word(func(p *parser) *string { return &p.report.Policy.SubdomainPolicy }),
	"/feedback/policy_published/np":                        word(func(p *parser) *string { return &p.report.Policy.NonexistentSubdomainPolicy }),
	"/feedback/policy_published/adkim":                     word(func(p *parser) *string { return &p.report.Policy.DKIMAlignment }),
	"/feedback/policy_published/aspf":                      word(func(p *parser) *string { return &p.report.Policy.SPFAlignment }),
	"/feedback/policy_published/fo":                        word(func(p *parser) *string { return &p.report.Policy.FailureOptions }),
	"/feedback/policy_published/pct":                       word(func(p *parser) *string { return &p.report.Policy.Percent }),
	"/feedback/policy_published/testing":                   word(func(p *parser) *string { return &p.report.Policy.Testing }),
	"/feedback/policy_published/discovery_method":          word(func(p *parser) *string { return &p.report.Policy.DiscoveryMethod }),
	"/feedback/record/row/source_ip":                       once(func(p *parser) *string { return &p.record.source }),
	"/feedback/record/row/count":                           once(func(p *parser) *string { return &p.record.count }),
	"/feedback/record/identifiers/header_from":             name(func(p *parser) *string { return &p.record.row.HeaderFrom }),
	"/feedback/record/identifiers/envelope_from":           name(func(p *parser) *string { return &p.record.row.EnvelopeFrom }),
	"/feedback/record/identifiers/envelope_to":             name(func(p *parser) *string { return &p.record.row.EnvelopeTo }),
	"/feedback/record/row/policy_evaluated/dkim":           result(func(p *parser) *Result { return &p.record.row.DKIM }),
	"/feedback/record/row/policy_evaluated/spf":            result(func(p *parser) *Result { return &p.record.row.SPF }),
	"/feedback/record/auth_results/dkim/result":            result(func(p *parser) *Result { return &last(p.record.row.Signatures).Result }),
	"/feedback/record/auth_results/spf/result":             result(func(p *parser) *Result { return &last(p.record.row.Senders).Result }),
	"/feedback/record/auth_results/dkim/domain":            name(func(p *parser) *string { return &last(p.record.row.Signatures).Domain }),
	"/feedback/record/auth_results/dkim/selector":          name(func(p *parser) *string { return &last(p.record.row.Signatures).Selector }),
	"/feedback/record/auth_results/spf/domain":             name(func(p *parser) *string { return &last(p.record.row.Senders).Domain }),
	"/feedback/record/auth_results/spf/scope":              word(func(p *parser) *string { return &last(p.record.row.Senders).Scope }),
	"/feedback/report_metadata/error":                      func(p *parser, s string) { p.reporterError(s) },
	"/feedback/record/auth_results/dkim/human_result":      func(p *parser, s string) { last(p.record.row.Signatures).Human = s },
	"/feedback/record/auth_results/spf/human_result":       func(p *parser, s string) { last(p.record.row.Senders).Human = s },
	"/feedback/record/row/policy_evaluated/disposition":    word(func(p *parser) *string { return &p.record.row.Disposition }),
	"/feedback/record/row/policy_evaluated/reason/type":    word(func(p *parser) *string { return &last(p.record.row.Overrides).Type }),
	"/feedback/record/row/policy_evaluated/reason/comment": func(p *parser, s string) { last(p.record.row.Overrides).Comment = s },
}

// opens is the elements that begin another item of a list.
var opens = map[string]func(*record){
	"/feedback/record/auth_results/dkim":           func(r *record) { r.row.Signatures = append(r.row.Signatures, Signature{}) },
	"/feedback/record/auth_results/spf":            func(r *record) { r.row.Senders = append(r.row.Senders, Sender{}) },
	"/feedback/record/row/policy_evaluated/reason": func(r *record) { r.row.Overrides = append(r.row.Overrides, Override{}) },
}

func last[T any](list []T) *T { return &list[len(list)-1] }

// record is a row that is not yet read to its end.
type record struct {
	row           Row
	source, count string
	contradicts   string // an element that is there twice with two values
}

func (r *record) longest() int {
	return max(len(r.row.Signatures), len(r.row.Senders), len(r.row.Overrides))
}

// once takes the first text of an element; another one that differs is a contradiction.
func once(at func(*parser) *string) func(*parser, string) {
	return func(p *parser, s string) {
		switch field := at(p); *field {
		case "":
			*field = s
		case s:
		default:
			p.repeated()
		}
	}
}

func word(at func(*parser) *string) func(*parser, string) {
	set := once(at)
	return func(p *parser, s string) { set(p, strings.ToLower(s)) }
}

func name(at func(*parser) *string) func(*parser, string) {
	set := once(at)
	return func(p *parser, s string) { set(p, domainName(s)) }
}

func result(at func(*parser) *Result) func(*parser, string) {
	return func(p *parser, s string) {
		field, known := at(p), results[strings.ToLower(s)]
		switch {
		case known == "" && s != "":
			p.found(UnknownResult, p.here(), "%q is no result", s)
		case *field == "":
			*field = known
		case *field != known:
			p.repeated()
		}
	}
}

func (p *parser) repeated() {
	element := string(p.path[1:])
	if strings.HasPrefix(element, "feedback/record/") {
		p.record.contradicts = element
		return
	}
	p.found(RepeatedElement, element, "is there again with another value; the first one counts")
}

func (p *parser) reporterError(s string) {
	if s != "" && len(p.report.Errors) < p.limits.List {
		p.report.Errors = append(p.report.Errors, s)
	}
}

func (p *parser) here() string { return fmt.Sprintf("record %d", p.records) }

func (p *parser) found(kind Kind, where, format string, args ...any) {
	if len(p.report.Findings) >= p.limits.Findings {
		p.report.FindingsOmitted++
		return
	}
	p.report.Findings = append(p.report.Findings, Finding{Kind: kind, Where: where, Text: fmt.Sprintf(format, args...)})
}

// most is more than all mail of a day.
const most = 1_000_000_000_000

// endRecord hands a row out, if it can be true.
func (p *parser) endRecord() error {
	r := &p.record
	if kind, why := r.plausible(p.report.Policy.Domain); kind != "" {
		p.report.Left++
		p.found(kind, p.here(), "%s: the record is not counted", why)
		return nil
	}
	if p.report.Policy.Domain == "" {
		p.early[r.row.HeaderFrom] = true
		if len(p.early) > p.limits.List {
			return fault(Incomplete, "has records of more than %d domains before it says whose policy it is about", p.limits.List)
		}
	}
	p.report.Rows++
	p.report.Messages += r.row.Count
	return p.hand(r.row)
}

func (r *record) plausible(domain string) (Kind, string) {
	var errAddress, errCount error
	r.row.Source, errAddress = netip.ParseAddr(r.source)
	r.row.Source = r.row.Source.Unmap().WithZone("")
	r.row.Count, errCount = strconv.ParseInt(r.count, 10, 64)
	switch {
	case r.contradicts != "":
		return RepeatedElement, r.contradicts + " is there twice with two values"
	case errAddress != nil:
		return BadAddress, fmt.Sprintf("source_ip %q is no IP address", r.source)
	case errCount != nil:
		return BadCount, fmt.Sprintf("count %q is no number", r.count)
	case r.row.Count <= 0 || r.row.Count > most:
		return BadCount, fmt.Sprintf("count %d cannot be", r.row.Count)
	case r.row.HeaderFrom == "":
		return MissingAuthor, "header_from is missing"
	case domain != "" && !under(r.row.HeaderFrom, domain): // "": complete does it
		return WrongDomain, fmt.Sprintf("header_from %q is not under %q, whose policy it is about", r.row.HeaderFrom, domain)
	}
	return "", ""
}

// complete checks what a report has to say before it counts.
func (p *parser) complete(now time.Time) error {
	r := &p.report
	for _, must := range []struct{ element, text string }{
		{"org_name", r.Organisation},
		{"report_id", r.ID},
		{"policy_published/domain", r.Policy.Domain},
		{"date_range/begin", p.begin},
		{"date_range/end", p.end},
	} {
		if must.text == "" {
			return fault(Incomplete, "has no %s: nobody can say what it is about", must.element)
		}
	}
	for author := range p.early {
		if !under(author, r.Policy.Domain) {
			return fault(Incomplete, "has records of %q, which is not under %q, whose policy it is about", author, r.Policy.Domain)
		}
	}
	return p.period(now)
}

func (p *parser) period(now time.Time) error {
	r := &p.report
	begin, errBegin := strconv.ParseInt(p.begin, 10, 64)
	end, errEnd := strconv.ParseInt(p.end, 10, 64)
	if errBegin != nil || errEnd != nil {
		return fault(ImplausibleDates, "date_range %q to %q is not in seconds since 1970", p.begin, p.end)
	}
	first, latest := firstDraft.Unix(), now.Add(clockSkew).Unix()
	switch {
	case begin < first || end < first:
		return fault(ImplausibleDates, "date_range %d to %d is before there was DMARC (2012)", begin, end)
	case begin > latest || end > latest:
		return fault(ImplausibleDates, "date_range %d to %d is in the future", begin, end)
	case end < begin:
		return fault(ImplausibleDates, "date_range ends (%d) before it begins (%d)", end, begin)
	}
	r.Begin, r.End = time.Unix(begin, 0).UTC(), time.Unix(end, 0).UTC()
	if r.End.Sub(r.Begin) > longest {
		p.found(LongPeriod, "date_range", "covers %d days", int(r.End.Sub(r.Begin).Hours()/24))
	}
	return nil
}
