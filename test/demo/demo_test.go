// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

func plainScreen(out *bytes.Buffer) *screen {
	began := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	return &screen{out: out, width: 40, started: began, now: func() time.Time { return began.Add(1500 * time.Millisecond) }}
}

func TestTheScreenIsPlainTextThatFits(t *testing.T) {
	var out bytes.Buffer
	s := plainScreen(&out)
	s.begin("Begin")
	s.wait("never seen where nothing can be written over")
	s.ok("a sentence that is longer than one line of this screen")
	s.command("run --with many --options of --some length", "why")
	s.quote(red, "first\r\nsecond that is too long for the width of the screen\n")
	want := `
1  Begin                           1.5 s
   ✓ a sentence that is longer than one
     line of this screen
   $ run --with many --options of \
       --some length   # why
   │ first
   │ second that is too long for the wi…
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error("the screen (-want +got):\n" + diff)
	}
}

func TestNothingButATerminalGetsColours(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if s := newScreen(file); s.colour || s.live {
		t.Error("a file is taken for a terminal")
	}
}

func TestTheManifestIsOfOurKindsAndNamesTheMount(t *testing.T) {
	var domain v1alpha1.MailDomain
	if err := yaml.UnmarshalStrict([]byte(mailDomainYAML), &domain); err != nil {
		t.Fatal(err)
	}
	if domain.Name != domainKey.Name || domain.Namespace != domainKey.Namespace || domain.Spec.Domain != zone {
		t.Errorf("%s/%s is of %s", domain.Namespace, domain.Name, domain.Spec.Domain)
	}
	if domain.SigningSecret() != signingSecret {
		t.Errorf("the signing Secret is %s, and %s is mounted", domain.SigningSecret(), signingSecret)
	}
}

func TestALongRecordIsCutInItsMiddle(t *testing.T) {
	rr, err := dns.NewRR(`sel._domainkey.example.org. 300 IN TXT "v=DKIM1; p=` + strings.Repeat("A", 100) + `QIDAQAB"`)
	if err != nil {
		t.Fatal(err)
	}
	got := columns(rr, 30, 80)
	if utf8.RuneCountInString(got) != 80 || !strings.HasPrefix(got, `sel._domainkey.example.org.    300 IN TXT "v=DKIM1; p=A`) ||
		!strings.HasSuffix(got, `QIDAQAB"`) {
		t.Errorf("%d columns: %s", utf8.RuneCountInString(got), got)
	}
}

func TestForeignRecordsAreComparedByTheirOctets(t *testing.T) {
	records := parseZone()
	if len(records) != strings.Count(zoneText, "\n") {
		t.Fatalf("%d records are read from zone.txt:\n%s", len(records), zoneText)
	}
	for _, change := range []func(dns.RR){
		func(rr dns.RR) { rr.Header().Ttl++ },
		func(rr dns.RR) {
			if txt, ok := rr.(*dns.TXT); ok {
				txt.Txt = []string{strings.Join(txt.Txt, "")} // the same text, in other character-strings
			}
		},
	} {
		changed := dns.Copy(records[0])
		change(changed)
		if wire(changed) == wire(records[0]) {
			t.Errorf("%s passes for %s", changed, records[0])
		}
	}
}

func TestSignaturesAreReadAsTheySayOfThemselves(t *testing.T) {
	got := signaturesOf([]byte("DKIM-Signature: v=1; a=rsa-sha256; d=example.org;\r\n\ts=m1; b=a=b==\r\nFrom: a\r\nDKIM-signature: a=x; s=m2\r\n\r\nd=other\r\n"))
	for i := range got {
		got[i].field = ""
	}
	want := []signature{{algorithm: "rsa-sha256", domain: "example.org", selector: "m1"}, {algorithm: "x", selector: "m2"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(signature{})); diff != "" {
		t.Error("signatures (-want +got):\n" + diff)
	}
}

func TestAProgramThatEndsByItselfIsTold(t *testing.T) {
	told := make(chan error, 1)
	p, err := start(t.Context(), t.TempDir(), "/bin/sh", nil, func(err error) { told <- err }, "-c", "echo why; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-told; !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("told: %v", err)
	}
	if diff := cmp.Diff([]string{"why"}, tail(p.log, 5)); diff != "" {
		t.Error("its log (-want +got):\n" + diff)
	}
	if err := p.stop(); err == nil {
		t.Error("stop says that it ended well")
	}
}

func TestAProgramOutlivesTheStory(t *testing.T) {
	story, end := context.WithCancel(t.Context())
	sign := filepath.Join(t.TempDir(), "sign")
	script := "trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; [ -e " + sign + " ] && echo lives; done"
	p, err := start(story, t.TempDir(), "/bin/sh", nil, func(err error) { t.Error(err) }, "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	end()
	if err := os.WriteFile(sign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Twice: had the end of the story ended it, the second word would not come.
	if err := poll(t.Context(), func() (bool, error) { return len(tail(p.log, 2)) == 2, nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lives", "lives"}, tail(p.log, 9)[:2]); diff != "" {
		t.Error("programs end in their order (-want +got):\n" + diff)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if log := tail(p.log, 1); log[0] != "ended" {
		t.Errorf("it was not asked to end: %q", log)
	}
}
