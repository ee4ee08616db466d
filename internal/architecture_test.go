// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThePictureOfTheHouseIsTrue(t *testing.T) {
	readSources(t)
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	var drawn []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		if strings.TrimSpace(row[2]) == "" {
			t.Errorf("docs/architecture.md says nothing about %s", row[1])
		}
		drawn = append(drawn, row[1])
	}
	slices.Sort(drawn)

	// The tag shows the packages that hold integration tests alone.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "integration", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var standing []string
	for pkg := range strings.FieldsSeq(string(out)) {
		standing = append(standing, strings.TrimPrefix(pkg, module))
	}
	slices.Sort(standing)
	if diff := cmp.Diff(drawn, standing); diff != "" {
		t.Error("the package table of docs/architecture.md (-) and the packages (+) differ:\n" + diff)
	}
}
