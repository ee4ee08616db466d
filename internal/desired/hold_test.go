// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var now = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func TestDMARCWaitsUntilItIsSafe(t *testing.T) {
	const none, quarantine = "v=DMARC1; p=none", "v=DMARC1; p=quarantine"
	later := now.Add(time.Hour)
	for name, c := range map[string]struct {
		value  string
		before *v1alpha1.RecordStatus
		seen   Evidence
		want   string // "" publishes
		look   time.Time
	}{
		"nobody knows yet what stands there":          {none, nil, Evidence{}, "waits until the authoritative servers", time.Time{}},
		"nothing stands there and nobody signs":       {none, nil, Evidence{Looked: true}, "until an RSA key signs", time.Time{}},
		"a key signs and there is no SPF to wait for": {quarantine, nil, Evidence{RSASigns: true}, "", time.Time{}},
		"a key signs, SPF is not verified":            {none, nil, Evidence{RSASigns: true, SPFWanted: true, Looked: true}, "until the SPF record is verified", time.Time{}},
		"a key signs, caches still hold the former SPF": {
			none, nil,
			Evidence{RSASigns: true, SPFWanted: true, SPFSettledAt: later, Looked: true},
			"caches have forgotten the former SPF record, 2026-11-23T05:00:00Z", later,
		},
		"a key signs and SPF has settled": {quarantine, nil, Evidence{RSASigns: true, SPFWanted: true, SPFSettledAt: now}, "", time.Time{}},
		"loosening is immediate":          {none, nil, Evidence{Looked: true, Standing: quarantine}, "", time.Time{}},
		"the same strictness is no tightening": {
			"v=DMARC1; p=quarantine; rua=mailto:a@example.org", nil, Evidence{Looked: true, Standing: quarantine}, "", time.Time{},
		},
		"tightening waits, whatever stands there": {quarantine, nil, Evidence{Looked: true, Standing: none}, "until an RSA key signs", time.Time{}},
		"garbage asks for nothing":                {none, nil, Evidence{Looked: true, Standing: "hello"}, "until an RSA key signs", time.Time{}},
		"what is published already is not held": {
			none, &v1alpha1.RecordStatus{Value: none, State: v1alpha1.RecordVerified}, Evidence{}, "", time.Time{},
		},
		"a stricter value waits though a looser one is published": {
			quarantine, &v1alpha1.RecordStatus{Value: none, State: v1alpha1.RecordVerified}, Evidence{Looked: true, Standing: none}, "until an RSA key signs", time.Time{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, look := Hold(Record{Value: c.value}, c.before, c.seen, now)
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || !look.Equal(c.look) {
				t.Errorf("held by %q until %s, want %q until %s", got, look, c.want, c.look)
			}
		})
	}
}
