// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/kubelet"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

const nobody = 65534 // who the milter runs as

// StartManager starts the operator and returns when it is ready. It is also how a killed one comes back.
func (s *Site) StartManager(ctx context.Context) error {
	first := s.Manager == nil
	if err := s.LaunchManager(); err != nil {
		return err
	}
	if first {
		s.stops = append(s.stops, func() error { return s.Manager.Stop() })
	}
	return s.Manager.Await(ctx, func(ctx context.Context) error { return Healthy(ctx, ManagerHealth) })
}

// LaunchManager starts the operator with the rights of its ServiceAccount, and every wait shortened.
func (s *Site) LaunchManager() (err error) {
	s.Manager, err = process.Start(s.options.Dir, "manager", process.Options{Env: []string{"KUBECONFIG=" + s.kubeconfig}},
		filepath.Join(s.options.Dir, "bin", "manager"), "--owner-id", "site", "--operator-namespace", OperatorNamespace, "--dns-root", bind.Root.String(),
		"--minimum-wait", "2s", "--revocation-grace", "2s", "--probe-interval", "10s", "--log-level", "debug",
		"--metrics-bind-address", "127.0.0.1:8080", "--health-probe-bind-address", "127.0.0.1:8081")
	return err
}

// makeMilter makes the milter's folders, with kubelet's mirror of the signing Secret, and starts it.
func (s *Site) makeMilter(ctx context.Context) error {
	mailer, err := user.Lookup(postfix.User)
	if err != nil {
		return fmt.Errorf("%w: run hack/install-debian-packages.sh, or apt-get install postfix", err)
	}
	group, err := strconv.ParseUint(mailer.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.group = uint32(group)
	run := filepath.Join(s.options.Dir, "milter")
	s.Keys, s.Socket = filepath.Join(run, "keys"), filepath.Join(run, "sign.sock")
	for _, folder := range []string{run, s.Keys} {
		if err := os.Mkdir(folder, 0o770); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(folder, nobody, int(s.group)), os.Chmod(folder, 0o770)); err != nil {
			return err
		}
	}
	s.StartMirror() //nolint:contextcheck // it outlives the start
	s.stops = append(s.stops, func() error { return errors.Join(s.StopMirror(), s.Milter.Stop()) })
	return s.StartMilter(ctx)
}

// StartMilter starts the milter as a user that is neither root nor Postfix, in Postfix' group. It is also how a killed one comes back.
func (s *Site) StartMilter(ctx context.Context) (err error) {
	s.Milter, err = process.Start(s.options.Dir, "milter", process.Options{UID: nobody, GID: s.group}, filepath.Join(s.options.Dir, "bin", "milter"),
		"--sign", "unix:"+s.Socket, "--keys", s.Keys, "--http", "127.0.0.1:8085", "--rescan", "1s")
	if err != nil {
		return err
	}
	return s.Milter.Await(ctx, func(ctx context.Context) error { return Healthy(ctx, MilterURL+"/healthz") })
}

// StartMirror does what kubelet does with the milter's volume.
func (s *Site) StartMirror() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		// The files belong to the milter's user, as with fsGroup. This id is the thread's, which ends with the goroutine.
		runtime.LockOSThread()
		if err := syscall.Setfsuid(nobody); err != nil {
			done <- err
			return
		}
		done <- kubelet.Mirror(ctx, s, Namespace, SigningSecret, s.Keys, s.options.Lag)
	}()
	s.StopMirror = func() error { cancel(); return <-done }
}
