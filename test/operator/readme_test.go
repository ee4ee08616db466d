// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
)

const root = "../.."

// block is one fenced block of a page.
type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

func blocksOf(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// TestTheReadmeWorksAsWritten does what a newcomer does: every command of the README, in its order, on an API server
// that has never heard of us. Only what a newcomer has to fill in is filled in: the address and the key of a server.
func TestTheReadmeWorksAsWritten(t *testing.T) {
	t.Parallel()
	server := freshServer(t)
	world := startWorld(t, "maildomain-operator", "example.org")
	fill := strings.NewReplacer("ns1.example.org:53", fmt.Sprintf("127.0.0.3:%d", world.Port()), "BASE64", tsigSecret)
	desk := newDesk(t, server.Kubeconfig, fill)
	ci, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		t.Fatal(err)
	}
	installed := false
	for _, b := range blocksOf(t, "README.md") {
		switch {
		case b.language == "yaml":
			desk.write("example-org.yaml", b.text) // the README's commands apply it under this name
			desk.run("kubectl apply --dry-run=server -f example-org.yaml")
		case b.language == "sh" && strings.Contains(b.text, "make "):
			for line := range strings.Lines(b.text) {
				if !strings.Contains(string(ci), "make --no-print-directory "+strings.TrimPrefix(strings.TrimSpace(line), "make ")) {
					t.Errorf("CI does not run %q", line)
				}
			}
		case b.language == "sh" && strings.Contains(b.text, "-k config/default"):
			newDesk(t, freshServer(t).Kubeconfig, fill).run(b.text) // the other way to install, on another cluster
		case b.language == "sh":
			desk.run(b.text)
			if !installed { // no node runs the pod that Helm made: the operator runs here
				installed = true
				desk.run("kubectl wait --for=condition=Established crd --all --timeout=1m") // in a pod it would be started again until then
				startOperator(t, server, settingsFor(world, "readme", "maildomain-system"))
			}
		}
	}
	if !installed {
		t.Fatal("the README installs nothing")
	}
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range regexp.MustCompile("`(kubectl [^`]+)`").FindAllStringSubmatch(string(page), -1) {
		desk.run(command[1]) // those within a sentence
	}
}

// freshServer starts an API server that does not know our kinds.
func freshServer(t *testing.T) *apiserver.Server {
	t.Helper()
	server, err := apiserver.Start(t.Context(), apiserver.Options{CRDs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func startOperator(t *testing.T, server *apiserver.Server, settings controllers.Settings) {
	t.Helper()
	scheme, err := controllers.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, Client: c, namespace: "mail", settings: settings, config: server.Config}
	b.start()
	t.Cleanup(func() { b.stop() })
}

// desk is where the newcomer sits: a copy of what the commands read, and a shell.
type desk struct {
	*testing.T
	folder string
	fill   *strings.Replacer
	env    []string
}

func newDesk(t *testing.T, kubeconfig []byte, fill *strings.Replacer) *desk {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(cache, "maildomain-operator", "bin")
	for name, command := range map[string]string{"kubectl": "make kubectl", "helm": "make tools"} {
		if _, err := os.Stat(filepath.Join(tools, name)); err != nil {
			t.Fatalf("%s is missing; run: %s", name, command)
		}
	}
	d := &desk{T: t, folder: t.TempDir(), fill: fill}
	for _, folder := range []string{"config", "charts"} {
		d.copy(folder)
	}
	d.write("kubeconfig", string(kubeconfig))
	d.env = append(os.Environ(), "KUBECONFIG="+filepath.Join(d.folder, "kubeconfig"), "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+d.folder)
	return d
}

func (d *desk) copy(folder string) {
	d.Helper()
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		d.write(name, string(text))
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(d.fill.Replace(text)), 0o600); err != nil {
		d.Fatal(err)
	}
}

// run runs a block of commands; the first that fails ends the test.
func (d *desk) run(commands string) {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), "bash", "-euxc", d.fill.Replace(commands))
	cmd.Dir, cmd.Env = d.folder, d.env
	out, err := cmd.CombinedOutput()
	d.Logf("%s", out)
	if err != nil {
		d.Fatalf("%s: %v", commands, err)
	}
}
