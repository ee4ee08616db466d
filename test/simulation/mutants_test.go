// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each patch breaks internal/rotation in one place, and the simulation names the invariant that is broken by it. A check
// that never fails proves nothing.
func TestEachMutantBreaksItsInvariant(t *testing.T) {
	patches, err := filepath.Glob("testdata/mutants/invariant-*.patch")
	if err != nil || len(patches) != 8 {
		t.Fatalf("%d mutants, want one for each of the eight invariants (%v)", len(patches), err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range patches {
		name := strings.TrimSuffix(filepath.Base(patch), ".patch")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			invariant := strings.Join(strings.SplitN(name, "-", 3)[:2], " ")
			run := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-tags", "decisions", "-overlay", overlay(t, root, patch),
				"-run", "^TestNoMessageIsLost", ".", "-domains", "50", "-years", "1", "-seed", "4")
			out, err := run.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("the simulation passes though %s is broken", invariant)
			case !strings.Contains(string(out), invariant+": "):
				t.Errorf("the simulation fails without naming %s:\n%.3000s", invariant, out)
			}
		})
	}
}

// overlay applies a patch to a copy and has the compiler read that in place of the original.
func overlay(t *testing.T, root, patch string) string {
	t.Helper()
	const folder = "internal/rotation"
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.CommandContext(t.Context(), "git", "apply", "-C1")
	apply.Dir, apply.Stdin = dir, strings.NewReader(string(text))
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)) // a folder of no repository
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%s does not apply any more, write it anew: %v\n%s", patch, err, out)
	}
	replace := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			replace[filepath.Join(root, folder, filepath.Base(file))] = file
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
