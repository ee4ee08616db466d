// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench compares our milter, in both builds, with OpenDKIM: same key, same kind of socket, same load, in one run.
//
// The contestants take turns in short rounds, and each figure is a median over rounds: whatever else the machine does
// then slows all of them alike. Nothing is asserted here but that every message is signed and that signatures verify.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	var p plan
	openssl := flag.String("openssl", "bin/openssl/milter", "our milter, built with OpenSSL")
	pure := flag.String("go", "bin/milter", "our milter, built without")
	flag.IntVar(&p.rounds, "rounds", 7, "turns of each contestant per case")
	flag.DurationVar(&p.slice, "slice", time.Second, "length of a turn")
	flag.IntVar(&p.soak, "soak", 100_000, "messages through each of our builds before its memory is read; 0: leave out")
	flag.BoolVar(&p.quick, "quick", false, "the case of the targets only: RSA 2048, 10 KB, 8 sessions")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, p, []binary{{withOpenSSL, *openssl, "OpenSSL"}, {pureGo, *pure, "Go"}})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan, binaries []binary) (err error) {
	dir, err := os.MkdirTemp("", "maildomain-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i := range binaries {
		if binaries[i].path, err = filepath.Abs(binaries[i].path); err != nil {
			return err
		}
		if err := binaries[i].check(ctx); err != nil {
			return err
		}
	}
	contestants, pairs, err := startAll(ctx, dir, binaries)
	defer func() {
		for _, c := range contestants {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err != nil {
		return err
	}
	b := bench{plan: p, contestants: contestants, pairs: pairs, begun: time.Now()}
	describe(ctx)
	if err := b.measure(ctx); err != nil {
		return err
	}
	b.print()
	return nil
}
