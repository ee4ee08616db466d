// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// bodyHashes are the hashes of one body that signatures ask for: one for each pair of canonicalization and l=,
// taken as the body arrives. Their number is bounded by that of the signatures.
type bodyHashes struct {
	forms map[form]*bodyForm
}

// want asks for a hash before the body begins.
func (b *bodyHashes) want(f form, length int64) {
	if b.forms == nil {
		b.forms = map[form]*bodyForm{}
	}
	w := b.forms[f]
	if w == nil {
		w = &bodyForm{relaxed: f == relaxed, sums: map[int64]hash.Hash{}, buf: make([]byte, 0, 4096)}
		b.forms[f] = w
	}
	if w.sums[length] == nil {
		w.sums[length] = sha256.New()
	}
}

func (b *bodyHashes) write(p []byte) {
	for _, f := range b.forms {
		f.write(p)
	}
}

func (b *bodyHashes) end() {
	for _, f := range b.forms {
		f.end()
	}
}

// sum is a hash that was wanted, and how long the body is in that form.
func (b *bodyHashes) sum(f form, length int64) (string, int64) {
	w := b.forms[f]
	return string(w.sums[length].Sum(nil)), w.size
}

// bodyForm brings a body into simple or relaxed form (RFC 6376 §3.4.3, §3.4.4) and hashes it.
//
// A bare LF is a line end, as the MTA will make it one; a bare CR is an ordinary octet. What is held back until
// something follows it is counted, never stored: empty lines at the end may be as many as they like.
type bodyForm struct {
	relaxed bool
	sums    map[int64]hash.Hash // by l=
	size    int64               // octets so far, those in buf not counted
	buf     []byte              // octets that are not hashed yet
	ends    int64               // line ends that count only if something follows
	gap     bool                // relaxed: white space that counts only if something follows on the line
	cr      bool                // a CR that may be half of a CRLF
	any     bool                // something was hashed
}

func (b *bodyForm) write(p []byte) {
	for len(p) > 0 {
		if b.cr && p[0] != '\n' {
			b.cr = false
			b.text(carriageReturn)
		}
		switch c := p[0]; {
		case c == '\n':
			b.cr, b.gap = false, false
			b.ends++
			p = p[1:]
		case c == '\r':
			b.cr = true
			p = p[1:]
		case b.relaxed && (c == ' ' || c == '\t'):
			b.gap = true
			p = p[1:]
		default:
			n := b.run(p)
			b.text(p[:n])
			p = p[n:]
		}
	}
}

// run is how many octets from the first are hashed as they are.
func (b *bodyForm) run(p []byte) int {
	ending := "\r\n"
	if b.relaxed {
		ending = "\r\n \t"
	}
	if n := bytes.IndexAny(p, ending); n >= 0 {
		return n
	}
	return len(p)
}

// text hashes ordinary octets and what was held back before them.
func (b *bodyForm) text(p []byte) {
	b.any = true
	for ; b.ends > 0; b.ends-- {
		b.put(crlf)
	}
	if b.gap {
		b.gap = false
		b.put(space)
	}
	b.put(p)
}

func (b *bodyForm) put(p []byte) {
	if len(b.buf)+len(p) > cap(b.buf) {
		b.flush(b.buf)
		b.buf = b.buf[:0]
	}
	if len(p) > cap(b.buf) {
		b.flush(p)
		return
	}
	b.buf = append(b.buf, p...)
}

// flush gives each hash what it may still take of p.
func (b *bodyForm) flush(p []byte) {
	for length, sum := range b.sums {
		if left := length - b.size; left > 0 {
			_, _ = sum.Write(p[:min(int64(len(p)), left)]) // a hash never fails
		}
	}
	b.size += int64(len(p))
}

// end ends the body: an empty one is a line end in simple form, and nothing in relaxed form.
func (b *bodyForm) end() {
	if b.cr {
		b.cr = false
		b.text(carriageReturn)
	}
	if b.any || !b.relaxed {
		b.put(crlf)
	}
	b.flush(b.buf)
	b.buf = b.buf[:0]
}
