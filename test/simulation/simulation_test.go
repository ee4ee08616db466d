// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// make simulate sets them higher.
var (
	domains = flag.Int("domains", 50, "how many domains are simulated")
	years   = flag.Int("years", 1, "how many years")
	seed    = flag.Uint64("seed", 4, "another one, another world")
)

func TestNoMessageIsLostInYearsOfRotations(t *testing.T) {
	report := Run(Config{Seed: *seed, Domains: *domains, Years: *years})
	t.Logf("seed %d, %d years\n%s", *seed, *years, &report)
	judge(t, report)
}

func judge(t *testing.T, report Report) {
	t.Helper()
	for i, v := range report.Violations {
		if i == 10 {
			t.Fatalf("and %d more", len(report.Violations)-i)
		}
		t.Error(v)
	}
}

func TestTheSameSeedIsTheSameWorld(t *testing.T) {
	c := Config{Seed: 11, Domains: 20, Years: 1}
	if diff := cmp.Diff(Run(c), Run(c)); diff != "" {
		t.Error(diff)
	}
}
