// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/test/env/kubelet"
)

// visible is what a program sees that lists the mount: names without the leading dots of kubelet's own, and contents.
func visible(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = string(content)
	}
	return files
}

func folders(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "..version_*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	data := map[string][]byte{}
	for name, content := range files {
		data[name] = []byte(content)
	}
	if err := kubelet.Write(dir, data); err != nil {
		t.Fatal(err)
	}
}

func TestTheMountHoldsExactlyTheSecret(t *testing.T) {
	dir := t.TempDir()
	for _, files := range []map[string]string{
		{"a.json": "1", "a.m1.pem": "key 1"},
		{"a.json": "2", "a.m2.pem": "key 2"},
		{"a.json": "3"},
		{},
	} {
		write(t, dir, files)
		if diff := cmp.Diff(files, visible(t, dir)); diff != "" {
			t.Errorf("the mount differs from the Secret (-want +got):\n%s", diff)
		}
		if old := folders(t, dir); len(old) != 1 {
			t.Errorf("former contents stay behind: %v", old)
		}
	}
}

func TestAllFilesChangeByOneRename(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "1", "b": "1"})
	first, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(dir, "a"))
	if err != nil || link != filepath.Join("..data", "a") {
		t.Fatalf("a links to %q, %v: a file that does not go through ..data changes at another time than the rest", link, err)
	}
	write(t, dir, map[string]string{"a": "2", "b": "2"})
	second, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("the folder under ..data was changed in place")
	}
}

func TestTheSameContentIsNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "1"})
	before := folders(t, dir)
	write(t, dir, map[string]string{"a": "1"})
	if after := folders(t, dir); !slices.Equal(before, after) {
		t.Errorf("%v became %v: a watcher would be woken for nothing", before, after)
	}
}
