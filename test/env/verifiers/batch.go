// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package verifiers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"

	_ "embed"
)

// DNS is where a batch finds keys.
type DNS struct {
	Server netip.Addr        // port 53, for those that ask
	Texts  map[string]string // TXT records, for those that can be told: names are without a final dot
}

// JudgeAll has a verifier judge many messages with few processes, which are what costs. The verdicts on each are as Judge returns them.
func (v Verifier) JudgeAll(ctx context.Context, keys DNS, messages [][]byte) ([][]Verdict, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	all, err := v.judgeAll(ctx, keys, messages)
	if err == nil && len(all) != len(messages) {
		err = fmt.Errorf("it judged %d of %d messages", len(all), len(messages))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Name, err)
	}
	return all, nil
}

func goMsgauthAll(_ context.Context, keys DNS, messages [][]byte) (all [][]Verdict, err error) {
	for _, m := range messages {
		found, err := dkim.VerifyWithOptions(bytes.NewReader(m), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			return []string{keys.Texts[name]}, nil
		}})
		if err != nil {
			return nil, err
		}
		verdicts, err := inOrder(m, found)
		if err != nil {
			return nil, err
		}
		all = append(all, verdicts)
	}
	return all, nil
}

func pythonAll(_ context.Context, keys DNS, messages [][]byte) (all [][]Verdict, err error) {
	p, err := StartPython()
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		verdicts, err := p.Judge(m, keys.Texts)
		if err != nil {
			return nil, err
		}
		all = append(all, verdicts)
	}
	return all, p.Close()
}

//go:embed batch.pl
var perlBatch string

func perlAll(ctx context.Context, keys DNS, messages [][]byte) (all [][]Verdict, err error) {
	dir, files, err := writeAll(messages)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path, err := process.Find("perl", perlPackages)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, path, "-e", perlBatch, keys.Server.String())
	command.Stdin = strings.NewReader(strings.Join(files, "\n"))
	var complaints strings.Builder
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w (is it installed? hack/install-debian-packages.sh, or apt-get install %s): %s", err, perlPackages, &complaints)
	}
	for line := range bytes.Lines(out) {
		var verdicts []Verdict
		if err := json.Unmarshal(line, &verdicts); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		all = append(all, verdicts)
	}
	return all, nil
}

// openDKIMRun is how many files one process of opendkim is given.
const openDKIMRun = 200

// openDKIMAll gives it every signature alone: of several it reports one.
func openDKIMAll(ctx context.Context, keys DNS, messages [][]byte) ([][]Verdict, error) {
	var alone [][]byte
	all := make([][]Verdict, len(messages))
	var verdicts []*Verdict // on each of alone
	for i, m := range messages {
		var err error
		if all[i], err = Signatures(m); err != nil {
			return nil, err
		}
		for n := range all[i] {
			alone = append(alone, onlySignature(m, n))
			verdicts = append(verdicts, &all[i][n])
		}
	}
	dir, files, err := writeAll(alone)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	said, err := openDKIMSays(ctx, keys, dir, files)
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		if verdicts[i].Detail = said[file]; said[file] == "" {
			return nil, fmt.Errorf("it says nothing of message %s:\n%s", verdicts[i], alone[i])
		}
		verdicts[i].Result = Fail
		if strings.HasSuffix(said[file], ") succeeded") {
			verdicts[i].Result = Pass
		}
	}
	return all, nil
}

// openDKIMSays is its last word on each file.
func openDKIMSays(ctx context.Context, keys DNS, dir string, files []string) (map[string]string, error) {
	program, err := process.Find("opendkim", "opendkim")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "opendkim.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "Mode v\nNameservers %s\nDNSTimeout 5\nMaximumHeaders 0\n", keys.Server), 0o600); err != nil {
		return nil, err
	}
	said := map[string]string{}
	for run := range slices.Chunk(files, openDKIMRun) {
		out, err := exec.CommandContext(ctx, program, "-x", config, "-t", strings.Join(run, ","), "-vv").Output() // its progress is on the other
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			// "opendkim: FILE: verification (…) succeeded"
			file, detail, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "opendkim: "), ": ")
			if strings.HasPrefix(detail, "verification (") {
				said[file] = detail
			}
		}
	}
	return said, nil
}

// writeAll writes each message to a file of a new folder.
func writeAll(messages [][]byte) (dir string, files []string, err error) {
	if dir, err = os.MkdirTemp("", "maildomain-batch-"); err != nil {
		return "", nil, err
	}
	for i, m := range messages {
		file := filepath.Join(dir, fmt.Sprintf("%05d", i))
		if err := os.WriteFile(file, m, 0o600); err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		files = append(files, file)
	}
	return dir, files, nil
}
