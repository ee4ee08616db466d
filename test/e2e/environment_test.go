// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

const startTimeout = 3 * time.Minute

// environment is everything that runs.
type environment struct {
	once sync.Once
	err  error

	*site.Site
	*transcript
	dir string // all files; the user postfix may pass
}

func (e *environment) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := e.makeDir(); err != nil {
		return err
	}
	var err error
	e.Site, err = site.Start(ctx, site.Options{
		Dir: e.dir, Zones: zones(), Origin: acme, Namespaces: []string{troubleNamespace, stormNamespace, cutOffNamespace},
		Lag: 100 * time.Millisecond,
	})
	return err
}

func (e *environment) makeDir() (err error) {
	if e.dir, err = os.MkdirTemp("", "maildomain-e2e-"); err != nil {
		return err
	}
	if err = os.Chmod(e.dir, 0o755); err != nil {
		return err
	}
	e.transcript, err = openTranscript(e.dir)
	return err
}

// stop ends what runs, and leaves the transcript and the logs.
func (e *environment) stop() error {
	if e.Site == nil {
		return nil
	}
	return errors.Join(e.Stop(), e.Clean())
}
