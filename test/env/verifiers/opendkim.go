// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package verifiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// openDKIM runs opendkim's test mode on each signature alone: of several it reports one.
func openDKIM(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error) {
	program, err := process.Find("opendkim", "opendkim")
	if err != nil {
		return nil, err
	}
	verdicts, err := Signatures(message)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "maildomain-opendkim-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "opendkim.conf")
	if err := os.WriteFile(config, []byte(fmt.Sprintf("Mode v\nNameservers %s\nDNSTimeout 5\n", dns)), 0o600); err != nil {
		return nil, err
	}
	for i := range verdicts {
		file := filepath.Join(dir, fmt.Sprintf("message-%d", i))
		if err := os.WriteFile(file, onlySignature(message, i), 0o600); err != nil {
			return nil, err
		}
		out, err := exec.CommandContext(ctx, program, "-x", config, "-t", file, "-vv").CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return nil, err
		}
		// The last line is the verdict: "opendkim: FILE: verification (…) succeeded".
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		verdicts[i].Detail = strings.TrimPrefix(lines[len(lines)-1], "opendkim: "+file+": ")
		switch {
		case strings.Contains(string(out), "verification (") && strings.Contains(string(out), ") succeeded"):
			verdicts[i].Result = Pass
		case strings.Contains(string(out), "verification ("):
			verdicts[i].Result = Fail
		default:
			return nil, fmt.Errorf("cannot tell what it says: %w: %q", err, out)
		}
	}
	return verdicts, nil
}

// field is one field of a header with its line ends.
type field []byte

// split takes a message apart; a field goes on over lines that begin with white space.
func split(message []byte) (fields []field, body []byte) {
	header, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	for line := range bytes.Lines(append(header, "\r\n"...)) {
		if len(fields) > 0 && (line[0] == ' ' || line[0] == '\t') {
			fields[len(fields)-1] = append(fields[len(fields)-1], line...)
		} else {
			fields = append(fields, bytes.Clone(line))
		}
	}
	return fields, body
}

func (f field) isSignature() bool {
	name, _, _ := bytes.Cut(f, []byte(":"))
	return strings.EqualFold(string(bytes.TrimSpace(name)), "DKIM-Signature")
}

// onlySignature returns the message with its nth signature and without the others.
func onlySignature(message []byte, nth int) []byte {
	fields, body := split(message)
	var out []byte
	for _, f := range fields {
		if f.isSignature() {
			if nth--; nth != -1 {
				continue
			}
		}
		out = append(out, f...)
	}
	return append(append(out, "\r\n"...), body...)
}

// Signatures says of each signature who claims to have made it; nobody has judged it yet.
func Signatures(message []byte) ([]Verdict, error) {
	fields, _ := split(message)
	var found []Verdict
	for _, f := range fields {
		if !f.isSignature() {
			continue
		}
		tags := map[string]string{}
		_, value, _ := strings.Cut(string(f), ":")
		for tag := range strings.SplitSeq(value, ";") {
			name, content, _ := strings.Cut(tag, "=")
			tags[strings.TrimSpace(name)] = strings.Join(strings.Fields(content), "")
		}
		if tags["s"] == "" || tags["d"] == "" || tags["a"] == "" {
			return nil, fmt.Errorf("a DKIM-Signature without s=, d= or a=: %s", f)
		}
		found = append(found, Verdict{Selector: tags["s"], Domain: tags["d"], Algorithm: tags["a"]})
	}
	return found, nil
}
