// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

type constant struct{ name, value, comment string }

// constants returns the string constants of a file of this package, with their comments.
func constants(t *testing.T, file string) []constant {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var all []constant
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s is not written as a word", spec.Names[0].Name)
			return false
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Error(err)
		}
		all = append(all, constant{spec.Names[0].Name, value, spec.Doc.Text()})
		return false
	})
	if len(all) == 0 {
		t.Fatalf("no constants in %s", file)
	}
	return all
}

func TestEveryConditionSaysItsPolarityAndReasons(t *testing.T) {
	reasons := map[string]bool{}
	for _, reason := range constants(t, "reasons.go") {
		reasons[reason.value] = false
		if reason.name != "Reason"+reason.value {
			t.Errorf("%s = %q", reason.name, reason.value)
		}
		if !strings.HasPrefix(reason.comment, reason.name+": ") {
			t.Errorf("%s is not explained", reason.name)
		}
		if !regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`).MatchString(reason.value) {
			t.Errorf("the API server refuses the reason %q", reason.value)
		}
	}
	for _, condition := range constants(t, "conditions.go") {
		if condition.name != "Condition"+condition.value {
			t.Errorf("%s = %q", condition.name, condition.value)
		}
		polarity := regexp.MustCompile(`\([^)]*; (normal|abnormal)-true[^)]*\)`)
		if !polarity.MatchString(condition.comment) {
			t.Errorf("%s does not say its polarity", condition.name)
		}
		_, list, found := strings.Cut(condition.comment, "Reasons: ")
		if !found {
			t.Errorf("%s lists no reasons", condition.name)
		}
		for _, word := range regexp.MustCompile(`\b[A-Z][A-Za-z]+[a-z]\b`).FindAllString(list, -1) {
			if _, known := reasons[word]; !known && word != "For" {
				t.Errorf("%s lists the reason %s, which reasons.go does not have", condition.name, word)
			}
			reasons[word] = true
		}
	}
	for reason, listed := range reasons {
		if !listed {
			t.Errorf("no condition lists the reason %s", reason)
		}
	}
}

// TestEveryReasonIsGivenByAController: a reason that nothing gives is a promise to people who write alerts and scripts.
func TestEveryReasonIsGivenByAController(t *testing.T) {
	given := map[string]bool{}
	for _, root := range []string{"../../controllers", "../../internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			// The announcer passes reasons on and gives none.
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || entry.Name() == "announce.go" {
				return err
			}
			source, err := os.ReadFile(path)
			for _, name := range regexp.MustCompile(`\bv1alpha1\.(Reason\w+)`).FindAllSubmatch(source, -1) {
				given[string(name[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, reason := range constants(t, "reasons.go") {
		if !given[reason.name] {
			t.Errorf("no controller gives the reason %s", reason.value)
		}
	}
}
