// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process runs the real servers of a test: each with a log of its own,
// ended by its process id, never by a name.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM before it is killed.
const stopTimeout = 20 * time.Second

// Process is a running child of ours.
type Process struct {
	name    string
	logFile string
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// Options say how a process is run; the zero value runs it as its parent does.
type Options struct {
	Env    []string // beside those of its parent
	UID    uint32   // not 0: runs as this user ...
	GID    uint32   // ... and this group
	Groups []uint32
}

// Start runs a program and returns while it runs. What it prints is appended to NAME.log in dir.
func Start(dir, name string, options Options, path string, args ...string) (*Process, error) {
	p := &Process{name: name, logFile: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	// Not CommandContext: a server outlives the test that started it, and Stop ends it.
	p.command = exec.Command(path, args...) //nolint:noctx // see above
	p.command.Stdout, p.command.Stderr = log, log
	p.command.Env = append(os.Environ(), options.Env...)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if options.UID != 0 {
		p.command.SysProcAttr.Credential = &syscall.Credential{Uid: options.UID, Gid: options.GID, Groups: options.Groups}
	}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended is in its log
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Kill sends SIGKILL and waits for the end.
func (p *Process) Kill() { p.signal(syscall.SIGKILL); <-p.ended }

// Pause keeps the process from doing anything until Resume: its sockets stay open, and nobody answers on them.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

// Stop sends SIGTERM, and SIGKILL if that does not end the process in time.
func (p *Process) Stop() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed:\n%s", p.name, stopTimeout, p.Tail(20))
	}
}

// signal goes through os.Process, which never signals an id that was given to another process.
func (p *Process) signal(s os.Signal) {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.command.Process.Kill()
	}
}

// Tail is the last lines of the log.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Await asks ready until it returns nil, the process ends, or ctx does.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, err, p.Tail(20))
		case <-p.ended:
			return fmt.Errorf("%s ended:\n%s", p.name, p.Tail(20))
		case <-tick.C:
		}
	}
}

// Find returns the path of a program that a Debian package brings. The error is the command that installs it.
func Find(program, debianPackage string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: run hack/install-debian-packages.sh, or apt-get install %s", program, debianPackage)
}

// OpenFiles are the paths that the process holds open.
func (p *Process) OpenFiles() ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", p.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open files of %s: %w", p.name, err)
	}
	var paths []string
	for _, e := range entries {
		if path, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // it may be closed by now
			paths = append(paths, path)
		}
	}
	return paths, nil
}
