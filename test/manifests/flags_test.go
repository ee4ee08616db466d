// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestTheProgramKnowsEveryFlagOfTheManifests(t *testing.T) {
	help := managerHelp(t)
	for name, objects := range map[string][]unstructured.Unstructured{
		"config/default":    kustomize(t, "default"),
		"config/namespaced": kustomize(t, "namespaced"),
		"the chart": mustHelm(t, "watchNamespaces={team-a}", "providerEndpointAllow={ns1.example.org}", "dnsRoots={192.0.2.1:53}",
			"revocationGrace=10m", "massRemoval.limit=0.2,massRemoval.floor=0,massRemoval.window=30m"),
	} {
		for _, arg := range one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0].Args {
			flag, _, _ := strings.Cut(arg, "=")
			if !knows(help, flag) {
				t.Errorf("%s passes %s, which cmd/manager does not know", name, flag)
			}
		}
	}
	if knows(help, "--owner") {
		t.Error("the start of a flag counts as one: this test proves nothing")
	}
}

// knows finds "--flag string  …" and "--flag[=true|false]  …".
func knows(help, flag string) bool {
	return regexp.MustCompile(`(?m)^ +(-., )?` + regexp.QuoteMeta(flag) + `[\[ ]`).MatchString(help)
}

// managerHelp builds cmd/manager as it is now and asks it.
func managerHelp(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), buildManager(t), "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("manager --help: %v\n%s", err, out)
	}
	return string(out)
}

func buildManager(t *testing.T) string {
	t.Helper()
	// The compiler runs in a subprocess: go test must know that the result depends on these.
	for _, folder := range []string{"api", "cmd", "controllers", "internal"} {
		if err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				_, err = os.ReadFile(path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "manager")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/manager")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/manager: %v\n%s", err, out)
	}
	return binary
}
