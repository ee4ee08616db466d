// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"crypto/sha256"
	"hash"
)

// maxLine is the longest line that SMTP carries, without its CRLF (RFC 5321 §4.5.3.1.6).
const maxLine = 998

// canonicalField appends a header field in relaxed form, without its final CRLF.
//
// RFC 6376 §3.4.2: lower-case name, unfolded value, runs of white space as one
// space, none at either end. A CR or LF on its own counts as white space, which
// is what most verifiers make of it.
func canonicalField[T string | []byte](dst []byte, name string, value T) []byte {
	dst = appendLower(dst, name)
	dst = append(dst, ':')
	start := len(dst)
	gap := false
	for i := range len(value) {
		c := value[i]
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			gap = len(dst) > start
			continue
		}
		if gap {
			dst = append(dst, ' ')
			gap = false
		}
		dst = append(dst, c)
	}
	return dst
}

// appendLower appends name with the ASCII letters in lower case.
func appendLower(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// BodyHash is the SHA-256 of a body in relaxed form, taken as the body arrives.
//
// RFC 6376 §3.4.4: runs of white space become one space, none is left at the
// end of a line, empty lines at the end of the body are ignored, and a body
// that is not empty then ends with CRLF. A bare LF is a line end, as the MTA
// will make it one; a bare CR is an ordinary octet, as it will travel.
//
// The zero value is not ready: use NewBodyHash.
type BodyHash struct {
	sum   hash.Hash
	buf   []byte
	ends  int64 // line ends that count only if something follows
	gap   bool  // white space that counts only if something follows on the line
	cr    bool  // a CR that may be half of a CRLF
	any   bool  // something was hashed
	line  int   // octets of the current line
	flaws Flaws
}

// NewBodyHash begins an empty body.
func NewBodyHash() *BodyHash {
	return &BodyHash{sum: sha256.New(), buf: make([]byte, 0, 4096)}
}

// Reset begins another empty body.
func (b *BodyHash) Reset() {
	b.sum.Reset()
	*b = BodyHash{sum: b.sum, buf: b.buf[:0]}
}

// What is put into the hash; slices, since an array on the stack would escape into the hash.
var (
	crlf           = []byte("\r\n")
	space          = []byte(" ")
	carriageReturn = []byte("\r")
)

// special marks the octets that end a run of ordinary ones.
var special = [256]bool{' ': true, '\t': true, '\r': true, '\n': true}

// Write takes the next piece of the body; pieces may end anywhere. It never fails.
func (b *BodyHash) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if b.cr && p[i] != '\n' {
			b.bareCR()
		}
		switch p[i] {
		case ' ', '\t':
			b.gap = true
			for ; i < len(p) && (p[i] == ' ' || p[i] == '\t'); i++ {
				b.line++
			}
		case '\r':
			b.cr = true
			i++
		case '\n':
			if !b.cr {
				b.flaws |= BareLF
			}
			b.endLine()
			i++
		default:
			end := b.run(p, i)
			b.emit(p[i:end])
			i = end
		}
	}
	return len(p), nil
}

// run finds where the octets that begin at i and are hashed as they are end, and
// looks for flaws on the way. One space, or one CRLF, between two ordinary octets
// is such an octet: text goes by pages so, not by words and lines.
func (b *BodyHash) run(p []byte, i int) int {
	start := i // of the run, or of its last line
	var or uint64
	for i < len(p) {
		i = skipOrdinary(p, i, &or)
		switch {
		case i == len(p):
		case p[i] == ' ' && i+1 < len(p) && !special[p[i+1]]:
			i++
			continue
		case p[i] == '\r' && i+2 < len(p) && p[i+1] == '\n' && !special[p[i+2]]:
			b.line += i - start
			b.measureLine()
			i += 2
			start = i
			continue
		case !special[p[i]]:
			or |= uint64(p[i])
			i++
			continue
		}
		break
	}
	b.line += i - start
	if or&high != 0 {
		b.flaws |= EightBit
	}
	return i
}

func (b *BodyHash) bareCR() {
	b.cr = false
	b.flaws |= BareCR
	b.line++
	b.emit(carriageReturn)
}

func (b *BodyHash) endLine() {
	b.measureLine()
	b.cr, b.gap = false, false
	b.ends++
}

// measureLine ends the count of a line's octets.
func (b *BodyHash) measureLine() {
	if b.line > maxLine {
		b.flaws |= LongLine
	}
	b.line = 0
}

// emit hashes ordinary octets and what was held back before them.
func (b *BodyHash) emit(p []byte) {
	b.any = true
	for ; b.ends > 0; b.ends-- {
		b.put(crlf)
	}
	if b.gap {
		b.put(space)
		b.gap = false
	}
	b.put(p)
}

func (b *BodyHash) put(p []byte) {
	if len(b.buf)+len(p) > cap(b.buf) {
		b.sum.Write(b.buf)
		b.buf = b.buf[:0]
	}
	if len(p) > cap(b.buf) {
		b.sum.Write(p)
		return
	}
	b.buf = append(b.buf, p...)
}

// Sum ends the body and returns its hash and its flaws. After Sum only Reset is allowed.
func (b *BodyHash) Sum() ([sha256.Size]byte, Flaws) {
	if b.cr {
		b.bareCR()
	}
	if b.line > maxLine {
		b.flaws |= LongLine
	}
	if b.any {
		b.put(crlf)
	}
	b.sum.Write(b.buf)
	b.buf = b.buf[:0]
	return [sha256.Size]byte(b.sum.Sum(nil)), b.flaws
}
