// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package verifiers has DKIM signatures judged by programs that are not ours:
// python3-dkim, Mail::DKIM, opendkim and go-msgauth, each asking the DNS itself.
package verifiers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"

	_ "embed"
)

// Result is what a verifier says of one signature.
type Result string

// The results.
const (
	Pass Result = "pass"
	Fail Result = "fail"
	// Unable: the verifier knows no such algorithm, and by RFC 6376 §6.1 leaves the signature aside.
	Unable Result = "unable"
)

// Verdict is the judgement on one signature.
type Verdict struct {
	Selector  string `json:"selector"`
	Domain    string `json:"domain"`
	Algorithm string `json:"algorithm"` // a=
	Result    Result `json:"result"`
	Detail    string `json:"detail"` // in the verifier's own words
}

// String is the verdict as a line of a transcript.
func (v Verdict) String() string {
	return strings.TrimRight(fmt.Sprintf("%-6s d=%s s=%s a=%s  %s", v.Result, v.Domain, v.Selector, v.Algorithm, v.Detail), " ")
}

// Verifier judges messages.
type Verifier struct {
	Name string
	// Algorithms are those that it knows: values of a=.
	Algorithms []string

	judge    func(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error)
	judgeAll func(ctx context.Context, keys DNS, messages [][]byte) ([][]Verdict, error)
}

// Judge returns a verdict for each signature of a message, in the order of its fields. Keys are asked for at dns, port 53.
func (v Verifier) Judge(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error) {
	verdicts, err := v.judge(ctx, dns, message)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Name, err)
	}
	return verdicts, nil
}

// Knows tells whether it can judge signatures of an algorithm.
func (v Verifier) Knows(algorithm string) bool {
	return slices.Contains(v.Algorithms, algorithm)
}

// All returns every verifier.
func All() []Verifier {
	const rsa, ed25519 = "rsa-sha256", "ed25519-sha256"
	return []Verifier{
		{Name: "python3-dkim", Algorithms: []string{rsa, ed25519}, judge: python, judgeAll: pythonAll},
		{Name: "Mail::DKIM", Algorithms: []string{rsa}, judge: perl, judgeAll: perlAll},
		{Name: "opendkim", Algorithms: []string{rsa, ed25519}, judge: openDKIM, judgeAll: openDKIMAll},
		GoMsgauth(),
	}
}

// GoMsgauth returns the one that runs in this process: quick, for many messages.
func GoMsgauth() Verifier {
	return Verifier{Name: "go-msgauth", Algorithms: []string{"rsa-sha256", "ed25519-sha256"}, judge: goMsgauth, judgeAll: goMsgauthAll}
}

//go:embed verify.pl
var perlScript string

const perlPackages = "libmail-dkim-perl"

func perl(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error) {
	return script(ctx, message, perlPackages, "perl", "-e", perlScript, dns.String())
}

// script runs a script that prints verdicts as JSON.
func script(ctx context.Context, message []byte, packages, program string, args ...string) ([]Verdict, error) {
	path, err := process.Find(program, packages)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, path, args...)
	command.Stdin = strings.NewReader(string(message))
	var complaints strings.Builder
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w (is it installed? hack/install-debian-packages.sh, or apt-get install %s): %s", err, packages, complaints.String())
	}
	var verdicts []Verdict
	if err := json.Unmarshal(out, &verdicts); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return verdicts, nil
}
