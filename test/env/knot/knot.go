// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package knot runs Knot DNS as the primary of one zone, on a port that needs no privilege.
package knot

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Server is a running Knot.
type Server struct {
	Addr    netip.AddrPort
	process *process.Process
}

const config = `server:
  rundir: DIR
  listen: ADDR@PORT
  automatic-acl: off
database:
  storage: DIR
log:
- target: stderr
  any: notice
key:
- id: KEY
  algorithm: hmac-sha256
  secret: SECRET
acl:
- id: operator
  key: KEY
  action: [update, transfer, query]
- id: everybody
  action: [transfer, query]
zone:
- domain: ZONE
  storage: DIR
  file: zone
  zonefile-load: whole
  acl: [operator, everybody]
`

// Start serves zone with these lines of a zone file, and takes updates that are signed with the key. Files are kept in dir.
func Start(ctx context.Context, dir string, addr netip.AddrPort, zone, text, keyName, secret string) (*Server, error) {
	knotd, err := process.Find("knotd", "knot")
	if err != nil {
		return nil, err
	}
	conf := strings.NewReplacer("DIR", dir, "ADDR", addr.Addr().String(), "PORT", fmt.Sprint(addr.Port()), "ZONE", zone,
		"KEY", keyName, "SECRET", secret).Replace(config)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "zone"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(conf), 0o600),
	)
	if err != nil {
		return nil, fmt.Errorf("knot: %w", err)
	}
	s := &Server{Addr: addr}
	if s.process, err = process.Start(dir, "knotd", process.Options{}, knotd, "-c", filepath.Join(dir, "knot.conf")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.process.Await(ctx, func(ctx context.Context) error { return nameserver.Serves(ctx, addr, zone) }); err != nil {
		return nil, errors.Join(err, s.process.Stop())
	}
	return s, nil
}

// Stop ends the server.
func (s *Server) Stop() error { return s.process.Stop() }
