// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"errors"
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
	fields []field
	size   int
	from   [][]byte
	flaws  Flaws
	err    error
}

// field is one header field in relaxed form, by its place in covered.
type field struct {
	place     int
	canonical []byte
}

// Reset begins another empty header.
func (h *Header) Reset() {
	clear(h.fields)
	*h = Header{fields: h.fields[:0]}
}

// Add takes the next field, from top to bottom: the name, and what follows the
// colon with or without its first space, folded with CRLF or LF as it came.
// What is too much is remembered and returned by Sign.
func (h *Header) Add(name string, value []byte) {
	name = strings.TrimRight(name, " \t")
	h.look(name, value)
	lower := strings.ToLower(name)
	place, isCovered := placeOf[lower]
	if !isCovered {
		return
	}
	canonical := canonicalField(make([]byte, 0, len(name)+len(value)+1), name, value)
	// Who the author is stays known of a message that cannot be signed.
	if lower == "from" && len(h.from) < maxAuthors {
		h.from = append(h.from, canonical[len("from:"):])
	}
	if h.err != nil {
		return
	}
	h.size += len(canonical)
	if h.size > maxHeaderOctets || len(h.fields) >= maxHeaderFields {
		h.err = ErrHeaderTooLarge
		return
	}
	h.fields = append(h.fields, field{place, canonical})
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
	for i, v := range h.from {
		values[i] = string(v)
	}
	return values
}

// Flaws says what may make an MTA further on change the header.
func (h *Header) Flaws() Flaws { return h.flaws }

// signedNames lists the names for h=, each as often as it is to be looked for.
func (h *Header) signedNames() []string {
	var count [len(covered)]int
	for _, f := range h.fields {
		count[f.place]++
	}
	names := make([]string, 0, len(h.fields)+len(covered))
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

// hashInput appends the fields of h= in relaxed form, each with its CRLF.
//
// RFC 6376 §5.4.2: of several fields with one name the lowest is taken first,
// and a name with no field left adds nothing.
func (h *Header) hashInput(dst []byte) []byte {
	for place := range covered {
		for _, f := range slices.Backward(h.fields) {
			if f.place == place {
				dst = append(dst, f.canonical...)
				dst = append(dst, "\r\n"...)
			}
		}
	}
	return dst
}
