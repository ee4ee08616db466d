// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// SignatureField is the name of the header field that a signature goes into.
const SignatureField = "DKIM-Signature"

// ErrNoFrom says that a message without a From field cannot be signed (RFC 6376 §5.4).
var ErrNoFrom = errors.New("the message has no From field")

// Key is one key to sign with.
type Key struct {
	Selector  string
	Algorithm dkim.Algorithm
	Signer    crypto.Signer
}

// Options say when a signature is made and how long it holds.
type Options struct {
	Now    time.Time     // t=
	Expiry time.Duration // x= is so much later; 0: no x=
}

// Sign makes the value of one DKIM-Signature field.
//
// The value begins without a space, is folded with CRLF and a tab under 78
// columns, and belongs above every other field of the message. Errors: ErrNoFrom,
// ErrHeaderTooLarge, or what the key says.
func Sign(h *Header, bodyHash [sha256.Size]byte, domain dnsrecord.Name, key Key, opt Options) (string, error) {
	if h.err != nil {
		return "", h.err
	}
	if len(h.from) == 0 {
		return "", ErrNoFrom
	}
	f := newFolder()
	f.tags(h.signedNames(make([]string, 0, fewNames)), bodyHash, domain, key, opt)

	// RFC 6376 §3.7: the fields of h=, then this field with an empty b= and no CRLF.
	sum := sha256.New()
	h.hashInto(sum)
	own := canonicalField(h.text, SignatureField, f.text.String())
	_, _ = sum.Write(own[len(h.text):]) // a hash never fails
	digest := sum.Sum(nil)

	// RFC 8463 §3: Ed25519 signs the SHA-256 digest as its message, so no hash is named to it.
	hash := crypto.SHA256
	if key.Algorithm == dkim.Ed25519 {
		hash = crypto.Hash(0)
	}
	signature, err := key.Signer.Sign(rand.Reader, digest, hash)
	if err != nil {
		return "", fmt.Errorf("selector %s of %s: %w", key.Selector, domain, err)
	}
	f.signature(signature)
	return f.text.String(), nil
}

// fewNames is room for the h= of most messages.
const fewNames = 48

// tags writes the tags of a signature up to an empty b=.
func (f *folder) tags(names []string, bodyHash [sha256.Size]byte, domain dnsrecord.Name, key Key, opt Options) {
	f.tag("v=1;")
	f.tag("a=", key.Algorithm.SignatureName(), ";")
	f.tag("c=relaxed/relaxed;")
	f.tag("d=", domain.String(), ";")
	f.tag("s=", key.Selector, ";")
	f.tag("i=@", domain.String(), ";")
	f.tag("t=", strconv.FormatInt(opt.Now.Unix(), 10), ";")
	if opt.Expiry > 0 {
		f.tag("x=", strconv.FormatInt(opt.Now.Add(opt.Expiry).Unix(), 10), ";")
	}
	for i, name := range names {
		end := ":"
		if i == len(names)-1 {
			end = ";"
		}
		if i == 0 {
			f.tag("h=", name, end)
		} else {
			f.word(name, end)
		}
	}
	f.tag("bh=", base64.StdEncoding.EncodeToString(bodyHash[:]), ";")
	f.tag("b=")
}

// signature appends the signature to the empty b=, folded.
//
// Verifiers take b= away up to the end of the field, so its folds are free (RFC 6376 §3.7).
func (f *folder) signature(signature []byte) {
	for text := base64.StdEncoding.EncodeToString(signature); text != ""; {
		n := min(f.left(), len(text))
		if n <= 0 {
			f.fold()
			continue
		}
		f.append(text[:n])
		text = text[n:]
	}
}

const (
	maxColumn = 77 // under the 78 of RFC 5322 §2.1.1
	tabColumn = 8
)

// folder writes the value of a field in lines of at most maxColumn columns.
type folder struct {
	text   strings.Builder
	column int
}

// roomy is more than the value of a signature with RSA 2048 and a usual h= takes.
const roomy = 1 << 10

func newFolder() *folder {
	f := &folder{column: len(SignatureField) + len(": ")}
	f.text.Grow(roomy)
	return f
}

func (f *folder) left() int { return maxColumn - f.column }

func (f *folder) append(text string) {
	f.text.WriteString(text)
	f.column += len(text)
}

func (f *folder) fold() {
	f.text.WriteString("\r\n\t")
	f.column = tabColumn
}

// tag appends a tag after a space or a fold.
func (f *folder) tag(parts ...string) {
	switch {
	case f.text.Len() == 0:
	case f.left() > length(parts):
		f.append(" ")
	default:
		f.fold()
	}
	f.word(parts...)
}

// word appends a part of a tag's value, after a fold where the line is full.
func (f *folder) word(parts ...string) {
	if f.left() < length(parts) && f.column > tabColumn {
		f.fold()
	}
	for _, p := range parts {
		f.append(p)
	}
}

func length(parts []string) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}
