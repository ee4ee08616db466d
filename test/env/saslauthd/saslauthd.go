// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package saslauthd checks passwords for Cyrus SASL, which Postfix and Sendmail
// both use, by saslauthd's protocol: login, password, service and realm, each
// with its length in two octets before it; the answer is "OK" or "NO" likewise.
package saslauthd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// Server is a running server.
type Server struct {
	listener  net.Listener
	passwords map[string]string // by login
}

// Configuration is what an MTA's file of Cyrus SASL says to have its users checked here.
func Configuration(dir string) string {
	return "pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\nsaslauthd_path: " + socket(dir) + "\n"
}

func socket(dir string) string { return filepath.Join(dir, "saslauthd") }

// Start listens in dir.
func Start(ctx context.Context, dir string, passwords map[string]string) (*Server, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", socket(dir))
	if err != nil {
		return nil, fmt.Errorf("saslauthd: %w", err)
	}
	if err := os.Chmod(socket(dir), 0o666); err != nil {
		return nil, fmt.Errorf("saslauthd: %w", err)
	}
	s := &Server{listener: listener, passwords: passwords}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.answer(conn)
		}
	}()
	return s, nil
}

// Stop closes the socket.
func (s *Server) Stop() error { return s.listener.Close() }

func (s *Server) answer(conn net.Conn) {
	defer conn.Close()
	var asked [4]string
	for i := range asked {
		var length uint16
		if binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(conn, text); err != nil {
			return
		}
		asked[i] = string(text)
	}
	login, realm := asked[0], asked[3]
	password, known := s.passwords[login]
	if !known && realm != "" { // Sendmail's library takes the login apart
		password, known = s.passwords[login+"@"+realm]
	}
	said := "\x00\x02NO"
	if known && password == asked[1] {
		said = "\x00\x02OK"
	}
	_, _ = conn.Write([]byte(said)) // who hung up needs no answer
}
