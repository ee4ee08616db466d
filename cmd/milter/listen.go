// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/maildomain-operator/maildomain-operator/internal/milter"
)

// listenAddress is where a listener listens.
type listenAddress struct{ network, address string }

// String is the address as the flag has it.
func (l listenAddress) String() string { return l.network + ":" + l.address }

// listener is a listener and what it is for; a flag has the role's name.
type listener struct {
	listenAddress

	role milter.Role
}

// maxSocketPath is what Linux takes for the path of a Unix socket (unix(7)).
const maxSocketPath = 107

func parseListen(text string) (listenAddress, error) {
	network, address, _ := strings.Cut(text, ":")
	switch network {
	case "unix":
		if !filepath.IsAbs(address) {
			return listenAddress{}, errors.New("want an absolute path, such as unix:/run/milter/sign.sock")
		}
		if len(address) > maxSocketPath {
			return listenAddress{}, fmt.Errorf("the path has %d characters, and a socket takes %d", len(address), maxSocketPath)
		}
	case "tcp":
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return listenAddress{}, errors.New("want tcp:host:port, such as tcp:127.0.0.1:8891")
		}
	default:
		return listenAddress{}, errors.New("want unix:/path or tcp:host:port")
	}
	return listenAddress{network, address}, nil
}

// open tells whether others than this host may reach the listener.
func (l listenAddress) open() bool {
	if l.network != "tcp" {
		return false
	}
	host, _, err := net.SplitHostPort(l.address)
	if err != nil || host == "localhost" {
		return err != nil
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.IsLoopback()
}

// listen opens the listener. A Unix socket that nobody serves any more is replaced.
func (l listenAddress) listen(ctx context.Context, mode fs.FileMode) (net.Listener, error) {
	var lc net.ListenConfig
	if l.network != "unix" {
		return lc.Listen(ctx, l.network, l.address)
	}
	if err := removeStale(ctx, l.address); err != nil {
		return nil, err
	}
	listener, err := lc.Listen(ctx, l.network, l.address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(l.address, mode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// removeStale removes a socket that an earlier process left behind, and nothing else.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s is served by another process", path), conn.Close())
	case !errors.Is(err, syscall.ECONNREFUSED): // Such as EAGAIN: one that is served, and busy.
		return fmt.Errorf("cannot tell whether %s is still served: %w", path, err)
	}
	return os.Remove(path)
}
