// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord

import (
	"errors"
	"fmt"
	"strings"
)

// Tag is one name=value of a tag list, blanks around both taken off.
type Tag struct {
	Name, Value string
}

// Tags is a tag list in its order: the syntax of DKIM, DMARC and our own marker (RFC 6376 §3.2).
type Tags []Tag

// ParseTags reads "name=value; name=value;" (RFC 6376 §3.2).
//
// A tag that is there twice, an empty one, a name that does not begin with a letter and an octet outside printable
// ASCII are errors. Names and values keep their case. The caller bounds the length.
func ParseTags(list string) (Tags, error) {
	specs := strings.Split(list, ";")
	if last := len(specs) - 1; last > 0 && TrimBlanks(specs[last]) == "" {
		specs = specs[:last] // the last semicolon is optional
	}
	tags := make(Tags, 0, len(specs))
	seen := make(map[string]bool, len(specs))
	for _, spec := range specs {
		tag, err := ParseTag(spec)
		if err != nil {
			return nil, err
		}
		if seen[tag.Name] {
			return nil, fmt.Errorf("tag %s= is there twice", tag.Name)
		}
		seen[tag.Name] = true
		tags = append(tags, tag)
	}
	return tags, nil
}

// ParseTag reads one "name=value" as it stands between two semicolons.
func ParseTag(spec string) (Tag, error) {
	name, value, found := strings.Cut(spec, "=")
	name, value = TrimBlanks(name), TrimBlanks(value)
	switch {
	case !found && name == "":
		return Tag{}, errors.New("an empty tag stands between two semicolons")
	case !found:
		return Tag{}, fmt.Errorf("%s is no tag: it has no =", Quote(name))
	case !isTagName(name):
		return Tag{}, fmt.Errorf("%s is no tag name: a letter, then letters, digits and underscores", Quote(name))
	}
	for _, c := range []byte(value) {
		if (c <= ' ' || c > '~') && strings.IndexByte(blanks, c) < 0 {
			return Tag{}, fmt.Errorf("tag %s= has the octet %#02x, which is not printable ASCII", name, c)
		}
	}
	return Tag{Name: name, Value: value}, nil
}

// Get returns the value of the named tag, and whether it is there.
func (t Tags) Get(name string) (string, bool) {
	for _, tag := range t {
		if tag.Name == name {
			return tag.Value, true
		}
	}
	return "", false
}

// blanks are the octets of folding white space (RFC 5322 §3.2.2), read wherever and however often they stand.
const blanks = " \t\r\n"

// TrimBlanks takes folding white space off both ends.
func TrimBlanks(s string) string {
	return strings.Trim(s, blanks)
}

// RemoveBlanks takes folding white space out of a value, such as base64 that was wrapped (RFC 6376 §3.6.1, p=).
func RemoveBlanks(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(blanks, r) {
			return -1
		}
		return r
	}, s)
}

// tag-name = ALPHA *ALNUMPUNC (RFC 6376 §3.2).
func isTagName(s string) bool {
	for i, c := range []byte(strings.ToLower(s)) {
		if c >= 'a' && c <= 'z' || i > 0 && (isLetterOrDigit(c) || c == '_') {
			continue
		}
		return false
	}
	return s != ""
}
