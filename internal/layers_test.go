// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package internal_test holds the repository's import rules.
package internal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/maildomain-operator/maildomain-operator/"

// A band is packages that may use the same things. Within this module everything is forbidden that mayUse does not
// name; of what others wrote, and of the standard library, everything is allowed that never does not name.
//
// The rules are about all that a package drags in. depguard in .golangci.yml holds the same line for direct imports,
// where it can name the line of the source.
type band struct {
	packages []string // exact, or a folder and all below it with a final "/..."
	mayUse   []string // in the same notation; a band's packages may use what these use, too
	never    []string // import path prefixes
}

// What is drawn in docs/architecture.md, from the bottom up.
var bands = []band{
	// Formats: text in, values out. dnsrecord is the one that another may use.
	{packages: []string{"internal/dnsrecord"}, never: slices.Concat(kubernetes, network, libraries)},
	{
		packages: []string{"internal/dkim", "internal/spf", "internal/dmarc"},
		mayUse:   []string{"internal/dnsrecord"},
		never:    slices.Concat(kubernetes, network, libraries),
	},
	// Reading reports needs MIME and charsets. It is none of the words formats and decisions, so that manager and milter never carry those.
	{packages: []string{"internal/dmarcreport"}, never: slices.Concat(kubernetes, network, libraries)},
	{packages: []string{"internal/insight"}, mayUse: []string{"internal/dmarcreport"}, never: slices.Concat(kubernetes, network, libraries)},
	{packages: []string{"internal/dnsrecord/recordtest"}, mayUse: []string{"internal/dnsrecord"}, never: slices.Concat(kubernetes, network, libraries)},
	{packages: []string{"api/..."}, never: slices.Concat(clients, libraries, []string{"k8s.io/api/"})},

	// Decisions: pure functions of (spec, observed, now). One may call another, but for dnsplan, which people run alone.
	{
		packages: []string{"internal/dnsplan"},
		mayUse:   []string{"internal/dnsrecord"},
		never:    slices.Concat(kubernetes, network, libraries),
	},
	{
		packages: []string{"internal/rotation", "internal/desired", "internal/readiness", "internal/grant", "internal/keysecret", "internal/brake", "internal/changeover"},
		mayUse:   slices.Concat(formats, decisions, []string{"api/..."}),
		never:    slices.Concat(clients, libraries),
	},

	// Edges of the operator.
	{
		packages: []string{"internal/dnsprovider"},
		mayUse:   slices.Concat(formats, decisions, []string{"internal/dnscheck", "api/..."}),
		never:    clients,
	},
	{
		packages: []string{"internal/dnscheck"},
		mayUse:   []string{"internal/dnsrecord", "internal/spf", "internal/dnsplan"},
		never:    slices.Concat(kubernetes, []string{"github.com/libdns"}),
	},
	{
		packages: []string{"internal/thirdparty"}, // asks through dnscheck
		mayUse:   slices.Concat(formats, []string{"internal/dnscheck", "internal/dnsplan"}),
		never:    slices.Concat(kubernetes, []string{"github.com/libdns"}),
	},
	{
		packages: []string{"internal/claim"},
		mayUse:   []string{"internal/dnsrecord"},
		never:    slices.Concat([]string{"sigs.k8s.io/controller-runtime"}, libraries),
	},

	{ // it reads what signers tell in keydir's words
		packages: []string{"internal/signers"},
		mayUse:   []string{"internal/keydir", "internal/dkim", "internal/dnsrecord"},
		never:    slices.Concat(kubernetes, libraries),
	},
	{packages: []string{"internal/servertime"}, never: slices.Concat(kubernetes, libraries)},

	// Edges of the milter. keydir is the contract of both sides: what it drags in, both have.
	{
		packages: []string{"internal/keydir"},
		mayUse:   []string{"internal/dkim", "internal/dnsrecord"},
		never:    slices.Concat(kubernetes, network, libraries),
	},
	{
		packages: []string{"internal/rsasign"},
		mayUse:   []string{"internal/dkim", "internal/dnsrecord"},
		never:    slices.Concat(kubernetes, network, libraries),
	},
	{ // asks resolvers for the verifying milter; the operator's prober asks authoritative servers and shares nothing with it
		packages: []string{"internal/dnslookup"},
		mayUse:   []string{"internal/dnsrecord"},
		never:    slices.Concat(kubernetes, network, []string{"github.com/libdns"}),
	},
	{packages: []string{"internal/mailauth"}, mayUse: formats, never: slices.Concat(kubernetes, []string{"net/http", "github.com/libdns"})},
	// What a probe of an MTA has shown: a decision that needs nothing.
	{packages: []string{"internal/mtaprobe"}, never: slices.Concat(kubernetes, network, libraries)},
	{
		packages: []string{"internal/milter"},
		mayUse:   slices.Concat(formats, []string{"internal/keydir", "internal/mailauth", "internal/rsasign"}),
		never:    slices.Concat(kubernetes, []string{"github.com/libdns"}),
	},

	// Controllers meet in the API server only; nothing of the operator signs or speaks to an MTA.
	{packages: shared, mayUse: slices.Concat(operator, shared)},
	{packages: []string{"controllers/maildomain"}, mayUse: slices.Concat(operator, shared)},
	{packages: []string{"controllers/dkimkey"}, mayUse: slices.Concat(operator, shared)},
	{packages: []string{"controllers/dnsprovider"}, mayUse: slices.Concat(operator, shared)},
	{packages: []string{"controllers/controllerstest"}, mayUse: slices.Concat(operator, shared, []string{"controllers/..."})}, // for tests, which may not import what is internal
	{packages: []string{"controllers/metrics"}, mayUse: []string{"internal/dnsrecord", "internal/spf", "api/..."}},            // it reads objects and decides nothing
	{
		packages: []string{"controllers", "cmd/manager"},
		mayUse:   slices.Concat(operator, []string{"controllers/..."}),
	},
	{
		packages: []string{"cmd/milter"},
		mayUse:   slices.Concat(formats, []string{"internal/keydir", "internal/dnslookup", "internal/mailauth", "internal/milter", "internal/mtaprobe", "internal/rsasign"}),
		never:    slices.Concat(kubernetes, []string{"github.com/libdns"}),
	},
}

// Words of the table.
var (
	formats   = []string{"internal/dnsrecord", "internal/dkim", "internal/spf", "internal/dmarc"}
	decisions = []string{
		"internal/dnsplan", "internal/rotation", "internal/desired", "internal/readiness", "internal/grant", "internal/keysecret",
		"internal/brake", "internal/changeover",
	}
	operator = slices.Concat(formats, decisions,
		[]string{"internal/dnsprovider", "internal/dnscheck", "internal/thirdparty", "internal/keydir", "internal/claim", "internal/signers", "internal/servertime", "api/..."})

	// What controllers have in common, and what none of them is.
	shared = []string{"controllers/internal/..."}

	kubernetes = []string{"k8s.io/", "sigs.k8s.io/"}
	clients    = []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime/pkg/client", "sigs.k8s.io/controller-runtime/pkg/manager"}
	libraries  = []string{"github.com/libdns", "github.com/miekg/dns"} // that speak to name servers
	network    = []string{"net/http"}
)

func TestImportsPointDownwards(t *testing.T) {
	readSources(t) // go list runs in a subprocess: without this, go test would cache a stale pass
	for _, v := range violations(bands, imports(t)) {
		t.Error(v)
	}
}

func TestAPlantedViolationIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		plant map[string][]string
		want  []string
	}{
		"a library behind a library": {
			map[string][]string{
				module + "internal/dkim":    {"example.org/innocent"},
				"example.org/innocent":      {"example.org/less-innocent"},
				"example.org/less-innocent": {"net/http"},
			},
			[]string{"internal/dkim → example.org/innocent → example.org/less-innocent → net/http: never net/http here"},
		},
		"Kubernetes in the sidecar": {
			map[string][]string{
				module + "cmd/milter":      {module + "internal/milter"},
				module + "internal/milter": {"k8s.io/apimachinery/pkg/types"},
			},
			[]string{
				"cmd/milter → internal/milter → k8s.io/apimachinery/pkg/types: never k8s.io/ here",
				"internal/milter → k8s.io/apimachinery/pkg/types: never k8s.io/ here",
			},
		},
		"one controller in another": {
			map[string][]string{module + "controllers/dkimkey": {module + "controllers/maildomain"}, module + "controllers/maildomain": nil},
			[]string{"controllers/dkimkey → controllers/maildomain: not a package that this band may use"},
		},
		"the operator signs": {
			map[string][]string{module + "cmd/manager": {module + "internal/mailauth"}, module + "internal/mailauth": nil},
			[]string{"cmd/manager → internal/mailauth: not a package that this band may use"},
		},
		"libdns through an edge": {
			map[string][]string{module + "internal/dnscheck": {"github.com/libdns/libdns"}},
			[]string{"internal/dnscheck → github.com/libdns/libdns: never github.com/libdns here"},
		},
		"a package without a band": {
			map[string][]string{module + "internal/utils": nil},
			[]string{"internal/utils: in no band of internal/layers_test.go; say what it may import"},
		},
		"nothing": {
			map[string][]string{
				module + "internal/dkim":      {module + "internal/dnsrecord", "crypto/rsa"},
				module + "internal/dnsrecord": {"golang.org/x/net/idna"},
				module + "test/gen":           {"net/http"},
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, violations(bands, c.plant)); diff != "" {
				t.Error("want (-), got (+):\n" + diff)
			}
		})
	}
}

// violations judges every package of the graph (import path → direct imports) that stands below api, cmd, controllers
// or internal (this test's own folder aside). One sentence for each, sorted.
func violations(bands []band, graph map[string][]string) []string {
	var out []string
	for pkg := range graph {
		name, ours := strings.CutPrefix(pkg, module)
		if !ours || name == "internal" || !matches([]string{"api/...", "cmd/...", "controllers/...", "internal/..."}, name) {
			continue
		}
		i := slices.IndexFunc(bands, func(b band) bool { return matches(b.packages, name) })
		if i < 0 {
			out = append(out, name+": in no band of internal/layers_test.go; say what it may import")
			continue
		}
		out = append(out, bands[i].judge(pkg, graph)...)
	}
	slices.Sort(out)
	return out
}

// judge walks the imports of pkg breadth first, so that the chain it reports is a shortest one. It does not look
// behind a package that is already wrong.
func (b band) judge(pkg string, graph map[string][]string) []string {
	var out []string
	from := map[string]string{pkg: ""}
	for queue := []string{pkg}; len(queue) > 0; queue = queue[1:] {
		for _, dep := range slices.Sorted(slices.Values(graph[queue[0]])) {
			if _, seen := from[dep]; seen {
				continue
			}
			from[dep] = queue[0]
			if wrong := b.wrong(strings.TrimPrefix(pkg, module), dep); wrong != "" {
				out = append(out, chain(from, dep)+": "+wrong)
				continue
			}
			queue = append(queue, dep)
		}
	}
	return out
}

func (b band) wrong(pkg, dep string) string {
	if name, ours := strings.CutPrefix(dep, module); ours {
		if name != pkg && !matches(b.mayUse, name) {
			return "not a package that this band may use"
		}
		return ""
	}
	for _, prefix := range b.never {
		if strings.HasPrefix(dep, prefix) {
			return "never " + prefix + " here"
		}
	}
	return ""
}

func chain(from map[string]string, dep string) string {
	var names []string
	for ; dep != ""; dep = from[dep] {
		names = append(names, strings.TrimPrefix(dep, module))
	}
	slices.Reverse(names)
	return strings.Join(names, " → ")
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		folder, below := strings.CutSuffix(p, "/...")
		return name == folder || below && strings.HasPrefix(name, folder+"/")
	})
}

// imports asks go list for every package of this module and what it drags in, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	graph := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(fmt.Errorf("go list: %w", err))
		}
		graph[p.ImportPath] = p.Imports
	}
}

func readSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if err == nil && (strings.HasSuffix(path, ".go") || d.Name() == "go.mod") {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
