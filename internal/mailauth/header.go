// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"errors"
	"hash"
	"slices"
	"strings"
)

// coverage says how a header field goes into h=.
type coverage int

const (
	whenThere  coverage = iota // as often as it is there
	sealedIf                   // once more than it is there, if it is there
	sealedEven                 // once more than it is there, even if it is not
)

// covered lists what is signed, in the order of h=.
//
// Naming a field once more than it occurs makes the signature fail when one is
// added later (RFC 6376 §5.4, §8.15). Date, Message-ID and the like are not
// named when absent, since an MTA further on may add them. Bcc, Return-Path and
// Received change on the way and are never named.
var covered = [...]struct {
	name     string
	coverage coverage
}{
	{"From", sealedEven},
	{"To", sealedEven},
	{"Cc", sealedEven},
	{"Subject", sealedEven},
	{"Reply-To", sealedEven},
	{"Sender", sealedIf},
	{"Date", sealedIf},
	{"Message-ID", sealedIf},
	{"MIME-Version", sealedIf},
	{"Content-Type", sealedIf},
	{"Content-Transfer-Encoding", sealedIf},
	{"In-Reply-To", sealedIf},
	{"References", sealedIf},
	{"List-Id", whenThere},
	{"List-Unsubscribe", whenThere},
	{"List-Unsubscribe-Post", whenThere},
	{"List-Subscribe", whenThere},
	{"List-Post", whenThere},
	{"List-Owner", whenThere},
	{"List-Help", whenThere},
	{"List-Archive", whenThere},
	{"Resent-Date", whenThere},
	{"Resent-From", whenThere},
	{"Resent-Sender", whenThere},
	{"Resent-To", whenThere},
	{"Resent-Cc", whenThere},
	{"Resent-Message-ID", whenThere},
}

// placeOf finds the place of a field in covered by its name in lower case.
var placeOf = func() map[string]int {
	m := make(map[string]int, len(covered))
	for i, c := range covered {
		m[strings.ToLower(c.name)] = i
	}
	return m
}()

// placeOfFrom is where From stands in covered.
const placeOfFrom = 0

const (
	// maxHeaderOctets bounds what one message may make us remember.
	maxHeaderOctets = 1 << 20
	// maxHeaderFields bounds h=: no honest message has so many fields worth signing.
	maxHeaderFields = 512
	// fieldOverhead is what keeping a field costs beyond its octets.
	fieldOverhead = 64
	// maxAuthors bounds how many From fields are told apart: more than one is wrong already.
	maxAuthors = 4
)

// ErrHeaderTooLarge says that the fields to sign are more than a signer keeps.
var ErrHeaderTooLarge = errors.New("more header fields than can be signed")

// Header collects the fields of a message that a signature covers.
//
// The zero value is an empty header.
type Header struct {
	text   []byte // of all fields, each in relaxed form with its CRLF
	fields []field
	size   int
	from   []field
	flaws  Flaws
	err    error
}

// field is one header field by its place in covered, and where it lies in the text of its header.
type field struct{ place, start, end int }

// fewFields is room for what most messages have to sign.
const fewFields = 1 << 10

// Reset begins another empty header.
func (h *Header) Reset() { *h = Header{text: h.text[:0], fields: h.fields[:0], from: h.from[:0]} }

// Add takes the next field, from top to bottom: the name, and what follows the
// colon with or without its first space, folded with CRLF or LF as it came.
// What is too much is remembered and returned by Sign.
func (h *Header) Add(name string, value []byte) {
	name = strings.TrimRight(name, " \t")
	h.look(name, value)
	if h.text == nil {
		h.text = make([]byte, 0, fewFields)
	}
	start := len(h.text)
	text := appendLower(h.text, name)
	place, isCovered := placeOf[string(text[start:])]
	if !isCovered {
		return
	}
	text = append(canonicalField(h.text, name, value), crlf...)
	f := field{place, start, len(text)}
	// Who the author is stays known of a message that cannot be signed.
	if place == placeOfFrom && len(h.from) < maxAuthors {
		h.from = append(h.from, f)
		h.text = text
	}
	if h.err != nil {
		return
	}
	h.size += f.end - f.start
	if h.size > maxHeaderOctets || len(h.fields) >= maxHeaderFields {
		h.err = ErrHeaderTooLarge
		return
	}
	h.fields = append(h.fields, f)
	h.text = text
}

// look notes what an MTA may change. RFC 5322 §2.1.1 counts the octets of each line.
func (h *Header) look(name string, value []byte) {
	line := len(name) + len(": ")
	for i, c := range value {
		line++
		switch {
		case c >= 0x80:
			h.flaws |= EightBit
		case c == '\r' && (i+1 == len(value) || value[i+1] != '\n'):
			h.flaws |= BareCR
		case c == '\n':
			line = 0
		}
		if line > maxLine+len("\r\n") {
			h.flaws |= LongLine
		}
	}
}

// Size is about how many octets the header keeps in memory.
func (h *Header) Size() int { return h.size + len(h.fields)*fieldOverhead }

// From returns the values of the From fields, unfolded, from top to bottom; of many only the first.
func (h *Header) From() []string {
	values := make([]string, len(h.from))
	for i, f := range h.from {
		values[i] = string(h.text[f.start+len("from:") : f.end-len("\r\n")])
	}
	return values
}

// Flaws says what may make an MTA further on change the header.
func (h *Header) Flaws() Flaws { return h.flaws }

// signedNames appends the names for h=, each as often as it is to be looked for.
func (h *Header) signedNames(names []string) []string {
	var count [len(covered)]int
	for _, f := range h.fields {
		count[f.place]++
	}
	for place, c := range covered {
		n := count[place]
		if c.coverage == sealedEven || c.coverage == sealedIf && n > 0 {
			n++
		}
		for range n {
			names = append(names, c.name)
		}
	}
	return names
}

// hashInto hashes the fields of h= in relaxed form, each with its CRLF.
//
// RFC 6376 §5.4.2: of several fields with one name the lowest is taken first,
// and a name with no field left adds nothing.
func (h *Header) hashInto(sum hash.Hash) {
	for place := range covered {
		for _, f := range slices.Backward(h.fields) {
			if f.place == place {
				_, _ = sum.Write(h.text[f.start:f.end]) // a hash never fails
			}
		}
	}
}
