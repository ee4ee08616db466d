// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"

	// Time zones are data that a scratch image does not have.
	_ "time/tzdata"
)

// Policy is what the MailDomain asks for. A domain without DKIM has no Keys: then nothing signs.
type Policy struct {
	Keys      []WantedKey
	Selectors Selectors
	// RotateAt is the moment from which a key that began to sign earlier is to be replaced; zero: no rotation is due.
	RotateAt time.Time
}

// WantedKey is one algorithm with which every message is signed. Bits is 0 for Ed25519.
type WantedKey struct {
	Algorithm dkim.Algorithm
	Bits      int
}

func (p Policy) wants(a dkim.Algorithm) bool {
	return slices.ContainsFunc(p.Keys, func(w WantedKey) bool { return w.Algorithm == a })
}

// replaces tells whether the key that signs has to make way.
func (p Policy) replaces(want WantedKey, incumbent Key, now time.Time) bool {
	due := !p.RotateAt.IsZero() && !now.Before(p.RotateAt) && incumbent.SigningSince.Before(p.RotateAt)
	return due || incumbent.Deleting || !incumbent.KeyPair || !want.fits(incumbent)
}

// fits tells whether the key is of the wanted size. An adopted key fits whatever its size: it signs today.
func (w WantedKey) fits(k Key) bool { return k.Adopted || k.Bits == w.Bits }

// Selectors says how new selectors are named: a ring of fixed names, or else a prefix.
type Selectors struct {
	Prefix string
	Ring   []string
	// Used are selectors that may not be given again, whoever used them: RFC 6376 §3.1 has verifiers
	// and senders confuse two keys that ever shared a selector.
	Used []string
}

// next names the next selector: <prefix><date><letter of the algorithm>, with a counter on a clash.
func (s Selectors) next(a dkim.Algorithm, now time.Time, taken map[string]bool) (string, bool) {
	if len(s.Ring) > 0 {
		i := slices.IndexFunc(s.Ring, func(name string) bool { return !taken[name] })
		if i < 0 {
			return "", false
		}
		return s.Ring[i], true
	}
	base := s.Prefix + now.UTC().Format("20060102") + a.KeyType()[:1]
	for n, name := 2, base; ; n++ {
		if !taken[name] {
			return name, true
		}
		name = fmt.Sprintf("%s%d", base, n)
	}
}

func takenSelectors(policy Policy, keys []Key) map[string]bool {
	taken := map[string]bool{}
	for _, s := range policy.Selectors.Used {
		taken[s] = true
	}
	for _, k := range keys {
		taken[k.Selector] = true
	}
	return taken
}

// Schedule is when a person wants keys replaced.
type Schedule struct{ cron cron.Schedule }

// ParseSchedule reads five cron fields and the name of a time zone ("" is UTC). It refuses a zone that is not known
// and a schedule that never fires, which the shape alone does not show.
func ParseSchedule(expression, zone string, now time.Time) (Schedule, error) {
	if strings.Contains(expression, "TZ=") {
		return Schedule{}, errors.New("write the time zone in timeZone, not in the schedule")
	}
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return Schedule{}, fmt.Errorf("time zone %q is unknown: write a name of the IANA database, such as Europe/Berlin", zone)
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %q is not a cron schedule: %w", expression, err)
	}
	if spec, ok := parsed.(*cron.SpecSchedule); ok {
		spec.Location = location
	}
	s := Schedule{cron: parsed}
	if s.Next(now).IsZero() {
		return Schedule{}, fmt.Errorf("schedule %q never fires: its day and month do not exist together", expression)
	}
	return s, nil
}

// Next is the first moment after t at which the schedule fires.
func (s Schedule) Next(t time.Time) time.Time { return s.cron.Next(t) }
