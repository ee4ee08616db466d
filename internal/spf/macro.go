// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package spf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// checkDomainSpec holds a string to the ABNF of domain-spec: a macro-string that ends in a macro or in a dot and a
// top-level label (RFC 7208 §7.1).
func checkDomainSpec(s string) error {
	if s == "" {
		return errors.New("has a colon or = without a domain after it")
	}
	macroAtEnd, err := checkMacroString(s)
	if err != nil || macroAtEnd {
		return err
	}
	head, top := cutLast(strings.TrimSuffix(s, "."))
	if head == "" {
		return fmt.Errorf("%s is not a domain: it needs two labels or more", dnsrecord.Quote(s))
	}
	return checkTopLabel(top)
}

// cutLast cuts at the last dot. A macro holds no dot but as a delimiter, and then it ends in a brace, which no label may hold.
func cutLast(s string) (head, last string) {
	i := strings.LastIndexByte(s, '.')
	return s[:max(i, 0)], s[i+1:]
}

// toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum ).
func checkTopLabel(s string) error {
	lower := strings.ToLower(s)
	switch {
	case s == "" || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-"),
		strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-") != "",
		strings.Trim(s, "0123456789") == "":
		return fmt.Errorf("ends in %s, which is no top-level label: letters, digits and hyphens, not digits alone", dnsrecord.Quote(s))
	}
	return nil
}

// checkMacroString holds a string to the ABNF of macro-string and says whether it ends in a macro-expand (RFC 7208 §7.1).
func checkMacroString(s string) (macroAtEnd bool, err error) {
	for s != "" {
		if s[0] != '%' {
			// macro-literal = %x21-24 / %x26-7E
			if s[0] > '~' {
				return false, errors.New("has a character outside ASCII: write an internationalised name with its A-labels (xn--…)")
			}
			if s[0] <= ' ' {
				return false, fmt.Errorf("has the octet %#02x, which may not stand there", s[0])
			}
			s, macroAtEnd = s[1:], false
			continue
		}
		n, err := macroLength(s)
		if err != nil {
			return false, err
		}
		s, macroAtEnd = s[n:], true
	}
	return macroAtEnd, nil
}

// macroLength returns how long the macro-expand is that s begins with.
func macroLength(s string) (int, error) {
	if len(s) < 2 {
		return 0, errors.New(`ends in a lone "%": write %% for the character`)
	}
	switch s[1] {
	case '%', '_', '-':
		return 2, nil
	case '{':
	default:
		return 0, errors.New(`has a "%" that begins no macro: write %% for the character`)
	}
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return 0, errors.New("has a macro whose brace is not closed")
	}
	if err := checkMacro(s[2:end]); err != nil {
		return 0, err
	}
	return end + 1, nil
}

// checkMacro reads macro-letter transformers *delimiter, what stands between the braces. The letters c, r and t are for the text
// of an explanation alone, which is not in the record (RFC 7208 §7.2).
func checkMacro(body string) error {
	if body == "" || strings.IndexByte("slodiphvSLODIPHV", body[0]) < 0 {
		return fmt.Errorf("has the macro %%{%s}, which begins with none of the letters s, l, o, d, i, p, h and v", short(body))
	}
	transformers := body[1:]
	rest := strings.TrimLeft(transformers, "0123456789")
	digits := transformers[:len(transformers)-len(rest)]
	if digits != "" && strings.Trim(digits, "0") == "" {
		return fmt.Errorf("has the macro %%{%s}, which keeps zero parts of the name", short(body))
	}
	if rest != "" && (rest[0] == 'r' || rest[0] == 'R') {
		rest = rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return fmt.Errorf("has the macro %%{%s}, which does not end in delimiters (. - + , / _ =)", short(body))
	}
	return nil
}

// short shows a macro in a message without the quotation marks that it already stands in.
func short(s string) string {
	return strings.Trim(dnsrecord.Quote(s), `"`)
}
