// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netns gives a test binary a network of its own: a namespace that has
// nothing but its loopback interface, where servers may listen on port 53 and 25
// beside those of the machine, and from where nothing reaches the Internet.
//
//	func TestMain(m *testing.M) { os.Exit(netns.Main(m.Run, nameserver)) }
package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// inside marks the process that runs in the namespace.
const inside = "MAILDOMAIN_TEST_NETNS"

// Main runs the test binary again, as a child in namespaces of its own, and
// returns its exit code. In the child it calls run.
//
// In the child /etc/resolv.conf names resolver alone, so that programs without
// an option for it ask the private DNS too.
func Main(run func() int, resolver netip.Addr) int {
	if os.Getenv(inside) == "" {
		code, err := again()
		if err != nil {
			fmt.Fprintln(os.Stderr, "network namespace:", err)
			return 1
		}
		return code
	}
	if err := enter(resolver); err != nil {
		fmt.Fprintln(os.Stderr, "network namespace:", err)
		return 1
	}
	return run()
}

// again starts this binary in new network, mount and process namespaces and
// waits for it. However it ends, the kernel ends every server that it started:
// they live in its process namespace.
func again() (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests need root, for a network namespace and for Postfix: run sudo make test-integration")
	}
	child := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // the tests' own -timeout bounds it
	child.Args[0] = os.Args[0]
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), inside+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The signal of Pdeathsig comes when this thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := child.Start(); err != nil {
		return 0, fmt.Errorf("it cannot be made here (in a container: docker run --privileged): %w", err)
	}
	// The child gets what `go test` or a terminal sends to us, and cleans up.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s)
		}
	}()
	err := child.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// enter brings the loopback interface up and points resolv.conf at the resolver, in this namespace alone.
func enter(resolver netip.Addr) error {
	ip, err := process.Find("ip", "iproute2")
	if err != nil {
		return err
	}
	if out, err := exec.Command(ip, "link", "set", "lo", "up").CombinedOutput(); err != nil { //nolint:noctx // it ends at once
		return fmt.Errorf("bring up loopback: %w: %s", err, out)
	}
	// Private first, or the mount below would be seen by the whole machine.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("give the namespace a /proc of its own: %w", err)
	}
	file, err := os.CreateTemp("", "maildomain-resolv-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // the mount keeps what it needs
	if _, err := fmt.Fprintf(file, "nameserver %s\noptions timeout:2 attempts:2\n", resolver); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	if err := syscall.Mount(file.Name(), "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("give the namespace a resolv.conf of its own: %w", err)
	}
	return nil
}
