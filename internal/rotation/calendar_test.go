// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func monthly(t failer) *Schedule {
	s, err := ParseSchedule("0 4 1 * *", "", day)
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestDue(t *testing.T) {
	const week = 7 * 24 * time.Hour
	since := time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	firing := time.Date(2027, 2, 1, 4, 0, 0, 0, time.UTC)
	byMonth := Calendar{Schedule: monthly(t), Seed: "example.org"}
	byWeek := Calendar{Interval: week, Seed: "example.org"}
	asked := func(c Calendar, at time.Time) Calendar { c.Asked = at; return c }
	for name, c := range map[string]struct {
		calendar   Calendar
		since, now time.Time
		due        time.Time
		next       bool // a later one is known
	}{
		"nothing is due by hand only":                        {Calendar{}, since, since.AddDate(1, 0, 0), time.Time{}, false},
		"nothing is due before a key signs":                  {byMonth, time.Time{}, since, time.Time{}, false},
		"a firing is not due before its jitter is over":      {byMonth, since, firing, time.Time{}, true},
		"a firing is due after it":                           {byMonth, since, firing.Add(24 * time.Hour), firing, true},
		"many that were missed are one":                      {byMonth, since, firing.AddDate(0, 5, 3), firing.AddDate(0, 5, 0), true},
		"what was done is not due":                           {byMonth, firing.Add(25 * time.Hour), firing.Add(26 * time.Hour), time.Time{}, true},
		"a suspended schedule is not due":                    {Calendar{Schedule: monthly(t), Suspended: true}, since, firing.AddDate(0, 1, 0), time.Time{}, false},
		"a person's word counts while it is suspended":       {asked(Calendar{Schedule: monthly(t), Suspended: true}, firing), since, firing, firing, false},
		"a person's word counts once":                        {asked(Calendar{}, firing), firing, firing.Add(time.Hour), time.Time{}, false},
		"a word for later is for later":                      {asked(Calendar{}, firing), since, firing.Add(-time.Hour), time.Time{}, true},
		"a word within a second counts once":                 {asked(Calendar{}, firing.Add(500*time.Millisecond)), firing, firing.Add(time.Hour), time.Time{}, false},
		"a word that was handled does not count":             {Calendar{Asked: firing, Handled: firing}, since, firing.Add(time.Hour), time.Time{}, false},
		"an interval counts from the last rotation":          {byWeek, since, since.Add(week + week/10), since.Add(week), true},
		"an interval is not over before":                     {byWeek, since, since.Add(week), time.Time{}, true},
		"the later of a firing and a person's word is taken": {asked(byMonth, firing.Add(48*time.Hour)), since, firing.Add(72 * time.Hour), firing.Add(48 * time.Hour), true},
	} {
		t.Run(name, func(t *testing.T) {
			due, next := c.calendar.Due(c.since, c.now)
			if !due.Equal(c.due) {
				t.Errorf("due since %s, want %s", due, c.due)
			}
			if next.After(c.now) != c.next {
				t.Errorf("next at %s", next)
			}
		})
	}
}

func TestAThousandDomainsDoNotRotateInOneMinute(t *testing.T) {
	firing := time.Date(2027, 2, 1, 4, 0, 0, 0, time.UTC)
	minutes := map[time.Time]int{}
	for i := range 1000 {
		c := Calendar{Schedule: monthly(t), Seed: fmt.Sprintf("d%d.example prod", i)}
		_, next := c.Due(day, day)
		if _, again := c.Due(day, day); !again.Equal(next) {
			t.Fatalf("%s, and then %s", next, again)
		}
		c.Schedule = monthly(t)
		_, next = c.Due(firing.Add(-time.Hour), firing.Add(-time.Minute))
		if next.Before(firing) || next.After(firing.Add(24*time.Hour)) {
			t.Fatalf("%s is not within a day of %s", next, firing)
		}
		minutes[next.Truncate(time.Minute)]++
	}
	for minute, n := range minutes {
		if n > 10 {
			t.Errorf("%d domains rotate at %s", n, minute)
		}
	}
}

func TestHoweverOftenOneLooksARotationIsDueOncePerPeriod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Calendar{Seed: rapid.String().Draw(t, "seed")}
		if rapid.Bool().Draw(t, "schedule") {
			c.Schedule = monthly(t)
		} else {
			c.Interval = time.Duration(rapid.IntRange(1, 100).Draw(t, "days")) * 24 * time.Hour
		}
		now, since := day, day
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 40*24*3600).Draw(t, "seconds")) * time.Second)
			due, next := c.Due(since, now)
			if !next.After(now) {
				t.Fatalf("the next one at %s is past at %s", next, now)
			}
			if due.IsZero() {
				continue
			}
			if due.Before(since) || due.After(now) {
				t.Fatalf("due since %s, though keys sign since %s and it is %s", due, since, now)
			}
			since = now // it rotates
			if again, _ := c.Due(since, now); !again.IsZero() {
				t.Fatalf("due again since %s right after", again)
			}
		}
	})
}
