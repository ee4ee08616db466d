// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"net"
)

// Greets tells whether an SMTP server says hello at an address.
func Greets(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	greeting := make([]byte, 4)
	if _, err := conn.Read(greeting); err != nil {
		return err
	}
	if string(greeting) != "220 " {
		return fmt.Errorf("%s greets with %q", address, greeting)
	}
	_, err = conn.Write([]byte("QUIT\r\n"))
	return err
}
