// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"crypto"
	"crypto/sha256"
	"runtime"
	"sync"
	"weak"
)

// inUse knows the files of the key pairs that somebody holds. To see whether the numbers of an RSA key belong together
// takes a quarter of a millisecond, and the same few files are read again and again: by each look at a domain, and by
// each reload of a milter that changes one domain of a thousand.
//
// It holds no private key itself: one that nobody uses any more is garbage as if it had not been here. The
// certificates of crypto/tls are kept in the same way.
var inUse files

type files struct{ known sync.Map } // by the SHA-256 of a file: weak.Pointer[held]

// held is a key pair that lives as long as a copy of it does.
type held struct{ KeyPair }

func (f *files) read(data []byte, parse func() (KeyPair, error)) (KeyPair, error) {
	name := sha256.Sum256(data)
	if found, ok := f.known.Load(name); ok {
		if h := found.(weak.Pointer[held]).Value(); h != nil {
			return h.KeyPair, nil
		}
	}
	pair, err := parse()
	if err != nil {
		return KeyPair{}, err
	}
	h := &held{pair}
	h.private = func() crypto.Signer {
		runtime.KeepAlive(h) // every copy of the pair holds it
		return pair.private()
	}
	mine := weak.Make(h)
	f.known.Store(name, mine)
	runtime.AddCleanup(h, func(name [sha256.Size]byte) { f.known.CompareAndDelete(name, mine) }, name)
	return h.KeyPair, nil
}
