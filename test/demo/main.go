// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the operator at work on this machine alone: a private
// Kubernetes API server and a private DNS, the manager and the milter as built,
// and a message that a verifier of others judges. `make demo` runs it.
//
// It ends by itself, with 0 if all was as it should be, and leaves nothing
// behind. With KEEP=1 it goes on until Ctrl-C, so that one can play.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// interrupted is the exit code of a program that Ctrl-C ended.
const interrupted = 130

var (
	errInterrupted = errors.New("interrupted")
	errTimeout     = errors.New("it took too long")
)

func main() {
	manager := flag.String("manager", "bin/manager", "the operator's binary")
	milter := flag.String("milter", "bin/milter", "the milter's binary")
	timeout := flag.Duration("timeout", 3*time.Minute, "how long the demo may take")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())

	d := &demo{screen: newScreen(os.Stdout), managerPath: *manager, milterPath: *milter, keep: os.Getenv("KEEP") == "1"}
	os.Exit(d.run(*timeout))
}

// run plays the demo, cleans up and gives the verdict. It returns the exit code.
func (d *demo) run(timeout time.Duration) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	d.cancel = cancel
	signals := make(chan os.Signal, 1)
	// SIGPIPE: `make demo | head` must not leave processes behind.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()

	story, stop := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w: more than %s", errTimeout, timeout))
	err := d.play(story)
	stop()
	took := d.screen.elapsed()
	if err != nil {
		d.explain(err)
	}
	if d.keep && d.client != nil && !errors.Is(err, errInterrupted) {
		if ended := d.stay(ctx); ended != nil {
			d.explain(ended)
			err = errors.Join(err, ended)
		}
	}
	err = errors.Join(err, d.cleanUp())
	return d.verdict(err, took)
}

// verdict is the last line.
func (d *demo) verdict(err error, story time.Duration) int {
	s := d.screen
	took := fmt.Sprintf("%.1f s", story.Seconds())
	s.line("")
	switch {
	case errors.Is(err, errInterrupted):
		s.line(s.paint(yellow, "INTERRUPTED") + " after " + took + "; nothing is left behind")
		return interrupted
	case err != nil:
		s.line(s.paint(red, "FAIL") + " after " + took + ": " + firstLine(err))
		return 1
	}
	s.line(s.paint(green, "PASS") + " in " + took + ": signed, verified, tampering seen, no foreign record touched, nothing left behind")
	return 0
}
