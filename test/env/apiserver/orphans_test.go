// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
)

// victim in the environment makes this binary start an API server and wait for its own end.
const victim = "MAILDOMAIN_TEST_VICTIM"

func beVictim() int {
	if _, err := apiserver.Start(context.Background(), apiserver.Options{ControllerManager: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("up") //nolint:forbidigo // to the test that waits for it
	select {}
}

func TestATestThatIsKilledLeavesNoProcessBehind(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), binary)
	child.Env, child.Stderr = append(os.Environ(), victim+"=1"), os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("it says %q (%v)", line, err)
	}
	servers := childrenOf(t, child.Process.Pid)
	if len(servers) != 3 {
		t.Fatalf("it has the children %v, not etcd, kube-apiserver and kube-controller-manager", servers)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for deadline := time.After(30 * time.Second); ; {
		left := map[int]string{}
		for pid, name := range servers {
			if now, _ := parentOf(pid); now == name {
				left[pid] = name
			}
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("left behind: %v", left)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// childrenOf lists the children of a process: names by id.
func childrenOf(t *testing.T, parent int) map[int]string {
	t.Helper()
	children := map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("this test reads /proc: %v", err)
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if name, of := parentOf(pid); of == parent {
			children[pid] = name
		}
	}
	return children
}

// parentOf reads the name and the parent of a process; one that has ended, reaped or not, has none (proc(5), stat).
func parentOf(pid int) (name string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	open, end := strings.Index(string(text), "("), strings.LastIndex(string(text), ")")
	if open < 0 || end < open {
		return "", 0
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 2 || fields[0] == "Z" {
		return "", 0
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return "", 0
	}
	return string(text[open+1 : end]), parent
}
