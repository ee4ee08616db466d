// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Route 53 writes octets in octal where zone files write them in decimal: \303 is one octet here and another there
// (developer guide, "TXT record type" and "DNS domain name format").

// formatRoute53TXT is dnsrecord.FormatTXT with octal escapes.
func formatRoute53TXT(value string) string {
	var b strings.Builder
	for i, part := range dnsrecord.SplitTXT(value) {
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
				fmt.Fprintf(&b, `\%03o`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// parseRoute53TXT returns the logical value; false if the text is not strings in quotation marks.
func parseRoute53TXT(text string) (string, bool) {
	var value strings.Builder
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] != '"' {
			return "", false
		}
		rest = rest[1:]
		for {
			if rest == "" {
				return "", false
			}
			if rest[0] == '"' {
				rest = rest[1:]
				break
			}
			c, n := route53Octet(rest)
			value.WriteByte(c)
			rest = rest[n:]
		}
	}
	return value.String(), text != ""
}

// route53Octet reads one octet, which may be escaped, and says how long it is written.
func route53Octet(s string) (octet byte, length int) {
	if s[0] != '\\' || len(s) < 2 {
		return s[0], 1
	}
	if len(s) >= 4 {
		if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
			return byte(c), 4
		}
	}
	return s[1], 2
}

// route53Name reads a name as the API returns it: *.example.org. is \052.example.org.
func route53Name(text *string) (dnsrecord.Name, bool) {
	if text == nil {
		return "", false
	}
	var b strings.Builder
	for rest := *text; rest != ""; {
		c, n := route53Octet(rest)
		b.WriteByte(c)
		rest = rest[n:]
	}
	name, err := dnsrecord.ParseName(b.String())
	return name, err == nil
}

// route53Order is what the API orders names by: com.example.www. as plain text, with the last dot.
func route53Order(name dnsrecord.Name) string {
	labels := name.Labels()
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}
