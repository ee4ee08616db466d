// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// txt answers by selector.
type txt map[string]func() ([]string, error)

func (z txt) LookupTXT(_ context.Context, name string) ([]string, error) {
	selector, _, _ := strings.Cut(name, "._domainkey.")
	if f := z[selector]; f != nil {
		return f()
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func says(texts ...string) func() ([]string, error) {
	return func() ([]string, error) { return texts, nil }
}

func TestAKeyThatPublicDNSContradictsSignsOnlyWhereNoOtherCan(t *testing.T) {
	record := func(i int) string { return pair(t, i).Record().String() }
	silent := func() ([]string, error) { return nil, &net.DNSError{Err: "timeout", IsTimeout: true} }
	for name, tt := range map[string]struct {
		dns    txt
		signs  []string
		unused string // why e1 is, if it is
	}{
		"all are shown":                     {txt{"r1": says(record(rsa1)), "e1": says(record(ed1))}, []string{"r1", "e1"}, ""},
		"one is not there":                  {txt{"r1": says(record(rsa1))}, []string{"r1"}, "public DNS has no record of it"},
		"one is revoked":                    {txt{"r1": says(record(rsa1)), "e1": says(dkim.RevokedRecord(dkim.Ed25519).String())}, []string{"r1"}, "public DNS has it revoked"},
		"one has another key":               {txt{"r1": says(record(rsa1)), "e1": says(record(ed2))}, []string{"r1"}, "public DNS has another key at its selector"},
		"one cannot be read":                {txt{"r1": says(record(rsa1)), "e1": says("v=DKIM1; p=!")}, []string{"r1"}, "its record in public DNS cannot be read"},
		"of one nothing is known":           {txt{"r1": says(record(rsa1)), "e1": silent}, []string{"r1", "e1"}, ""},
		"one has several records":           {txt{"r1": says(record(rsa1)), "e1": says("a", "b")}, []string{"r1", "e1"}, ""},
		"no RSA key is shown":               {txt{"e1": says(record(ed1))}, []string{"r1", "e1"}, ""},
		"of the RSA key nothing is known":   {txt{"r1": silent}, []string{"r1", "e1"}, ""},
		"nothing is there":                  {txt{}, []string{"r1", "e1"}, ""},
		"the resolver fails in another way": {txt{"r1": func() ([]string, error) { return nil, errors.New("boom") }}, []string{"r1", "e1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			live := &Live{}
			tree := files(t, domain(t, "example.org", key(t, "r1", rsa1), key(t, "e1", ed1)))
			live.Apply(source(tree), testNow)
			p := Publication{Live: live, Resolver: tt.dns, Every: time.Hour, Log: slog.New(slog.DiscardHandler)}
			p.compareAll(t.Context())
			for _, when := range []string{"after the comparison", "after the next reading"} {
				if diff := cmp.Diff(map[dnsrecord.Name][]string{"example.org": tt.signs}, selectorsOf(live.Table())); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
				live.Apply(source(tree), testNow)
			}
			keys := live.Table().Report(testNow).Domains[0].Keys
			if len(keys) != 2 || keys[0].Unused != "" || keys[1].Unused != tt.unused {
				t.Errorf("report: %+v", keys)
			}
		})
	}
}

func TestAnAnswerHoldsUntilTheNextThatSaysSomething(t *testing.T) {
	live := &Live{}
	live.Apply(source(files(t, domain(t, "example.org", key(t, "r1", rsa1), key(t, "e1", ed1)))), testNow)
	shown, silent := says(pair(t, ed1).Record().String()), func() ([]string, error) { return nil, errors.New("silent") }
	zone := txt{"r1": says(pair(t, rsa1).Record().String())}
	p := Publication{Live: live, Resolver: zone, Log: slog.New(slog.DiscardHandler)}
	for _, step := range []struct {
		e1   func() ([]string, error)
		want int
	}{{silent, 2}, {nil, 1}, {silent, 1}, {shown, 2}, {silent, 2}, {nil, 1}} {
		zone["e1"] = step.e1
		p.compareAll(t.Context())
		if got := selectorsOf(live.Table())["example.org"]; len(got) != step.want {
			t.Errorf("%v sign, want %d", got, step.want)
		}
	}
}

func TestKeysAreComparedAtOnceAndNoMoreAfterTheEnd(t *testing.T) {
	live := &Live{}
	live.Apply(source(files(t, domain(t, "example.org", key(t, "r1", rsa1)), domain(t, "example.net", key(t, "r2", rsa2)))), testNow)
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	end := func() ([]string, error) { asked++; cancel(); return nil, ctx.Err() }
	Publication{Live: live, Resolver: txt{"r1": end, "r2": end}, Every: time.Hour, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
