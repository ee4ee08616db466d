// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// guard returns a folder with a script for each binary that has the kernel end it when we end, however that happens: a
// panic or a SIGKILL would leave an etcd and an API server behind. Where setpriv (util-linux) is missing it returns
// the binaries' own folder.
func guard(assets string, names ...string) (string, error) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return assets, nil //nolint:nilerr // not on Linux: who kills the tests there looks for what is left
	}
	folder, err := os.MkdirTemp("", "maildomain-control-plane-")
	if err != nil {
		return "", fmt.Errorf("prepare the API server: %w", err)
	}
	for _, name := range names {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' --pdeathsig KILL -- '%s' \"$@\"\n", setpriv, filepath.Join(assets, name))
		if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o700); err != nil {
			return "", errors.Join(fmt.Errorf("prepare the API server: %w", err), os.RemoveAll(folder))
		}
	}
	return folder, nil
}

// steady runs start on a thread that lasts until release is closed: the kernel takes the end of the thread that started
// a process for the end of its parent (prctl(2), PR_SET_PDEATHSIG).
func steady(release <-chan struct{}, start func() error) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- start()
		<-release
	}()
	return <-started
}
