// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// configured gives flags a file and a command line.
func configured(t *testing.T, text string, args ...string) (*options, *pflag.FlagSet, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "milter.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var o options
	flags := pflag.NewFlagSet("milter", pflag.ContinueOnError)
	o.flags(flags)
	if err := flags.Parse(append(args, "--config", path)); err != nil {
		t.Fatal(err)
	}
	var err error
	o.from, err = loadConfig(path, flags)
	return &o, flags, err
}

func TestAFileSetsWhatTheCommandLineLeavesOpen(t *testing.T) {
	o, _, err := configured(t, `# Beside Postfix.
sign: [unix:/run/milter/sign.sock, "tcp:127.0.0.1:8891"]
keys:
- /keys
policy: {unknown_domain: reject, no_from: tempfail}
socket-mode: 0600
deadline: 5s
max-connections: 7
require-senders: true
http: ""
`, "--max-connections", "9")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"unix:/run/milter/sign.sock", "tcp:127.0.0.1:8891"}, o.sign); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"unknown_domain": "reject", "no_from": "tempfail"}, o.policy); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(o.keys, []string{"/keys"}) || o.socketMode != "0600" || o.deadline != 5*time.Second || o.maxConnections != 9 || !o.requireSenders || o.http != "" {
		t.Errorf("%+v", o)
	}
	if _, err := o.settle(); err != nil {
		t.Error(err)
	}
}

// TestEveryFlagCanStandInTheFile: its default can, at least.
func TestEveryFlagCanStandInTheFile(t *testing.T) {
	_, flags, err := configured(t, "")
	if err != nil {
		t.Fatal(err)
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(notInFile, f.Name) {
			return
		}
		text := f.DefValue
		switch {
		case f.Value.Type() == "stringToString":
			text = "{no_from: accept}"
		case strings.HasSuffix(f.Value.Type(), "Array"), strings.HasSuffix(f.Value.Type(), "Slice"):
			text = "[a, b]"
		case text == "":
			text = `""`
		}
		if _, after, err := configured(t, f.Name+": "+text+"\n"); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		} else if got := after.Lookup(f.Name).Value.String(); text == f.DefValue && got != f.DefValue {
			t.Errorf("%s: %q", f.Name, got)
		}
	})
}

func TestFaultsOfAFileNameTheLineAndWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"keys: [/k]\nsingn: [unix:/s]\n":          "milter.yaml:2: singn: no such setting; want one of authserv-id, ",
		"config: other.yaml\n":                    "milter.yaml:1: config: no such setting",
		"keys: /k\n":                              "milter.yaml:1: keys: want a list, such as [a, b]",
		"keys: [[/k]]\n":                          "milter.yaml:1: keys: want a list",
		"keys:\n":                                 "milter.yaml:1: keys: want a list",
		"\n\ndeadline: fast\n":                    `milter.yaml:3: deadline: "fast" is not a duration, such as 10s`,
		"deadline: [1s]\n":                        `milter.yaml:1: deadline: want a value, such as "10s"`,
		"deadline:\n":                             `milter.yaml:1: deadline: want a value`,
		"policy: [no_from]\n":                     "milter.yaml:1: policy: want names and values, such as {a: b, c: d}",
		"deadline: 1s\nmemory: 9\ndeadline: 2s\n": "milter.yaml:3: deadline: is set twice, first at milter.yaml:1: deadline",
		"- keys\n":                                "milter.yaml:1: want settings, one a line",
		"keys: [/k\n":                             "milter.yaml: line 1: did not find expected",
		"check: true\n---\ncheck: false\n":        "milter.yaml: more than one document",
	} {
		if _, _, err := configured(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, _, err := configured(t, "a: 1\nb: 2\n")
	if err == nil || strings.Count(err.Error(), "no such setting") != 2 {
		t.Errorf("not every fault is told: %v", err)
	}
}

func TestWhatIsWrongWithAValueNamesTheLineThatHasIt(t *testing.T) {
	o, _, err := configured(t, "sign: [unix:relative]\nkeys: [/k]\nmax-connections: 0\npolicy: {odd: accept}\n", "--deadline", "0s")
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.settle()
	for _, want := range []string{
		"milter.yaml:1: sign unix:relative: want an absolute path", "milter.yaml:3: max-connections 0: want at least 1",
		"milter.yaml:4: policy odd: no such reason", "--deadline 0s: want more than 0",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in:\n%v", want, err)
		}
	}
	cmd := newCommand(io.Discard, io.Discard)
	cmd.SetArgs([]string{"--config", "/none/milter.yaml"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--config: open /none/milter.yaml: no such file") {
		t.Errorf("a file that is missing: %v", err)
	}
}
