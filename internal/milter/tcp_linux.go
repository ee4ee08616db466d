// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"net"

	"golang.org/x/sys/unix"
)

// tune makes a TCP connection answer and acknowledge at once: with Nagle's
// algorithm on one side and delayed acknowledgements on the other, every message waits some 40 ms.
func tune(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	_ = tcp.SetNoDelay(true)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	return &quickConn{Conn: conn, ack: func() {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
		})
	}}
}

// quickConn asks for quick acknowledgement after each read: the kernel forgets it (tcp(7)).
type quickConn struct {
	net.Conn

	ack func()
}

// Read reads and acknowledges.
func (c *quickConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.ack()
	return n, err
}
