// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
)

// execute runs the command as a shell would, up to where it needs an API server.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestFlagsAreRefusedWithWordsThatHelp(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	good := []string{"--owner-id=a", "--operator-namespace=operator"}
	for want, args := range map[string][]string{
		"--owner-id is required":                            {"--operator-namespace=operator"},
		"--operator-namespace is required outside of a pod": {"--owner-id=a"},
		`"Mail" is not the name of a namespace`:             append(good, "--watch-namespace=Mail"),
		"--minimum-wait and --revocation-grace":             append(good, "--minimum-wait=-1s"),
		"--mass-removal-limit is a share from 0 to 1":       append(good, "--mass-removal-limit=10"),
		"--mass-removal-window is at least 1s":              append(good, "--mass-removal-window=0s"),
		"--probe-interval is at least 1s":                   append(good, "--probe-interval=0s"),
		`--log-format is json or console, not "xml"`:        append(good, "--log-format=xml"),
		`--log-level is error, info or debug, not "loud"`:   append(good, "--log-level=loud"),
		`--dns-root "ns.example" is neither an address`:     append(good, "--dns-root=ns.example"),
		"unknown flag: --ownerid":                           {"--ownerid=a"},
	} {
		if _, err := execute(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	_, err := execute(t, "--log-format=xml", "--dns-root=x")
	for _, want := range []string{"--owner-id", "--operator-namespace", "--log-format", "--dns-root"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestRootsTakeTheCommonPort(t *testing.T) {
	roots, err := options{dnsRoots: []string{"127.0.0.1", "127.0.0.2:53", "::1"}, dnsPort: 5300}.roots()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range roots {
		got = append(got, r.String())
	}
	if want := "127.0.0.1:5300 127.0.0.2:53 [::1]:5300"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestTheVersionIsTold(t *testing.T) {
	if out, err := execute(t, "--version"); err != nil || out != "manager version unknown\n" {
		t.Errorf("%q (%v)", out, err)
	}
}
