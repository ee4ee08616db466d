// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end before it is killed.
const stopTimeout = 15 * time.Second

// program is a process that the demo runs, with its output in a file.
type program struct {
	name    string
	log     string
	command *exec.Cmd
	end     context.CancelFunc
	ended   chan struct{} // closed when the process has ended
}

// start runs a program. If it ends before stop was called, ended is told why.
func start(ctx context.Context, folder, path string, environment []string, ended func(error), args ...string) (*program, error) {
	p := &program{name: filepath.Base(path), log: filepath.Join(folder, filepath.Base(path)+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	// Not ctx: the programs end in their order, whatever ends the demo.
	ctx, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.command = exec.CommandContext(ctx, path, args...)
	p.command.Env = append(os.Environ(), environment...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.Cancel = func() error { return p.command.Process.Signal(syscall.SIGTERM) }
	p.command.WaitDelay = stopTimeout
	// A group of its own: Ctrl-C is for the demo, which ends the others.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		p.end()
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), log.Close())
	}
	go func() {
		err := p.command.Wait()
		_ = log.Close()
		early := ctx.Err() == nil
		close(p.ended)
		if early {
			ended(fmt.Errorf("%s ended by itself: %w", p.name, errors.Join(err, errEnded)))
		}
	}()
	return p, nil
}

var errEnded = errors.New("see its log")

// stop ends the process and waits for it.
func (p *program) stop() error {
	p.end()
	<-p.ended
	if state := p.command.ProcessState; state != nil && !state.Success() {
		return fmt.Errorf("%s did not end well: %s", p.name, state)
	}
	return nil
}

// tail is the end of a log file, without what every start of a controller says.
func tail(path string, lines int) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(data)), "\n"), func(l string) bool {
		return l == "" || strings.Contains(l, "\tStarting ")
	})
	return all[max(0, len(all)-lines):]
}

// freeAddress is an address on loopback that nobody listens on now.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// poll asks every 100 ms until the answer is yes.
func poll(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if yes, err := done(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// answers waits until a URL answers 200 OK.
func answers(ctx context.Context, url string) error {
	return poll(ctx, func() (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet: it is asked again
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
}
