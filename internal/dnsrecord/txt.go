// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxString is the length of the longest character-string, in octets (RFC 1035 §3.3).
	MaxString = 255
	// MaxTXT is the length of the longest logical TXT value: 65535 octets of RDATA less a length octet for each string.
	MaxTXT = 65535 - 257
	// maxPresentation is MaxTXT with every octet as \DDD, and room for quotes, blanks and comments.
	maxPresentation = 5 * 65536
)

// SplitTXT cuts a logical TXT value into character-strings of 255 octets and a rest.
//
// An empty value is one empty string: a TXT record has at least one (RFC 1035 §3.3.14).
func SplitTXT(value string) []string {
	parts := make([]string, 0, len(value)/MaxString+1)
	for len(value) > MaxString {
		parts = append(parts, value[:MaxString])
		value = value[MaxString:]
	}
	return append(parts, value)
}

// JoinTXT puts character-strings together, with nothing between (RFC 6376 §3.6.2.2, RFC 7208 §3.3).
func JoinTXT(parts []string) string {
	return strings.Join(parts, "")
}

// FormatTXT writes a logical TXT value as zone files and most providers do: "…" "…", each of at most 255 octets.
//
// A quotation mark and a backslash are written after a backslash, octets outside printable ASCII as \DDD (RFC 1035 §5.1).
// A semicolon inside quotation marks stands for itself.
func FormatTXT(value string) string {
	var b strings.Builder
	for i, part := range SplitTXT(value) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for _, c := range []byte(part) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// ParseTXT reads the zone-file form of a TXT record's data and returns its logical value.
//
// It reads quoted and bare character-strings, \X and \DDD, parentheses over several lines, and comments (RFC 1035 §5.1). A
// quoted string may be longer than 255 octets, as some providers show it. A comment beside bare text is an error, for
// it is far more often a value that lost its quotation marks. At most 320 KiB are read.
func ParseTXT(presentation string) (string, error) {
	if len(presentation) > maxPresentation {
		return "", fmt.Errorf("TXT data is longer than %d octets", maxPresentation)
	}
	p := txtParser{rest: presentation}
	if err := p.run(); err != nil {
		return "", fmt.Errorf("TXT data %s: %w", Quote(presentation), err)
	}
	value := p.value.String()
	if len(value) > MaxTXT {
		return "", fmt.Errorf("TXT data is longer than the %d octets that a record holds", MaxTXT)
	}
	return value, nil
}

type txtParser struct {
	rest    string
	value   strings.Builder
	depth   int  // of parentheses
	strings int  // character-strings seen
	bare    bool // one of them had no quotation marks
	comment bool
}

func (p *txtParser) run() error {
	for p.rest != "" {
		if err := p.next(); err != nil {
			return err
		}
	}
	switch {
	case p.depth > 0:
		return errors.New("a parenthesis is not closed")
	case p.strings == 0:
		return errors.New("holds no character-string")
	case p.bare && p.comment:
		return errors.New(`has a ";" outside quotation marks, where it begins a comment: put the text in quotation marks`)
	}
	return nil
}

// next reads one blank, parenthesis, comment or character-string.
func (p *txtParser) next() error {
	c := p.rest[0]
	switch c {
	case ' ', '\t', '\r':
		p.rest = p.rest[1:]
	case '\n':
		if p.depth == 0 && strings.TrimLeft(p.rest, " \t\r\n") != "" {
			return errors.New("goes on after the end of a line: put it in parentheses")
		}
		p.rest = p.rest[1:]
	case '(':
		p.depth++
		p.rest = p.rest[1:]
	case ')':
		p.depth--
		p.rest = p.rest[1:]
		if p.depth < 0 {
			return errors.New("a parenthesis is closed that was not opened")
		}
	case ';':
		p.comment = true
		end := strings.IndexByte(p.rest, '\n')
		if end < 0 {
			end = len(p.rest)
		}
		p.rest = p.rest[end:]
	case '"':
		p.rest = p.rest[1:]
		p.strings++
		return p.quoted()
	default:
		p.strings++
		p.bare = true
		return p.unquoted()
	}
	return nil
}

func (p *txtParser) quoted() error {
	for p.rest != "" {
		c := p.rest[0]
		if c == '"' {
			p.rest = p.rest[1:]
			return nil
		}
		if err := p.octet(); err != nil {
			return err
		}
	}
	return errors.New("a quotation mark is not closed")
}

func (p *txtParser) unquoted() error {
	for p.rest != "" && strings.IndexByte(" \t\r\n\"();", p.rest[0]) < 0 {
		if err := p.octet(); err != nil {
			return err
		}
	}
	return nil
}

// octet reads one octet of data, which may be escaped.
func (p *txtParser) octet() error {
	c := p.rest[0]
	if c != '\\' {
		p.value.WriteByte(c)
		p.rest = p.rest[1:]
		return nil
	}
	if len(p.rest) < 2 {
		return errors.New("ends in a lone backslash")
	}
	c = p.rest[1]
	if c < '0' || c > '9' {
		p.value.WriteByte(c)
		p.rest = p.rest[2:]
		return nil
	}
	if len(p.rest) < 4 {
		return errors.New(`a backslash before a digit needs three digits, \000 to \255`)
	}
	var n int
	for _, d := range []byte(p.rest[1:4]) {
		if d < '0' || d > '9' {
			return errors.New(`a backslash before a digit needs three digits, \000 to \255`)
		}
		n = n*10 + int(d-'0')
	}
	if n > 255 {
		return fmt.Errorf(`\%s is no octet: the largest is \255`, p.rest[1:4])
	}
	p.value.WriteByte(byte(n))
	p.rest = p.rest[4:]
	return nil
}
