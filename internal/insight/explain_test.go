// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package insight_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarcreport"
	"github.com/maildomain-operator/maildomain-operator/internal/insight"
)

var (
	begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day   = insight.Period{Begin: begin, End: begin.Add(24 * time.Hour)}
	long  = begin.Add(-90 * 24 * time.Hour)
)

func known() insight.Domain {
	return insight.Domain{
		Name:     "acme.example",
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Selectors: []insight.Selector{
			{Name: "s1", Published: long},
			{Name: "old", Published: long, Revoked: begin.Add(-time.Hour)},
			{Name: "gone", Published: long, Withdrawn: begin.Add(time.Hour)},
			{Name: "new", Published: begin.Add(time.Hour)},
			{Name: "never"},
		},
		Services: []insight.Service{{Name: "Newsletters", Domains: []string{"news.example"}, Decided: true}},
		Lists:    []string{"lists.example"},
	}
}

const (
	home    = "192.0.2.7"
	foreign = "203.0.113.9"
)

// row reads "address dkim/spf signature… spf:sender… !override"; a signature is domain:selector=result.
func row(t *testing.T, text string) dmarcreport.Row {
	t.Helper()
	words := strings.Fields(text)
	r := dmarcreport.Row{Source: netip.MustParseAddr(words[0]), Count: 1, HeaderFrom: "acme.example"}
	dkim, spf, _ := strings.Cut(words[1], "/")
	r.DKIM, r.SPF = dmarcreport.Result(dkim), dmarcreport.Result(spf)
	for _, w := range words[2:] {
		if override, ok := strings.CutPrefix(w, "!"); ok {
			r.Overrides = append(r.Overrides, dmarcreport.Override{Type: override})
			continue
		}
		name, result, _ := strings.Cut(w, "=")
		if sender, ok := strings.CutPrefix(name, "spf:"); ok {
			r.Senders = append(r.Senders, dmarcreport.Sender{Domain: sender, Scope: "mfrom", Result: dmarcreport.Result(result)})
			continue
		}
		domain, selector, _ := strings.Cut(name, ":")
		r.Signatures = append(r.Signatures, dmarcreport.Signature{Domain: domain, Selector: selector, Result: dmarcreport.Result(result)})
	}
	return r
}

func TestEachRowHasOneClassAndCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, row string
		class     insight.Class
		cause     insight.Cause
	}{
		{"both pass", home + " pass/pass acme.example:s1=pass spf:acme.example=pass", insight.Aligned, insight.PassesBoth},
		{"DKIM alone", home + " pass/fail acme.example:s1=pass spf:bounce.example=pass", insight.Aligned, insight.PassesDKIM},
		{"SPF alone", home + " fail/pass spf:acme.example=pass", insight.Aligned, insight.PassesSPF},
		{"SPF alone beside a broken signature", home + " fail/pass acme.example:s1=fail spf:acme.example=pass", insight.Aligned, insight.PassesSPF},
		{"IPv6", "2001:db8::25 pass/pass acme.example:s1=pass spf:acme.example=pass", insight.Aligned, insight.PassesBoth},
		{"a service that may", foreign + " pass/fail acme.example:sg=pass news.example:a=pass", insight.Aligned, insight.ServicePasses},

		{"forwarded", foreign + " pass/fail acme.example:s1=pass spf:acme.example=fail", insight.Forwarded, insight.SignatureSurvived},
		{"forwarded with another envelope", foreign + " pass/fail acme.example:s1=pass spf:srs.example=pass", insight.Forwarded, insight.SignatureSurvived},
		{"forwarded, the reporter leaves the selector out", foreign + " pass/fail acme.example:=pass", insight.Forwarded, insight.SignatureSurvived},
		{"forwarded with a bad second signature", foreign + " pass/fail acme.example:new=permerror acme.example:s1=pass spf:acme.example=softfail", insight.Forwarded, insight.SignatureSurvived},

		{"a list that breaks the signature", foreign + " fail/fail acme.example:s1=fail group.example:l=pass spf:group.example=pass", insight.MailingList, insight.BrokenOnTheWay},
		{"a list that we know takes it away", foreign + " fail/fail lists.example:l=pass spf:lists.example=pass", insight.MailingList, insight.ListSaysSo},
		{"a list of which the receiver knows", foreign + " fail/fail group.example:l=pass !mailing_list", insight.MailingList, insight.ListSaysSo},
		{"our signature broken and nobody else's", foreign + " fail/fail acme.example:s1=fail !mailing_list", insight.Spoofed, insight.ClaimsOurSelector},

		{"no signature from home", home + " fail/fail spf:bounce.example=pass", insight.OwnUnsigned, insight.NotSigned},
		{"none is not fail", home + " fail/fail acme.example:s1=none spf:acme.example=none", insight.OwnUnsigned, insight.SignedByAnother},
		{"a selector that we never had", home + " fail/fail acme.example:default=fail", insight.OwnUnsigned, insight.SignedByAnother},
		{"another domain signs at home", home + " fail/fail hoster.example:x=pass", insight.OwnUnsigned, insight.NotSigned},

		{"changed after signing", home + " fail/fail acme.example:s1=fail spf:acme.example=softfail", insight.OwnBroken, insight.ChangedAfterSigning},
		{"changed, no selector said", home + " fail/fail acme.example:=fail", insight.OwnBroken, insight.ChangedAfterSigning},
		{"one broken, one not to be had", home + " fail/fail acme.example:s1=fail acme.example:s1=permerror", insight.OwnBroken, insight.ChangedAfterSigning},
		{"policy", home + " fail/fail acme.example:s1=policy", insight.OwnBroken, insight.ChangedAfterSigning},

		{"revoked", home + " fail/fail acme.example:old=permerror", insight.OwnKeyMissing, insight.KeyRevoked},
		{"revoked, told as fail", home + " fail/fail acme.example:old=fail", insight.OwnKeyMissing, insight.KeyRevoked},
		{"too early", home + " fail/fail acme.example:new=permerror", insight.OwnKeyMissing, insight.NotYetPublished},
		{"never published", home + " fail/fail acme.example:never=permerror", insight.OwnKeyMissing, insight.NotYetPublished},
		{"withdrawn", home + " fail/fail acme.example:gone=permerror", insight.OwnKeyMissing, insight.WithdrawnTooEarly},
		{"no answer", home + " fail/fail acme.example:s1=temperror", insight.OwnKeyMissing, insight.NoAnswer},
		{"no key", home + " fail/fail acme.example:s1=permerror", insight.OwnKeyMissing, insight.KeyNotFound},

		{"SPF passes elsewhere", foreign + " fail/pass spf:acme.example=pass", insight.OwnUnknownHost, insight.SPFCoversIt},
		{"SPF and DKIM pass elsewhere", foreign + " pass/pass acme.example:s1=pass spf:acme.example=pass", insight.OwnUnknownHost, insight.SPFCoversIt},
		{"a key that is not ours passes", foreign + " pass/fail acme.example:k1=pass spf:saas.example=pass", insight.OwnUnknownHost, insight.SelectorNotOurs},
		{"an envelope of ours without SPF", foreign + " pass/fail acme.example:s1=pass spf:app.acme.example=none", insight.OwnUnknownHost, insight.EnvelopeWithoutSPF},

		{"a well-known service", foreign + " fail/fail sendgrid.net:s=pass spf:sendgrid.net=pass", insight.ThirdParty, insight.UnalignedService},
		{"a service by SPF alone", foreign + " fail/fail spf:eu-west-1.amazonses.com=pass", insight.ThirdParty, insight.UnalignedService},
		{"a service that may, and does not align", foreign + " fail/fail news.example:a=pass", insight.ThirdParty, insight.UnalignedService},

		{"nothing", foreign + " fail/fail", insight.Spoofed, insight.NothingOurs},
		{"SPF fails for us", foreign + " fail/fail spf:acme.example=fail", insight.Spoofed, insight.NothingOurs},
		{"passes for itself", foreign + " fail/fail evil.example:x=pass spf:evil.example=pass", insight.Spoofed, insight.OthersPass},
		{"our selector is easy to write", foreign + " fail/fail acme.example:s1=fail spf:acme.example=fail", insight.Spoofed, insight.ClaimsOurSelector},
		{"our revoked selector, too", foreign + " fail/fail acme.example:old=permerror", insight.Spoofed, insight.ClaimsOurSelector},
		{"a name that ends like ours", foreign + " fail/fail evil-acme.example:s1=pass", insight.Spoofed, insight.OthersPass},
		{"a service's name at the end of another's", foreign + " fail/fail evilsendgrid.net:s1=pass", insight.Spoofed, insight.OthersPass},
		{"words that nobody knows", foreign + " maybe/maybe acme.example:s1=", insight.Spoofed, insight.ClaimsOurSelector},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := insight.Explain(row(t, c.row), day, known())
			if e.Class != c.class || e.Cause != c.cause {
				t.Errorf("%s: %s/%s, want %s/%s", c.row, e.Class, e.Cause, c.class, c.cause)
			}
			if e.Sentence == "" || strings.ContainsAny(e.Sentence+e.Next, "{}") || e.Class.Ours() && e.Next == "" {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestAnOutageExplainsMissingKeysOfThatDay(t *testing.T) {
	t.Parallel()
	domain := known()
	domain.Outages = []insight.Outage{{Begin: begin.Add(time.Hour), End: begin.Add(2 * time.Hour)}}
	for result, want := range map[string]insight.Cause{"temperror": insight.OurServersDown, "permerror": insight.OurServersDown, "fail": insight.ChangedAfterSigning} {
		if got := insight.Explain(row(t, home+" fail/fail acme.example:s1="+result), day, domain).Cause; got != want {
			t.Errorf("%s: %s, want %s", result, got, want)
		}
	}
	later := insight.Period{Begin: day.End, End: day.End.Add(24 * time.Hour)}
	if got := insight.Explain(row(t, home+" fail/fail acme.example:s1=temperror"), later, domain).Cause; got != insight.NoAnswer {
		t.Errorf("the next day: %s", got)
	}
}

func TestWithoutKnowledgeNothingIsCalledOurs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]insight.Class{
		home + " pass/pass acme.example:s1=pass spf:acme.example=pass": insight.Aligned,
		home + " fail/pass spf:acme.example=pass":                      insight.Aligned,
		home + " pass/fail acme.example:s1=pass spf:acme.example=fail": insight.Forwarded,
		home + " fail/fail":                                              insight.Spoofed,
		home + " fail/fail acme.example:s1=fail":                         insight.Spoofed,
		foreign + " fail/fail sendgrid.net:s=pass":                       insight.ThirdParty,
		foreign + " fail/fail acme.example:s1=fail lists.example:a=pass": insight.MailingList,
	} {
		if got := insight.Explain(row(t, text), day, insight.Domain{Name: "acme.example"}); got.Class != want {
			t.Errorf("%s: %+v, want %s", text, got, want)
		}
	}
}

func TestEveryClassIsListed(t *testing.T) {
	t.Parallel()
	if n := len(insight.Classes()); n != 9 {
		t.Errorf("%d classes", n)
	}
}
