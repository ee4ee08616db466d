// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package powerdns runs the PowerDNS Authoritative Server with its SQLite backend as the primary of one zone: it takes
// updates that are signed by TSIG, and has its HTTP API open.
package powerdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Server is a running PowerDNS.
type Server struct {
	Addr    netip.AddrPort
	URL     string // of the HTTP API
	APIKey  string
	process *process.Process
}

// Nothing is cached: what was written is what is answered.
const config = `launch=gsqlite3
gsqlite3-database=DIR/pdns.sqlite
gsqlite3-dnssec=no
local-address=ADDR
local-port=PORT
api=yes
api-key=APIKEY
webserver=yes
webserver-address=ADDR
webserver-port=WEBPORT
webserver-allow-from=127.0.0.0/8
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
allow-axfr-ips=127.0.0.0/8
socket-dir=DIR
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
receiver-threads=1
distributor-threads=1
guardian=no
daemon=no
disable-syslog=yes
`

const schema = "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql"

// Start serves zone with these lines of a zone file. Files are kept in dir; the API listens on the port after addr's.
func Start(ctx context.Context, dir string, addr netip.AddrPort, zone, text, keyName, secret string) (*Server, error) {
	pdns, err := process.Find("pdns_server", "pdns-server")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, URL: fmt.Sprintf("http://%s:%d", addr.Addr(), addr.Port()+1), APIKey: "an-api-key-of-powerdns"}
	conf := strings.NewReplacer("DIR", dir, "ADDR", addr.Addr().String(), "WEBPORT", fmt.Sprint(addr.Port()+1), "PORT", fmt.Sprint(addr.Port()),
		"APIKEY", s.APIKey).Replace(config)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "zone"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(dir, "pdns.conf"), []byte(conf), 0o600),
		fill(ctx, dir, zone, keyName, secret),
	)
	if err != nil {
		return nil, fmt.Errorf("powerdns: %w", err)
	}
	if s.process, err = process.Start(dir, "pdns_server", process.Options{}, pdns, "--config-dir="+dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.process.Await(ctx, func(ctx context.Context) error { return nameserver.Serves(ctx, addr, zone) }); err != nil {
		return nil, errors.Join(err, s.process.Stop())
	}
	return s, nil
}

// fill makes the database.
func fill(ctx context.Context, dir, zone, keyName, secret string) error {
	sqlite, err := process.Find("sqlite3", "sqlite3")
	if err != nil {
		return err
	}
	util, err := process.Find("pdnsutil", "pdns-server")
	if err != nil {
		return err
	}
	for _, command := range [][]string{
		{sqlite, filepath.Join(dir, "pdns.sqlite"), ".read " + schema},
		{util, "--config-dir=" + dir, "load-zone", zone, filepath.Join(dir, "zone")},
		{util, "--config-dir=" + dir, "import-tsig-key", keyName, "hmac-sha256", secret},
		{util, "--config-dir=" + dir, "set-meta", zone, "TSIG-ALLOW-DNSUPDATE", keyName},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}

// Stop ends the server.
func (s *Server) Stop() error { return s.process.Stop() }
