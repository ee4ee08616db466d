// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package verifiers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"

	_ "embed"
)

// pythonPackages are Debian's; its Python is run, for another may come first in the PATH.
const pythonPackages = "python3-dkim python3-dnspython python3-nacl"

//go:embed verify.py
var pythonScript string

func python(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error) {
	return script(ctx, message, pythonPackages, "python3", "-c", pythonScript, dns.String())
}

// Python is python3-dkim for many messages: one process, which asks no DNS but is told what it said.
type Python struct {
	command    *exec.Cmd
	in         io.WriteCloser
	out        *json.Decoder
	complaints strings.Builder
}

// StartPython runs python3-dkim until Close.
func StartPython() (*Python, error) {
	path, err := process.Find("python3", pythonPackages)
	if err != nil {
		return nil, err
	}
	p := &Python{command: exec.Command(path, "-c", pythonScript)} //nolint:noctx // Close ends it
	p.command.Stderr = &p.complaints
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	return p, p.command.Start()
}

// Judge returns a verdict for each signature of a message, in the order of its fields, where the DNS has these TXT
// records and no others: names are without a final dot.
func (p *Python) Judge(message []byte, texts map[string]string) ([]Verdict, error) {
	line, err := json.Marshal(map[string]any{"message": message, "texts": texts}) // []byte becomes base64
	if err != nil {
		return nil, err
	}
	var verdicts []Verdict
	_, err = p.in.Write(append(line, '\n'))
	if err == nil {
		err = p.out.Decode(&verdicts)
	}
	if err != nil {
		return nil, fmt.Errorf("python3-dkim: %w", errors.Join(err, p.Close()))
	}
	return verdicts, nil
}

// Close ends the process. The error holds what it complained about.
func (p *Python) Close() error {
	err := errors.Join(p.in.Close(), p.command.Wait())
	if err != nil {
		return fmt.Errorf("%w (is it installed? hack/install-debian-packages.sh, or apt-get install %s): %s", err, pythonPackages, &p.complaints)
	}
	return nil
}
