// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	xunicode "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

var declaredEncoding = regexp.MustCompile(`^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']`)

// decoded makes valid UTF-8 of a document, whatever it declares: what is valid UTF-8 is taken as that also where Latin-1
// is declared, and what is not as Windows-1252 also where UTF-8 is declared. Reporters do both.
func decoded(head []byte, body io.Reader) io.Reader {
	switch {
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}), bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		body = transform.NewReader(body, xunicode.UTF16(xunicode.BigEndian, xunicode.ExpectBOM).NewDecoder())
	case bytes.HasPrefix(head, []byte{0, '<'}):
		body = transform.NewReader(body, xunicode.UTF16(xunicode.BigEndian, xunicode.IgnoreBOM).NewDecoder())
	case bytes.HasPrefix(head, []byte{'<', 0}):
		body = transform.NewReader(body, xunicode.UTF16(xunicode.LittleEndian, xunicode.IgnoreBOM).NewDecoder())
	default:
		if m := declaredEncoding.FindSubmatch(bytes.TrimPrefix(head, []byte("\uFEFF"))); m != nil {
			body = declared(string(m[1]), body)
		}
	}
	return transform.NewReader(body, mended{})
}

func declared(name string, body io.Reader) io.Reader {
	encoding, err := htmlindex.Get(name)
	if err != nil || encoding == xunicode.UTF8 || encoding == charmap.Windows1252 { // Latin-1 and ASCII are Windows-1252 here
		return body
	}
	if canonical, _ := htmlindex.Name(encoding); strings.HasPrefix(canonical, "utf-16") { // but its declaration could be read
		return body
	}
	return transform.NewReader(body, encoding.NewDecoder())
}

// mended takes every octet that is not part of valid UTF-8 as Windows-1252, and makes blanks of the controls that XML
// forbids (XML 1.0 §2.2).
type mended struct{ transform.NopResetter }

func (mended) Transform(dst, src []byte, atEOF bool) (written, read int, err error) {
	for read < len(src) {
		if src[read] >= utf8.RuneSelf && !atEOF && !utf8.FullRune(src[read:]) {
			return written, read, transform.ErrShortSrc
		}
		r, size := utf8.DecodeRune(src[read:])
		if r == utf8.RuneError && size == 1 {
			r = charmap.Windows1252.DecodeByte(src[read])
		}
		if !inXML(r) {
			r = ' '
		}
		if written+utf8.RuneLen(r) > len(dst) {
			return written, read, transform.ErrShortDst
		}
		written += utf8.EncodeRune(dst[written:], r)
		read += size
	}
	return written, read, nil
}

func inXML(r rune) bool {
	return r >= ' ' && r != 0xFFFE && r != 0xFFFF && r != 0xFEFF || r == '\t' || r == '\n' || r == '\r'
}

// harmless makes one line of a text, at most limit octets: a report is read in terminals and logs, where controls, and marks
// that turn the direction of writing, would let its author write what he likes.
func harmless(s string, limit int) (text string, cut bool) {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return '\uFFFD'
		}
		return r
	}, s)), " ")
	if len(s) <= limit {
		return s, false
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], true
}

// domainName is a domain as a report writes it, to be compared.
func domainName(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// under says whether name is domain or below it.
func under(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
