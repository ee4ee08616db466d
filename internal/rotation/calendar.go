// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	// Time zones are data that a scratch image does not have.
	_ "time/tzdata"
)

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

// horizon is how far apart two firings can be: cron looks five years ahead, and finds no 29 February beyond.
const horizon = 5 * 366 * 24 * time.Hour

// latest is the last moment, t included, at which the schedule fired; zero if it did not within the horizon.
func (s Schedule) latest(t time.Time) time.Time {
	from := t.Add(-horizon)
	// The first second from which on the next firing lies beyond t: the firing is the one right before.
	second := sort.Search(int(horizon/time.Second), func(n int) bool {
		next := s.Next(from.Add(time.Duration(n) * time.Second))
		return next.IsZero() || next.After(t)
	})
	if second == 0 {
		return time.Time{}
	}
	return s.Next(from.Add(time.Duration(second-1) * time.Second))
}

// Calendar says when rotations begin: by a schedule or an interval, neither of which must be given, and by a person's
// word.
type Calendar struct {
	Schedule *Schedule
	Interval time.Duration
	// Suspended starts no rotation by schedule or interval; a person's word still counts.
	Suspended bool
	// Seed spreads the rotations of many domains: the domain and the owner id. The same seed waits the same.
	Seed string
	// Asked is a person's word (the annotation maildomain.dev/rotate): keys that began to sign earlier are replaced.
	// Handled is the last one that was acted upon: the same word counts once.
	Asked, Handled time.Time
}

// Due says from when on keys must have begun to sign, or else are replaced (zero: no rotation is due), and when the next
// rotation begins (zero: no one knows). since is when the oldest of the keys that sign began to; see Generation. What
// was missed while nobody looked counts once.
func (c Calendar) Due(since, now time.Time) (rotateAt, next time.Time) {
	if !c.Suspended && !since.IsZero() {
		switch {
		case c.Schedule != nil:
			rotateAt, next = c.scheduled(since, now)
		case c.Interval > 0:
			rotateAt, next = c.interval(since, now)
		}
	}
	// Times in a status have the precision of a second: a fraction would have the new key look older than the word.
	asked := c.Asked.Truncate(time.Second)
	switch {
	case c.Asked.IsZero() || c.Asked.Equal(c.Handled):
	case asked.After(now):
		next = earliest(next, asked)
	case asked.After(since) && asked.After(rotateAt) && !since.IsZero():
		rotateAt = asked
	}
	return rotateAt, next
}

// scheduled finds the last firing whose jitter is over: it is due if keys sign that began before it.
func (c Calendar) scheduled(since, now time.Time) (rotateAt, next time.Time) {
	first := c.Schedule.Next(since)
	if at := c.begin(first); first.IsZero() || at.After(now) {
		return time.Time{}, at
	}
	last := c.Schedule.latest(now)
	if at := c.begin(last); at.After(now) {
		return c.Schedule.latest(last.Add(-time.Second)), at
	}
	return last, c.begin(c.Schedule.Next(last))
}

// begin adds the jitter to a firing.
func (c Calendar) begin(firing time.Time) time.Time {
	following := c.Schedule.Next(firing)
	if firing.IsZero() || following.IsZero() {
		return firing
	}
	return firing.Add(c.jitter(following.Sub(firing)))
}

func (c Calendar) interval(since, now time.Time) (rotateAt, next time.Time) {
	rotateAt = since.Add(c.Interval).Truncate(time.Second)
	if at := rotateAt.Add(c.jitter(c.Interval)); at.After(now) {
		return time.Time{}, at
	}
	return rotateAt, now.Add(c.Interval + c.jitter(c.Interval)).Truncate(time.Second)
}

// maxJitter keeps a rotation near the hour that a person named.
const maxJitter = 24 * time.Hour

// jitter is this domain's share of a tenth of the period, of a day at most.
func (c Calendar) jitter(period time.Duration) time.Duration {
	hash := sha256.Sum256([]byte(c.Seed))
	share := float64(binary.BigEndian.Uint64(hash[:])>>11) / (1 << 53)
	return time.Duration(share * float64(min(period/10, maxJitter))).Truncate(time.Second)
}

// Generation is when the present keys began to sign, the oldest of the algorithms: since for Calendar.Due. A rotation that
// was undone counts too, lest it begin again at once. It is zero if no key signs, and as long as the beginning of one is
// not noted.
func Generation(keys []Key) time.Time {
	var oldest time.Time
	for _, k := range keys {
		if !k.Signs || k.Revoked {
			continue
		}
		if !k.noted() {
			return time.Time{}
		}
		oldest = earliest(oldest, newest(ofAlgorithm(keys, k.Algorithm)))
	}
	return oldest
}

// earliest is the earlier of two times of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
