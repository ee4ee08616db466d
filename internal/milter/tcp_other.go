// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package milter

import "net"

// tune makes a TCP connection answer at once; quick acknowledgement is a matter of Linux.
func tune(conn net.Conn) net.Conn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
	}
	return conn
}
