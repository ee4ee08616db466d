// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build openssl

package rsasign

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

func TestThisBuildSignsWithOpenSSL(t *testing.T) {
	if e := Current(); e.Missing != nil || !strings.HasPrefix(e.Name, "OpenSSL 3.") {
		t.Fatalf("the engine is %s", e)
	}
	held := Hold(generate(t, dkim.RSA, 2048))
	if _, err := held.PEM(); err == nil {
		t.Error("the private key is still Go's")
	}
}

func TestWithoutLibcryptoGoSignsAndSaysWhy(t *testing.T) {
	e := load("libcrypto-that-nobody-has.so.3")
	if e.hold != nil || !strings.HasPrefix(e.Name, "Go ") || !strings.Contains(fmt.Sprint(e.Missing), "libcrypto-that-nobody-has.so.3 cannot be loaded") {
		t.Errorf("the engine is %s", e)
	}
	pair := generate(t, dkim.RSA, 2048)
	if held := e.Hold(pair); !held.Equal(pair) || len(sign(t, held, "x")) != 256 {
		t.Error("Go does not sign")
	}
}

// A reload drops keys that messages on their way still sign with.
func TestAKeyThatIsDroppedIsNotFreedWhileItSigns(t *testing.T) {
	pair := generate(t, dkim.RSA, 2048)
	want := sign(t, pair, "x")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if !bytes.Equal(sign(t, Hold(pair), "x"), want) {
					t.Error("a wrong signature")
				}
				runtime.GC()
			}
		})
	}
	wg.Wait()
}

func TestKeysThatAreDroppedAreFreed(t *testing.T) {
	pair := generate(t, dkim.RSA, 2048)
	before := 0
	for i := range 2500 {
		if Hold(pair).IsZero() {
			t.Fatal("no key")
		}
		if i%100 == 0 {
			runtime.GC() // and with it the finalizers
		}
		if i == 500 {
			before = resident(t)
		}
	}
	// 2,000 keys that leak are over 10 MB: each has its numbers, their Montgomery forms and a blinding.
	if grown := resident(t) - before; grown > 5<<20 {
		t.Errorf("2,000 keys that nobody refers to take %d octets", grown)
	}
}

// resident is how much memory of this process is in use, in octets.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
