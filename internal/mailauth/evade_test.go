// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// victim asks to reject what is forged; its forgers have servers of their own.
const victim = "_dmarc.victim.example. TXT \"v=DMARC1; p=reject\"\n"

// mustBeForged says that a forger did not get around the policy of whom he claims to be.
func mustBeForged(t *testing.T, v Verdict, author dnsrecord.Name) {
	t.Helper()
	if v.DMARC.Result != Fail || v.DMARC.Policy != dmarc.Reject || v.DMARC.Domain != author {
		t.Errorf("%+v", v.DMARC)
	}
}

func TestNoPaddingHidesTheAuthor(t *testing.T) {
	for name, from := range map[string][]string{"one From field": {" a@victim.example"}, "many": {" a@victim.example", " b@victim.example", " c@victim.example"}} {
		j := NewJudgement(Envelope{})
		for range 20 {
			j.Header("X-Padding", []byte(strings.Repeat("x", 100<<10)))
		}
		for _, value := range from {
			j.Header("From", []byte(value))
		}
		v := j.Verdict(t.Context(), parseZone(t, victim), judgeNow)
		if n := j.Size(); n > maxKept+2*fieldCost+100 {
			t.Errorf("%s: %d octets are kept", name, n)
		}
		switch {
		case len(from) == 1:
			mustBeForged(t, v, "victim.example")
		case v.DMARC.Result != PermError || !strings.Contains(v.DMARC.Reason, "several From fields"):
			t.Errorf("%+v", v.DMARC)
		}
	}
}

func TestNoQuestionsOfAForgerUseUpThoseOfThePolicy(t *testing.T) {
	z := parseZone(t, victim+"evil.example. TXT \"v=spf1 mx:a.evil.example mx:b.evil.example mx:c.evil.example mx:d.evil.example mx:e.evil.example "+
		"mx:f.evil.example mx:g.evil.example mx:h.evil.example mx:i.evil.example -all\"\n"+manyMX())
	message := strings.Replace(letter, "Alice <alice@example.com>", "a@victim.example", 1)
	for i := range maxSignatures {
		message = forge(t, strings.Replace(edTags, "d=example.com", fmt.Sprintf("d=a.b.c.d.e.f.g%d.evil.example", i), 1), message)
	}
	v := judge(t, Envelope{Client: addrOf(t, "192.0.2.1"), HELO: "evil.example", MailFrom: "x@evil.example"}, message, z)
	if v.SPF[1].Result != TempError {
		t.Errorf("the forger asks for too little: %+v", v.SPF)
	}
	mustBeForged(t, v, "victim.example")
}

// tarpit is a DNS that never answers for what lies below slow.example. The patience of who asks ends when some names were asked for.
type tarpit struct {
	zone

	names []string
	left  *atomic.Int32 // of names
	end   context.CancelFunc
}

func (p tarpit) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.HasSuffix(name, "slow.example") {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if slices.Contains(p.names, name) && p.left.Add(-1) == 0 {
		p.end()
	}
	return p.zone.LookupTXT(ctx, name)
}

func TestNoServersOfAForgerTakeTheTimeOfThePolicy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // It is over when the policy was asked for.
	defer cancel()
	message := strings.Replace(letter, "Alice <alice@example.com>", "a@slow.example, b@shop.victim.example", 1)
	message = forge(t, strings.Replace(edTags, "d=example.com", "d=victim.example", 1), message) // The last to be judged.
	for range maxSignatures - 1 {
		message = forge(t, strings.Replace(edTags, "d=example.com", "d=slow.example", 1), message)
	}
	j := NewJudgement(Envelope{Client: addrOf(t, "192.0.2.1"), HELO: "slow.example", MailFrom: "x@slow.example"})
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	for _, f := range split(header) {
		j.Header(f.name, []byte(f.value))
	}
	j.Body([]byte(body))
	dns := tarpit{parseZone(t, victim), []string{"_dmarc.victim.example", "_dmarc.example", "sel._domainkey.victim.example"}, new(atomic.Int32), cancel}
	dns.left.Store(3)
	v := j.Verdict(ctx, dns, judgeNow)
	if v.DKIM[0].Result != TempError || v.Sent().Result != TempError || v.DKIM[maxSignatures-1].Result != PermError {
		t.Errorf("%+v %+v", v.DKIM, v.SPF)
	}
	mustBeForged(t, v, "shop.victim.example")
}
