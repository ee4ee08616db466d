// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests holds what config/ and the chart promise: a real API server takes every object as it is, the pod may
// run under the restricted standard, both ways of installing give the same rights, and wrong values are refused.
package manifests

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root  = "../.."
	chart = root + "/charts/maildomain-operator"
	// Where the release and the kustomizations put the operator.
	operatorNamespace = "maildomain-system"
)

// tool returns the command of a pinned tool.
func tool(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	readInputs(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "maildomain-operator", "bin", name)
	if _, err := exec.LookPath(path); err != nil {
		t.Fatalf("%v: run hack/tools.sh %s", err, name)
	}
	return exec.CommandContext(t.Context(), path, args...)
}

// readInputs reads what the tools will read: go test knows only what the test itself opened, and would otherwise show the
// result from before a template was changed.
func readInputs(t *testing.T) {
	t.Helper()
	for _, folder := range []string{chart, root + "/config"} {
		if err := fs.WalkDir(os.DirFS(folder), ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, err = os.ReadFile(filepath.Join(folder, path))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// helm renders the chart with --set arguments. The error holds what Helm tells a person.
func helm(t *testing.T, set ...string) ([]unstructured.Unstructured, error) {
	t.Helper()
	args := []string{"template", "maildomain-operator", chart, "--namespace", operatorNamespace}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	cmd := tool(t, "helm", args...)
	home := t.TempDir() // nothing of the person who runs this may change what is rendered
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HELM_PLUGINS="+home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.New(stderr.String())
	}
	return decode(t, stdout.Bytes()), nil
}

func mustHelm(t *testing.T, set ...string) []unstructured.Unstructured {
	t.Helper()
	objects, err := helm(t, append([]string{"ownerID=test.example.org"}, set...)...)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func kustomize(t *testing.T, folder string) []unstructured.Unstructured {
	t.Helper()
	out, err := tool(t, "kustomize", "build", filepath.Join(root, "config", folder)).Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			t.Fatalf("kustomize build config/%s: %s", folder, exit.Stderr)
		}
		t.Fatal(err)
	}
	return decode(t, out)
}

// file reads the objects of one file, its path from the repository's root.
func file(t *testing.T, path string) []unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, data)
}

func decode(t *testing.T, data []byte) []unstructured.Unstructured {
	t.Helper()
	var out []unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 1<<16); ; {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u); errors.Is(err, io.EOF) {
			if len(out) == 0 {
				t.Fatal("nothing was rendered")
			}
			return out
		} else if err != nil {
			t.Fatalf("not YAML: %v\n%s", err, data)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// pick returns the objects of a kind; "Kind/name" narrows it down.
func pick(objects []unstructured.Unstructured, what string) []unstructured.Unstructured {
	kind, name, named := strings.Cut(what, "/")
	var out []unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == kind && (!named || o.GetName() == name) {
			out = append(out, o)
		}
	}
	return out
}

// one returns the only object of that kind, as its type.
func one[T any](t *testing.T, objects []unstructured.Unstructured, what string) T {
	t.Helper()
	var out T
	found := pick(objects, what)
	if len(found) != 1 {
		t.Fatalf("%d objects %s were rendered, want 1", len(found), what)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(found[0].Object, &out, true); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return out
}
