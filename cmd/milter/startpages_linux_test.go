// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyPagesThatAreAsInTheirFileAreGivenBack(t *testing.T) {
	smaps := `00400000-00402000 r--p 00000000 fe:00 12 /usr/bin/milter
Size:                  8 kB
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
00402000-00933000 r-xp 00002000 fe:00 12 /usr/bin/milter
Anonymous:             4 kB
00933000-00ead000 r-xp 00533000 fe:00 12 /usr/bin/milter (deleted)
Anonymous:             0 kB
00eae000-00f2c000 rw-p 00aad000 fe:00 12 /usr/bin/milter
Anonymous:             0 kB
1bfaaa000000-1bfaaa800000 r--p 00000000 00:00 0
Anonymous:             0 kB
7ff2abc43000-7ff2abe43000 r-xp 00026000 fe:00 13 /usr/lib/libc.so.6
Anonymous:             0 kB
7fffe3da1000-7fffe3dc2000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`
	want := []segment{{0x400000, 0x402000}, {0x7ff2abc43000, 0x7ff2abe43000}}
	if diff := cmp.Diff(want, pureSegments(strings.NewReader(smaps)), cmp.AllowUnexported(segment{})); diff != "" {
		t.Error(diff)
	}
}

func TestWhatTheStartMappedIsGivenBack(t *testing.T) {
	before := mappedOfFiles(t)
	giveBackStart()
	if after := mappedOfFiles(t); after >= before {
		t.Errorf("%d kB of files were mapped, and %d are", before, after)
	}
}

// mappedOfFiles is how much of files is in this process's memory, in kB.
func mappedOfFiles(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	var kB int
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}
