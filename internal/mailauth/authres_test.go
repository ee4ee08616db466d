// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
)

func TestFieldsThatClaimToBeOurs(t *testing.T) {
	ours := []string{
		" mx.example.net; none",
		"mx.example.net;dkim=pass",
		" mx.example.net",
		" MX.Example.NET; spf=pass",
		" mx.example.net 1; dmarc=pass",
		"\r\n\tmx.example.net\r\n\t;\r\n spf=pass",
		" (mx.example.org) mx.example.net (a (nested \\) one)) 1 (b); none",
		"\t(\r\n fold)\r\n mx.example.net; none",
		` "mx.example.net"; none`,
		` "mx\.example\.net"; none`,
		" \" mx.example.net\r\n \"; none",
		" mx.example.net.; none",
		// Not as RFC 8601 has it, but somebody may read it so.
		" (a comment without end mx.example.net; dkim=pass",
		` "mx.example.net; dkim=pass`,
		" mx . example . net; dkim=pass",
		" mx.example.net dkim=pass",
		" mx.example.net, other.example; dkim=pass",
		" mx.example.net/1; dkim=pass",
		" =?utf-8?q?mx.example.net?=; dkim=pass",
		"; mx.example.net; dkim=pass",
		"mx.exa\\mple.net; none",
		// White space and letters that are none in ASCII, and that a reader may drop or map.
		"\u00a0mx.example.net; dkim=pass", "\u2003mx.example.net\u00a0; dkim=pass", "mx.exa\u200bmple.net; dkim=pass", "\uff4dx.example.net; dkim=pass",
		"\xffmx.example.net; dkim=pass", "\x7fmx.example.net; dkim=pass",
	}
	for _, value := range ours {
		if !ClaimsToBe(value, "mx.example.net") {
			t.Errorf("%q is left", value)
		}
	}
	for _, value := range []string{"\u00a0xn--bcher-kva.example; none", "bücher.example; none", "BÜCHER.example.; none", `"bücher.example"; none`} {
		if !ClaimsToBe(value, "xn--bcher-kva.example") {
			t.Errorf("%q is left", value)
		}
	}
	others := []string{
		// RFC 8601 Appendix B.2 to B.7.
		" example.org 1; none",
		" example.com;\r\n          spf=pass smtp.mailfrom=example.net",
		" example.com;\r\n          auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n          spf=pass smtp.mailfrom=example.net",
		" foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n" +
			"      policy (A dot can go here) . (like that) expired\r\n      (this surprised me) = (as I wasn't expecting it) 1362471462",
		// Names that only look like ours, and places where ours says nothing.
		" amx.example.net; none",
		" mx.example.net.evil.example; none",
		" example.net; none",
		" other.example; spf=pass (mx.example.net) smtp.mailfrom=mx.example.net",
		` other.example; x="; mx.example.net"`,
		" spf=pass smtp.mailfrom=example.org; dkim=none", // Microsoft writes none at all
		" bücher.example; none", " mx.exämple.net; none",
		"", " ", "(", `"`,
	}
	for _, value := range others {
		if ClaimsToBe(value, "mx.example.net") {
			t.Errorf("%q is taken away", value)
		}
	}
}

func TestNothingThatAMessageBroughtBreaksOut(t *testing.T) {
	evil := "x\r\nInjected: yes; dkim=pass (\"\\) header.d=victim.example \x00\xff" + strings.Repeat(" yyyyyyyy", 100)
	value := AuthResults("mx.example.net", Verdict{
		DKIM: []Signature{{Result: Fail, Reason: evil, Prefix: "a;b\"\\ c", Testing: true}},
		SPF:  []Sender{{Result: None, Reason: evil, Identity: MailFrom, Domain: evil}, {Result: Pass, Identity: HELO, Domain: evil}},
		DMARC: Author{
			Result: Fail, Reason: evil, Domain: "example.com", Policy: dmarc.Reject,
		},
	})
	for line := range strings.SplitSeq(strings.TrimPrefix(value, "mx.example.net;"), "\r\n") {
		if line != "" && line[0] != '\t' || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Errorf("%q", line)
		}
	}
	if strings.Contains(value, "dkim=pass") || strings.Contains(value, "victim.example;") {
		t.Error(value)
	}
	id, results, err := authres.Parse(value)
	if err != nil || id != "mx.example.net" || len(results) != 4 {
		t.Fatalf("%s %v %v\n%s", id, results, err, value)
	}
	if dkim, ok := results[0].(*authres.DKIMResult); !ok || dkim.Value != authres.ResultFail || dkim.Domain != "" {
		t.Errorf("%+v", results[0])
	}
	if from, ok := results[3].(*authres.DMARCResult); !ok || from.Value != authres.ResultFail || from.From != "example.com" {
		t.Errorf("%+v", results[3])
	}
}

func TestAnotherParserReadsOurField(t *testing.T) {
	v := judge(t, Envelope{Client: addrOf(t, "192.0.2.1"), HELO: "mail.example.com", MailFrom: "alice@example.com"}, forge(t, rsaTags, letter), at(t, "{rsa}"))
	value := AuthResults("mx.example.net", v)
	id, results, err := authres.Parse(value)
	if err != nil || id != "mx.example.net" || len(results) != 4 {
		t.Fatalf("%s %v %v\n%s", id, results, err, value)
	}
	if dkim, ok := results[0].(*authres.DKIMResult); !ok || dkim.Value != authres.ResultPass || dkim.Domain != "example.com" {
		t.Errorf("%+v", results[0])
	}
}

func TestNamesOfWhoJudges(t *testing.T) {
	for id, ok := range map[string]bool{"mx.example.net": true, "MX.example.net": false, "mx": false, "": false, "mx.example.net; dkim=pass": false, "bücher.example": false} {
		if err := CheckAuthservID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestTheBestSignatureSpeaksForAll(t *testing.T) {
	for _, tt := range []struct {
		results []Result
		want    Result
	}{
		{nil, None},
		{[]Result{Fail, Pass, TempError}, Pass},
		{[]Result{Fail, TempError}, TempError},
		{[]Result{PermError, Fail}, Fail},
		{[]Result{Neutral, PermError}, PermError},
		{[]Result{Neutral, Unacceptable}, Unacceptable},
		{[]Result{Neutral}, Neutral},
	} {
		var v Verdict
		for _, r := range tt.results {
			v.DKIM = append(v.DKIM, Signature{Result: r})
		}
		if got := v.Signed().Result; got != tt.want {
			t.Errorf("%v: %s, want %s", tt.results, got, tt.want)
		}
	}
}
