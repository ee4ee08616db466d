// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/test/bench/load"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// check makes sure that a binary is the build that the table will say it is.
func (b binary) check(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, b.path, "version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s version: %w: %s", b.path, err, out)
	}
	if engine := "RSA signatures by " + b.engine + " "; !strings.Contains(string(out), engine) || strings.Contains(string(out), ", since ") {
		return fmt.Errorf("%s is not the build that was asked for: want %q, got %q", b.path, engine, out)
	}
	return nil
}

// describe says what the figures were measured on.
func describe(ctx context.Context) {
	model := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindStringSubmatch(procFile("cpuinfo"))
	if model == nil {
		model = []string{"", "unknown CPU"}
	}
	out, _ := exec.CommandContext(ctx, "openssl", "version").Output()
	fmt.Printf("%d cores of %s, load %s, %s, %s\n", runtime.NumCPU(), model[1], strings.Fields(procFile("loadavg") + " ?")[0],
		runtime.Version(), strings.TrimSpace(string(out)))
}

func procFile(name string) string {
	text, _ := os.ReadFile("/proc/" + name)
	return string(text)
}

// hasIFMA tells whether the CPU has AVX512-IFMA, with which OpenSSL computes RSA.
func hasIFMA() string {
	if slices.Contains(strings.Fields(procFile("cpuinfo")), "avx512ifma") {
		return "yes"
	}
	return "no"
}

// signaturesPerSecond is that column of `openssl speed`, for RSA and for EdDSA.
var signaturesPerSecond = regexp.MustCompile(`(?m)^ *(?:rsa 2048 bits|253 bits EdDSA \(Ed25519\)) +[\d.]+s +[\d.]+s +([\d.]+) `)

// opensslSpeed is how many signatures all cores make with nothing else to do.
func opensslSpeed(ctx context.Context, a dkim.Algorithm, d time.Duration) (float64, error) {
	program, err := process.Find("openssl", "openssl")
	if err != nil {
		return 0, err
	}
	what := map[dkim.Algorithm]string{dkim.RSA: "rsa2048", dkim.Ed25519: "ed25519"}[a]
	seconds := strconv.Itoa(max(1, int(d.Seconds())))
	out, err := exec.CommandContext(ctx, program, "speed", "-seconds", seconds, "-multi", strconv.Itoa(runtime.NumCPU()), what).Output()
	if err != nil {
		return 0, fmt.Errorf("openssl speed %s: %w", what, err)
	}
	found := signaturesPerSecond.FindSubmatch(out)
	if found == nil {
		return 0, errors.New("openssl speed " + what + " printed no signatures per second:\n" + string(out))
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// bodyRound is how long a body of 1 MB took: the whole way through our body hash, and SHA-256 alone.
type bodyRound struct{ ours, sha256 time.Duration }

func measureBody(rounds int) []bodyRound {
	const chunk = 65535 // as it comes over the socket
	body := []byte(load.NewMessage(sender, 1<<20).Body)
	hash := mailauth.NewBodyHash()
	var out []bodyRound
	for range rounds {
		start := time.Now()
		hash.Reset()
		for part := range slices.Chunk(body, chunk) {
			_, _ = hash.Write(part)
		}
		_, _ = hash.Sum()
		ours := time.Since(start)
		start = time.Now()
		_ = sha256.Sum256(body)
		out = append(out, bodyRound{ours, time.Since(start)})
	}
	return out
}
