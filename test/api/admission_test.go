// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/rotation"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
)

// What admission lets pass, the operator's own parser must be able to read: or a person is told too late, in a status.
// The other way round is free: admission may be stricter.
func TestWhatAdmissionAcceptsTheOperatorCanRead(t *testing.T) {
	for _, tc := range []struct {
		name   string
		good   string // texts that are admitted, with | between them
		patch  string // of a MailDomain, with %q for the text
		text   string // regular expression of texts that look right
		parse  func(string) error
		excuse string // an error that no regular expression can foresee
	}{
		{
			"domain", "example.org|bücher.example|xn--bcher-kva.example", `spec: {domain: %q}`, `(a|ü|xn--bcher-kva|A1|-|_|1|\.|b-c|пример|\*){1,4}(\.(org|рф|e|1|))`,
			func(s string) error { _, err := dnsrecord.ParseDomain(s); return err }, "not a valid internationalised name",
		},
		{
			"selector", "m1|2019|a-b", `spec: {dkim: {revokedSelectors: [%q]}}`, `[a-z0-9._A-]{1,5}`,
			dkim.CheckSelector, "",
		},
		{
			"mechanism", "mx|a:mail.example.org|ip4:192.0.2.0/24|ip6:2001:db8::/32|include:_spf.example.net|-exists:%{i}.x.org", `spec: {spf: {mechanisms: [%q]}}`,
			`[-+?~]?(a|mx|ptr|include|exists|ip4|ip6|all)[:/=]?(example\.org|192\.0\.2\.1|2001:db8::|_spf\.example\.net|\.|/|-|%|%%|(%\{[icd][0-9]?r?[-.+]?\}\.x)?(\.org)?|a){0,2}(/[0-9]{1,3})?(//[0-9]{1,3})?`,
			func(s string) error {
				_, err := spf.New([]string{s}, spf.SoftFail)
				return err
			}, "",
		},
		{
			"report address", "mailto:a@example.org|https://example.org/dmarc?x=y", `spec: {dmarc: {policy: None, aggregateReportsTo: [%q]}}`,
			`(mailto:a@|https://|(mailto:|https://|http://|)(a|a@b|a%2Cb|a%21b|a!b|a.b|..|%|ü|;|,|"x y")?@?)(example\.org|bücher\.example|x|192\.0\.2\.1)(/path|\?a=b|!10m|:8443/x|:x)?`,
			func(s string) error { _, err := dmarc.ParseReportURI(s); return err }, "",
		},
		{
			"schedule", "0 4 1 */3 *|15 3 * * 1-5", `spec: {dkim: {rotation: {schedule: %q}}}`,
			`((\*|\?|[0-9]{1,2}|[0-6]|1?[0-9]-[12]?[0-9])(/[0-9]{1,2})?(,[0-9])? ){4}(\*|[0-7]|MON|sun-TUE|1-5)`,
			func(s string) error {
				_, err := rotation.ParseSchedule(s, "", time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC))
				return err
			}, "beyond end of range|never fires",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, accepted := newClient(t), 0
			// Half of the texts are known to be good, so that the other half cannot make the test an empty one by chance.
			texts := rapid.OneOf(rapid.StringMatching(tc.text), rapid.SampledFrom(strings.Split(tc.good, "|")))
			rapid.Check(t, func(rt *rapid.T) {
				text := texts.Draw(rt, "text")
				err := c.Create(t.Context(), object(t, mailDomain, fmt.Sprintf(tc.patch, text)), client.DryRunAll)
				if apierrors.IsInvalid(err) {
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				accepted++
				if err := tc.parse(text); err != nil && !excused(err, tc.excuse) {
					rt.Errorf("admitted %q, but: %v", text, err)
				}
			})
			if accepted < 5 {
				t.Errorf("only %d texts were admitted: the test proves nothing", accepted)
			}
		})
	}
}

func excused(err error, excuse string) bool {
	for part := range strings.SplitSeq(excuse, "|") {
		if part != "" && strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
}
