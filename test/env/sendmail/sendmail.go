// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sendmail runs Debian's Sendmail from where hack/sendmail.sh unpacked
// it, with its files in a folder of its own. It needs root, as Sendmail does.
package sendmail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Options say what to run.
type Options struct {
	Name   string // of the host
	Config string // the text of sendmail.mc
	Submit string // that of submit.mc; empty: there is no sendmail(1)
	Listen string // an address that answers when Sendmail is ready
	SASL   string // how logins are checked: a file of Cyrus SASL
}

// Instance is a running Sendmail.
type Instance struct {
	program, dir string
	process      *process.Process
}

// submitter is who sendmail(1) runs as.
const submitter = "mail"

// installed is where Debian's package would be.
const installed = "/usr/share/sendmail/cf"

// unpacked is where hack/sendmail.sh has put the packages.
func unpacked() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME") // as hack/lib.sh has it
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	root := filepath.Join(cache, "maildomain-operator", "sendmail")
	if _, err := os.Stat(filepath.Join(root, "usr/libexec/sendmail/sendmail")); err != nil {
		return "", fmt.Errorf("%w: run hack/sendmail.sh", err)
	}
	return root, nil
}

// Start runs Sendmail with its files below dir and returns when it answers.
func Start(ctx context.Context, dir string, options Options) (*Instance, error) {
	root, err := unpacked()
	if err != nil {
		return nil, err
	}
	i := &Instance{program: filepath.Join(root, "usr/libexec/sendmail/sendmail"), dir: filepath.Join(dir, "sendmail")}
	if err := i.layOut(ctx, root, options); err != nil {
		return nil, fmt.Errorf("lay out Sendmail in %s: %w", i.dir, err)
	}
	// -bD: in the foreground. What waits is tried again soon: nobody waits for a test.
	i.process, err = process.Start(dir, "sendmail", process.Options{}, i.program, "-C", i.path("sendmail.cf"), "-bD", "-q1s", "-X", i.path("traffic.log"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := i.process.Await(ctx, func(ctx context.Context) error { return process.Greets(ctx, options.Listen) }); err != nil {
		return nil, errors.Join(err, i.Stop())
	}
	return i, nil
}

func (i *Instance) path(name string) string { return filepath.Join(i.dir, name) }

func (i *Instance) layOut(ctx context.Context, root string, o Options) error {
	if err := errors.Join(os.Mkdir(i.dir, 0o755), os.Mkdir(i.path("mqueue"), 0o700), os.Mkdir(i.path("clientmqueue"), 0o700)); err != nil {
		return err
	}
	owner, err := user.Lookup(submitter)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	if err := os.Chown(i.path("clientmqueue"), uid, -1); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"aliases": "postmaster: root\n", "local-host-names": "", "trusted-users": "root\n", "access": "", "Sendmail.conf": o.SASL,
	} {
		if err := os.WriteFile(i.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	configs := map[string]string{"sendmail": o.Config, "submit": o.Submit}
	for name, text := range configs {
		if text == "" {
			continue
		}
		text = strings.ReplaceAll(text, installed, root+installed)
		if err := i.compile(ctx, o, name, text); err != nil {
			return err
		}
	}
	return nil
}

// compile makes NAME.cf of the text of NAME.mc, with the folders that are the machine's own moved into ours.
func (i *Instance) compile(ctx context.Context, o Options, name, text string) error {
	m4, err := process.Find("m4", "m4")
	if err != nil {
		return err
	}
	if err := os.WriteFile(i.path(name+".mc"), []byte(text), 0o600); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, m4, "-DMAIL_SETTINGS_DIR="+i.dir+"/", "-DQUEUE_DIR="+i.path("mqueue"), "-DMSP_QUEUE_DIR="+i.path("clientmqueue"),
		"-DconfQUEUE_LA=1000", "-DconfREFUSE_LA=1000", // a busy machine is no reason to take no mail
		"-DconfDOMAIN_NAME="+o.Name, "-DconfPID_FILE="+i.path(name+".pid"), i.path(name+".mc"))
	var complaints strings.Builder
	command.Stderr = &complaints
	cf, err := command.Output()
	if err != nil || complaints.Len() > 0 {
		return fmt.Errorf("m4 %s.mc: %w: %s", name, err, complaints.String())
	}
	// The package would have made the user smmsp.
	cf = bytes.ReplaceAll(cf, []byte("smmsp"), []byte(submitter))
	// E: what is left of the environment, which says where Cyrus SASL finds Sendmail.conf.
	return os.WriteFile(i.path(name+".cf"), fmt.Appendf(cf, "ESASL_CONF_PATH=%s\n", i.dir), 0o600)
}

// Sendmail hands a message to sendmail(1), as a program on this machine would.
func (i *Instance) Sendmail(ctx context.Context, message string, args ...string) (string, error) {
	return i.run(ctx, message, append(i.Program()[1:], args...)...)
}

// Program is sendmail(1) of this instance: the program and its first arguments.
func (i *Instance) Program() []string { return []string{i.program, "-Ac", "-C", i.path("submit.cf")} }

// Flush has Sendmail try again at once what sendmail(1) could not hand over.
func (i *Instance) Flush(ctx context.Context) error {
	_, err := i.run(ctx, "", "-Ac", "-C", i.path("submit.cf"), "-q")
	return err
}

// Queue is what waits: mailq(1), of both queues.
func (i *Instance) Queue(ctx context.Context) (string, error) {
	mine, err := i.run(ctx, "", "-C", i.path("sendmail.cf"), "-bp")
	if err != nil {
		return "", err
	}
	clients, err := i.run(ctx, "", "-C", i.path("submit.cf"), "-bp")
	return mine + clients, err
}

func (i *Instance) run(ctx context.Context, stdin string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, i.program, args...)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("sendmail %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Log is the traffic so far: Sendmail's own log needs a syslog.
func (i *Instance) Log() string {
	text, err := os.ReadFile(i.path("traffic.log"))
	if err != nil {
		return err.Error()
	}
	return string(text) + i.process.Tail(20)
}

// Stop ends Sendmail.
func (i *Instance) Stop() error { return i.process.Stop() }
