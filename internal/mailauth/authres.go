// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// AuthResultsField is the name of the header field that tells what was checked (RFC 8601).
const AuthResultsField = "Authentication-Results"

// AuthResults writes the value of an Authentication-Results field, folded with CRLF and a tab.
//
// authservID names who judged. Nothing that a message brought is written but values of a narrow alphabet, and, in
// comments, words in which only plain text is left.
func AuthResults(authservID string, v Verdict) string {
	var w resultsWriter
	w.text.WriteString(authservID)
	for _, s := range v.DKIM {
		w.signature(s)
	}
	if len(v.DKIM) == 0 {
		w.method("dkim", None, "the message is not signed")
	}
	if v.Unread > 0 {
		w.method("dkim", Unacceptable, fmt.Sprintf("%d more signatures were not looked at", v.Unread))
	}
	for _, s := range v.SPF {
		w.method("spf", s.Result, s.Reason)
		w.property("smtp."+string(s.Identity), s.Domain)
	}
	w.method("dmarc", v.DMARC.Result, v.DMARC.Reason)
	w.property("header.from", string(v.DMARC.Domain))
	w.property("policy.dmarc", string(v.DMARC.Policy))
	return w.text.String()
}

// resultsWriter writes the results of methods, each on a line of its own, folded under 78 columns.
type resultsWriter struct {
	text   strings.Builder
	column int
}

func (w *resultsWriter) signature(s Signature) {
	comment := s.Reason
	switch {
	case comment == "" && s.Bits > 0:
		comment = fmt.Sprintf("%d-bit key", s.Bits)
	case comment == "":
		comment = "Ed25519 key"
	}
	if s.Testing {
		comment += "; the domain tests DKIM, t=y"
	}
	w.method("dkim", s.Result, comment)
	w.property("header.d", string(s.Domain))
	w.property("header.s", s.Selector)
	w.property("header.a", s.Algorithm)
	w.property("header.b", s.Prefix)
}

// method begins what one method says; a comment says why.
func (w *resultsWriter) method(name string, result Result, comment string) {
	w.text.WriteString(";\r\n\t" + name + "=" + string(result))
	w.column = tabColumn + len(name) + 1 + len(result)
	if comment == "" {
		return
	}
	for word := range strings.FieldsSeq("(" + plain(comment) + ")") {
		w.word(word)
	}
}

// property writes ptype.property=value; nothing where there is no value, or one that is made to be misread.
func (w *resultsWriter) property(name, value string) {
	if isHarmless(value) {
		w.word(name + "=" + pvalue(value))
	}
}

// word appends a word after a space, or a fold where the line is full. A semicolon may follow.
func (w *resultsWriter) word(text string) {
	if w.column+len(" ")+len(text)+len(";") > maxColumn {
		w.text.WriteString("\r\n\t" + text)
		w.column = tabColumn + len(text)
		return
	}
	w.text.WriteString(" " + text)
	w.column += 1 + len(text)
}

// isHarmless tells whether a value has only what names, address literals and base64 are made of, and is no longer than a name.
func isHarmless(s string) bool {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]+/="
	return s != "" && len(s) <= dnsrecord.MaxName && strings.Trim(s, alphabet) == ""
}

// pvalue writes a value as a token, or as a quoted string where it is none (RFC 8601 §2.2, RFC 2045 §5.1).
func pvalue(s string) string {
	if strings.ContainsFunc(s, isSpecial) {
		return `"` + s + `"`
	}
	return s
}

// isSpecial says that a character cannot be in a token.
func isSpecial(r rune) bool { return r <= ' ' || strings.ContainsRune(`()<>@,;:\"/[]?=`, r) }

// plain leaves of a text what may stand in a comment. What a reader in a hurry takes for a result is not left either:
// many look for dkim=pass without knowing what a comment is.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '§' {
			return -1
		}
		if i := strings.IndexRune(`()";=\`, r); i >= 0 {
			return rune("[]',:/"[i])
		}
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// CheckAuthservID says what is wrong with a name for AuthResults: nil for a domain (RFC 8601 §2.5).
func CheckAuthservID(id string) error {
	name, err := dnsrecord.ParseDomain(id)
	if err != nil {
		return err
	}
	if string(name) != id {
		return fmt.Errorf("%s is to be written as %s", dnsrecord.Quote(id), name)
	}
	return nil
}

// ClaimsToBe tells whether the value of an Authentication-Results field says that it comes from authservID, so that it
// has to be removed where it came from outside (RFC 8601 §5).
//
// The name may stand behind comments and folds, be quoted, in any case and in letters that IDNA maps to it (RFC 8616 §4).
// A field that cannot be read but holds the name counts, too: another reader may be more lenient, and take a no-break
// space for one, say.
func ClaimsToBe(value, authservID string) bool {
	if id, ok := authservIDOf(value); ok {
		id = strings.TrimSuffix(id, ".")
		if strings.EqualFold(id, authservID) {
			return true
		}
		if strings.IndexFunc(id, isBeyondASCII) < 0 {
			return false
		}
		if name, err := dnsrecord.ParseDomain(id); err == nil {
			return string(name) == authservID
		}
	}
	squeezed := strings.Map(func(r rune) rune {
		if r <= ' ' || r == '"' || r == '\\' || isBeyondASCII(r) {
			return -1
		}
		return r
	}, strings.ToLower(value))
	return strings.Contains(squeezed, strings.ToLower(authservID))
}

func isBeyondASCII(r rune) bool { return r > '~' }

// authservIDOf reads [CFWS] authserv-id [CFWS version] [CFWS] and a ";" or the end (RFC 8601 §2.2).
func authservIDOf(value string) (string, bool) {
	rest, ok := skipCFWS(value)
	if !ok {
		return "", false
	}
	id, rest, ok := readValue(rest)
	if !ok {
		return "", false
	}
	if rest, ok = skipCFWS(rest); !ok {
		return "", false
	}
	rest = strings.TrimLeft(rest, "0123456789")
	rest, ok = skipCFWS(rest)
	return id, ok && (rest == "" || rest[0] == ';')
}

// skipCFWS skips white space and comments; it is false for a comment without end.
func skipCFWS(s string) (string, bool) {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" || s[0] != '(' {
			return s, true
		}
		end := skipComment(s, 0)
		if end < 0 {
			return "", false
		}
		s = s[end:]
	}
}

// readValue reads a token or a quoted string.
func readValue(s string) (value, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		end := skipQuoted(s, 0)
		if end < 0 {
			return "", "", false
		}
		return unquote(s[1 : end-1]), s[end:], true
	}
	n := strings.IndexFunc(s, isSpecial)
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:], n > 0
}

// unquote takes quoted-pairs and folds out of the inside of a quoted string.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] != '\r' && s[i] != '\n':
			b.WriteByte(s[i])
		}
	}
	return strings.TrimSpace(b.String())
}
