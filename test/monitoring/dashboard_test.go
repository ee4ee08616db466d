// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// panel is one of the Grafana dashboard.
type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Place       struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func dashboard(t *testing.T) []panel {
	t.Helper()
	var object struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(read(t, filepath.Join(root, "config/grafana/maildomains.json")), &object); err != nil {
		t.Fatal(err)
	}
	if len(object.Panels) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	return object.Panels
}

// names are the metrics that an expression asks for. A histogram is asked for by its buckets.
func names(expr string) []string {
	found := regexp.MustCompile(`maildomain_[a-z_]+`).FindAllString(expr, -1)
	for i, name := range found {
		found[i] = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
	}
	return found
}

func TestTheDashboardAsksForMetricsThatExist(t *testing.T) {
	known := exported()
	// A test of cmd/milter holds this table against what the milter exports.
	for _, row := range regexp.MustCompile("(?m)^\\| `(maildomain_milter_[a-z_]+)` \\|").FindAllSubmatch(read(t, filepath.Join(root, "docs/milter-operations.md")), -1) {
		known = append(known, string(row[1]))
	}
	asked := map[string]bool{}
	for _, p := range dashboard(t) {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%q lacks a description or a question", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range names(target.Expr) {
				asked[name] = true
				if !slices.Contains(known, name) {
					t.Errorf("%q asks for %s, which nobody exports", p.Title, name)
				}
			}
		}
	}
	// What wakes somebody must be seen there, too.
	for _, a := range alerts(t) {
		for _, name := range names(a.Expr) {
			if !asked[name] {
				t.Errorf("%s alerts by %s, which the dashboard does not show", a.Alert, name)
			}
		}
	}
}

func TestNoPanelLiesOnAnother(t *testing.T) {
	panels := dashboard(t)
	for i, a := range panels {
		if a.Place.W < 1 || a.Place.H < 1 || a.Place.X+a.Place.W > 24 {
			t.Errorf("%q is at %+v, beside a grid of 24 columns", a.Title, a.Place)
		}
		for _, b := range panels[:i] {
			if a.ID == b.ID {
				t.Errorf("%q and %q have one id", a.Title, b.Title)
			}
			if a.Place.X < b.Place.X+b.Place.W && b.Place.X < a.Place.X+a.Place.W && a.Place.Y < b.Place.Y+b.Place.H && b.Place.Y < a.Place.Y+a.Place.H {
				t.Errorf("%q lies on %q", a.Title, b.Title)
			}
		}
	}
}
