// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"os"

	"golang.org/x/sys/unix"
)

// unnamedFile holds data in memory, where only this process finds it: a pod's file system may not be writable, and a file
// that was forgotten would outlive it.
func unnamedFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("credentials", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "credentials")
	if _, err := file.Write(data); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
