// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"runtime"
	"testing"
)

func TestAFileIsReadOnceAsLongAsItsKeyIsInUse(t *testing.T) {
	of, err := Generate(t.Context(), Ed25519, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := of.PEM()
	if err != nil {
		t.Fatal(err)
	}
	var kept files
	parsed := 0
	read := func() KeyPair {
		pair, err := kept.read(text, func() (KeyPair, error) { parsed++; return parsePEM(text) })
		if err != nil || !pair.Equal(of) {
			t.Fatalf("got %v (%v), want %v", pair, err, of)
		}
		return pair
	}
	pair := read()
	runtime.GC()
	if again := read(); parsed != 1 || again.Signer() == nil {
		t.Errorf("it was parsed %d times, while somebody has it", parsed)
	}
	runtime.KeepAlive(pair.private)
	files := func() (n int) {
		kept.known.Range(func(any, any) bool { n++; return true })
		return n
	}
	for rounds := 0; files() > 0; rounds++ { // cleanups run beside us, some time after a collection
		if rounds > 10_000 {
			t.Fatal("a key that nobody has is still known")
		}
		runtime.GC()
		runtime.Gosched()
	}
	if read(); parsed != 2 {
		t.Errorf("it was parsed %d times, and nobody had it in between", parsed)
	}
}
