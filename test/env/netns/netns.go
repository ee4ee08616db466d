// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netns gives a test binary a network of its own: a namespace that has
// nothing but its loopback interface, where servers may listen on port 53 and 25
// beside those of the machine, and from where nothing reaches the Internet.
//
//	func TestMain(m *testing.M) { os.Exit(netns.Main(m.Run, resolver)) }
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
// In the child the loopback interface has the addresses, too, and /etc/resolv.conf names resolver alone, so that programs without
// an option for it ask the private DNS too.
func Main(run func() int, resolver netip.Addr, addresses ...netip.Addr) int {
	if os.Getenv(inside) == "" {
		code, err := again()
		if err != nil {
			fmt.Fprintln(os.Stderr, "network namespace:", err)
			return 1
		}
		return code
	}
	if err := enter(resolver, addresses); err != nil {
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
func enter(resolver netip.Addr, addresses []netip.Addr) error {
	ip, err := process.Find("ip", "iproute2")
	if err != nil {
		return err
	}
	commands := [][]string{
		{"link", "set", "lo", "up"},
		// kube-apiserver does not start without a default route and a global address (RFC 5737) of its own ...
		{"address", "add", "192.0.2.1/32", "dev", "lo"},
		{"route", "add", "default", "dev", "lo"},
	}
	// ... and yet nothing is out there: who tries is told at once. Not 0.0.0.0/1, which it takes for a default route, too.
	for bits := 8; bits > 0; bits-- {
		commands = append(commands, []string{"route", "add", "unreachable", fmt.Sprintf("%d.0.0.0/%d", 1<<(8-bits), bits)})
	}
	for _, a := range addresses {
		commands = append(commands, []string{"address", "add", a.String() + "/32", "dev", "lo"})
	}
	for _, args := range commands {
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil { //nolint:noctx // it ends at once
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
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
	defer os.Remove(file.Name())
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
