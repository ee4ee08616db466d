// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// segment is a range of addresses at which a file is mapped.
type segment struct{ from, to uintptr }

// giveBackStart unmaps the pages of the program and its libraries that are mapped so far.
//
// A start passes nearly all of them once: flags, descriptors, OpenSSL's tables. They would count as memory of this process
// ever after, and signing needs a quarter of them. What is needed again is mapped again, from the kernel's cache.
func giveBackStart() {
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // It only takes more memory.
	}
	defer smaps.Close()
	for _, s := range pureSegments(smaps) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED)
	}
}

// pureSegments reads proc_pid_smaps(5) for code and constants of which every page is as in its file. What was relocated,
// or written by a debugger, is not in the file and would be lost.
//
//	00400000-00fa1000 r-xp 00000000 fe:00 12 /usr/bin/milter
//	Anonymous:             0 kB
func pureSegments(smaps io.Reader) []segment {
	var pure []segment
	var at segment
	isFile := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 1 && !strings.HasSuffix(fields[0], ":"):
			_, err := fmt.Sscanf(fields[0], "%x-%x", &at.from, &at.to)
			isFile = err == nil && len(fields) == 6 && strings.HasPrefix(fields[5], "/") && (fields[1] == "r-xp" || fields[1] == "r--p")
		case isFile && fields[0] == "Anonymous:" && fields[1] == "0":
			pure = append(pure, at)
		}
	}
	return pure
}
