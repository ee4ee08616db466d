// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package insight

import "strings"

// Cause is why a row has its class; tools may rely on the words.
type Cause string

// The causes.
const (
	PassesBoth          Cause = "PassesBoth"
	PassesDKIM          Cause = "PassesDKIM"
	PassesSPF           Cause = "PassesSPF"
	ServicePasses       Cause = "ServicePasses"
	SignatureSurvived   Cause = "SignatureSurvived"
	ListSaysSo          Cause = "ListSaysSo"
	BrokenOnTheWay      Cause = "BrokenOnTheWay"
	NotSigned           Cause = "NotSigned"
	SignedByAnother     Cause = "SignedByAnother"
	ChangedAfterSigning Cause = "ChangedAfterSigning"
	NotYetPublished     Cause = "NotYetPublished"
	KeyRevoked          Cause = "KeyRevoked"
	WithdrawnTooEarly   Cause = "WithdrawnTooEarly"
	OurServersDown      Cause = "OurServersDown"
	NoAnswer            Cause = "NoAnswer"
	KeyNotFound         Cause = "KeyNotFound"
	SPFCoversIt         Cause = "SPFCoversIt"
	SelectorNotOurs     Cause = "SelectorNotOurs"
	EnvelopeWithoutSPF  Cause = "EnvelopeWithoutSPF"
	UnalignedService    Cause = "UnalignedService"
	ClaimsOurSelector   Cause = "ClaimsOurSelector"
	OthersPass          Cause = "OthersPass"
	NothingOurs         Cause = "NothingOurs"
)

// words are the sentence and the next step of each cause. {source}, {domain}, {selector}, {other} and {setting} are filled in.
var words = map[Cause]struct{ sentence, next string }{
	PassesBoth:    {"Signed by {domain} and sent from where its SPF record says: as it should be.", ""},
	PassesDKIM:    {"Signed by {domain}; SPF passed for no name of yours, which DKIM makes up for.", ""},
	PassesSPF:     {"SPF passed for {domain}; no signature did, so this mail fails as soon as somebody forwards it.", "Have what sends from {source} sign, too."},
	ServicePasses: {"{other} sends for you and passes for {domain}: as it should be.", ""},

	SignatureSurvived: {"Somebody at {source} forwards mail of yours; your signature came through, so it passes DMARC.", ""},
	ListSaysSo:        {"A mailing list at {other} passed mail on and changed it, so that your signature no longer counts.", "Nothing on your side; before p=reject, consider that members of lists would lose such mail (RFC 9989 §7.4)."},
	BrokenOnTheWay:    {"{other} passed mail on that names your selector {selector}, and changed it, as mailing lists do.", "Nothing on your side; before p=reject, consider that members of lists would lose such mail (RFC 9989 §7.4)."},

	NotSigned:           {"{source} is yours and sends mail of {domain} without a signature: something goes past the milter.", "Run `milter probe` on the MTA there, and give the way that it names to the signing socket."},
	SignedByAnother:     {"{source} is yours, and signs for {domain} with the selector {selector}, which is none of your keys.", "Find the program there that signs (an OpenDKIM of old?), and send its mail through the milter instead."},
	ChangedAfterSigning: {"{source} is yours and signed with {selector}, but receivers find the signature bad: something changes mail after it is signed.", "Look for what comes after the milter there: a footer, a virus scanner, a relay that rewrites; let the milter be last."},
	NotYetPublished:     {"{source} signed with {selector} before receivers could see its key.", "Find out who signs there with a key that the operator had not yet handed out."},
	KeyRevoked:          {"{source} signed with {selector} after that key was revoked.", "Find the signer there that still has the old key: `kubectl get dkimkeys` names the one that signs now."},
	WithdrawnTooEarly:   {"Mail that {source} had signed with {selector} arrived after the key was withdrawn.", "Keep keys published for longer after their last signature: spec.dkim.rotation."},
	OurServersDown:      {"Receivers could not get the key {selector}: your name servers did not answer at that time.", "Nothing, if they are well again; else look at the DNSProvider."},
	NoAnswer:            {"Receivers could not get the key {selector}: the DNS did not answer them.", "Nothing, if it passes by itself; if it lasts, ask your name servers from outside."},
	KeyNotFound:         {"{source} signed with {selector}, and receivers found no usable key there.", "Look at {selector}._domainkey.{domain}: it has to be the key that signs."},

	SPFCoversIt:        {"{source} passes SPF for {domain}, and is none of the addresses that you are known to send from: a forgotten sender.", "If it is yours, add it to spec.dmarc.ownNetworks and have it sign; if not, take it out of the SPF record."},
	SelectorNotOurs:    {"{source} signs for {domain} with the selector {selector}, which the operator does not manage: a forgotten sender has a key.", "Find out whose key that is; remove {selector}._domainkey.{domain} if nobody may use it."},
	EnvelopeWithoutSPF: {"{source} has a key of {domain} and sends bounces to a name of yours that has no SPF record: a forgotten sender.", "If it is yours, add it to spec.dmarc.ownNetworks and give that name an SPF record."},

	UnalignedService: {"A service ({other}) sends mail in your name and passes for itself alone, so that it fails DMARC for {domain}.", "{setting}"},

	ClaimsOurSelector: {"{source} is not yours; its mail names your selector {selector}, but the signature does not hold, so it proves nothing.", "Nothing: your policy is made for this."},
	OthersPass:        {"{source} is not yours; its mail passes for {other} alone and says that it is from {domain}.", "Nothing, unless {other} sends for you: then say so, and have it sign as {domain}."},
	NothingOurs:       {"{source} is not yours, and nothing in its mail proves that it may be from {domain}.", "Nothing: your policy is made for this."},
}

func (c Cause) explain(class Class, f *facts) Explanation {
	setting := "If it may send for you, have it sign as {domain} (its name for that: custom domain, domain authentication, DKIM), then it passes."
	if f.service != nil && f.service.Setting != "" {
		setting = f.service.Setting
	}
	fill := strings.NewReplacer("{source}", f.row.Source.String(), "{domain}", f.domain.Name, "{selector}", or(f.selector, "of no name"), "{other}", or(f.other, "another domain"))
	w := words[c]
	next := w.next
	if next == "{setting}" {
		next = setting
	}
	return Explanation{Class: class, Cause: c, Sentence: fill.Replace(w.sentence), Next: fill.Replace(next)}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// wellKnown services pass for a domain of their own until somebody tells them to sign as the customer's.
var wellKnown = []Service{
	{Name: "Amazon SES", Domains: []string{"amazonses.com"}, Setting: "In Amazon SES, verify {domain} as an identity with Easy DKIM, and set a custom MAIL FROM domain."},
	{Name: "Google Workspace", Domains: []string{"gappssmtp.com"}, Setting: "In Google's Admin console, under Gmail, Authenticate email, make a key for {domain} and start authentication."},
	{Name: "HubSpot", Domains: []string{"hubspotemail.net"}, Setting: "In HubSpot, connect {domain} as an email sending domain."},
	{Name: "Mailchimp", Domains: []string{"mcsv.net", "mcdlv.net", "rsgsv.net", "mandrillapp.com"}, Setting: "In Mailchimp, under Domains, authenticate {domain}."},
	{Name: "Mailgun", Domains: []string{"mailgun.org"}, Setting: "In Mailgun, send through {domain} or a sub-domain of it, not through the sandbox."},
	{Name: "Microsoft 365", Domains: []string{"onmicrosoft.com"}, Setting: "In Microsoft Defender, under Email authentication settings, enable DKIM for {domain}."},
	{Name: "Postmark", Domains: []string{"mtasv.net"}, Setting: "In Postmark, under Sender Signatures, verify {domain} with DKIM and Return-Path."},
	{Name: "Salesforce", Domains: []string{"salesforce.com", "exacttarget.com"}, Setting: "In Salesforce Setup, under DKIM Keys, make one for {domain}."},
	{Name: "SendGrid", Domains: []string{"sendgrid.net", "sendgrid.info"}, Setting: "In SendGrid, under Sender Authentication, authenticate {domain}."},
	{Name: "Zendesk", Domains: []string{"zendesk.com"}, Setting: "In Zendesk, under Email, enable the DKIM signature of {domain}."},
}
