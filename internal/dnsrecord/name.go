// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnsrecord reads and prints what every DNS-based mail format shares: names, record sets, the character-strings of
// TXT and the tag lists inside them.
//
// A TXT value is one logical string in this project. Character-strings and presentation escapes exist only at the edge, and
// the functions of this package are that edge.
package dnsrecord

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	// MaxLabel is the length of the longest label, in octets (RFC 1035 §2.3.4).
	MaxLabel = 63
	// MaxName is the length of the longest name as text without its last dot: 255 octets on the wire (RFC 1035 §2.3.4).
	MaxName = 253
	// maxNameInput bounds what is looked at: the longest name in U-labels of four octets a character is shorter.
	maxNameInput = 1024
)

// Name is an absolute DNS name in canonical form: lower-case A-labels joined by dots, without the trailing dot.
//
// The root is "". ParseName and ParseDomain make Names; comparing two of them with == compares the DNS names.
type Name string

// ParseName reads any owner name: U-labels become A-labels, letters become lower case.
//
// Labels may hold "_" (RFC 8552) and "/" (RFC 2317); the first may be "*" (RFC 4592); a trailing dot is allowed. "." is the root.
// An error says what is wrong with the name, which it quotes.
func ParseName(s string) (Name, error) {
	if s == "." {
		return "", nil
	}
	name, err := canonical(s)
	if err != nil {
		return "", fmt.Errorf("name %s: %w", Quote(s), err)
	}
	for i, label := range strings.Split(name, ".") {
		if label == "*" && i == 0 {
			continue
		}
		if err := checkLabel(label, "_/"); err != nil {
			return "", fmt.Errorf("name %s: %w", Quote(s), err)
		}
	}
	return Name(name), nil
}

// ParseDomain reads a mail domain: two labels or more of letters, digits and hyphens, U-labels accepted (RFC 8616).
//
// An error says what is wrong with the domain, which it quotes, and what to write instead.
func ParseDomain(s string) (Name, error) {
	if err := notADomain(s); err != nil {
		return "", fmt.Errorf("domain %s: %w", Quote(s), err)
	}
	name, err := canonical(s)
	if err == nil {
		err = checkDomain(name)
	}
	if err != nil {
		return "", fmt.Errorf("domain %s: %w", Quote(s), err)
	}
	return Name(name), nil
}

// notADomain recognises what people write where a domain is wanted.
func notADomain(s string) error {
	if s == "" || s == "." {
		return errors.New("is empty: write the part after the @ of your addresses, such as example.org")
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return errors.New("is an IP address, not a mail domain: write a name such as example.org")
	}
	if strings.Contains(s, "://") {
		return errors.New("is a URL: write the domain alone, such as example.org")
	}
	if strings.Contains(s, "@") {
		return errors.New("is a mail address: write only the part after the @")
	}
	return nil
}

func checkDomain(name string) error {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "*":
			return errors.New("a wildcard is not a mail domain: name each domain")
		case strings.Contains(label, "_"):
			return fmt.Errorf("label %q has an underscore, which a mail domain cannot have (RFC 5321 §2.3.5)", label)
		}
		if err := checkLabel(label, ""); err != nil {
			return err
		}
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return fmt.Errorf("label %q begins or ends with a hyphen (RFC 5321 §4.1.2)", label)
		}
	}
	if len(labels) < 2 {
		return errors.New("is a single label: a mail domain has two or more, such as example.org")
	}
	// RFC 3696 §2: no top-level domain is all digits, so this is an address that lost something.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("ends in the number %q, as an IP address does: write a name such as example.org", last)
	}
	return nil
}

// canonical brings a name into lower-case A-labels and checks the lengths, but not yet which characters are in it.
func canonical(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty")
	}
	if len(s) > maxNameInput {
		return "", fmt.Errorf("is longer than %d octets", MaxName)
	}
	name, err := toASCII(s)
	if err != nil {
		return "", err
	}
	name = strings.TrimSuffix(name, ".")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return "", errors.New("has an empty label: two dots follow each other, or a dot comes first")
		}
		if len(label) > MaxLabel {
			return "", fmt.Errorf("label %s is longer than %d octets", Quote(label), MaxLabel)
		}
	}
	if len(name) > MaxName {
		return "", fmt.Errorf("is longer than %d octets", MaxName)
	}
	return name, nil
}

func toASCII(s string) (string, error) {
	if isASCII(s) {
		lower := strings.ToLower(s)
		if !hasALabel(lower) {
			return lower, nil
		}
		s = lower
	}
	if !utf8.ValidString(s) {
		return "", errors.New("is not valid UTF-8")
	}
	name, err := idnaProfile().ToASCII(s)
	if err != nil || !isASCII(name) {
		return "", errors.New("is not a valid internationalised name (RFC 5890)")
	}
	name = strings.ToLower(name)
	// A compatibility mapping (℀ is "a/c") may not bring in what only plain text is allowed to say.
	if strings.Contains(name, "/") && !strings.Contains(s, "/") {
		return "", errors.New("is not a valid internationalised name (RFC 5890)")
	}
	return name, nil
}

// idnaProfile is UTS #46 without its transitional mapping (so that ß stays ß), checking what RFC 5891 §5.4 asks a
// lookup to check. Not strict: "_" and "*" are judged by the callers.
func idnaProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule())
}

// checkLabel allows letters, digits, hyphens and the octets of extra.
func checkLabel(label, extra string) error {
	for _, c := range []byte(label) {
		if isLetterOrDigit(c) || c == '-' || strings.IndexByte(extra, c) >= 0 {
			continue
		}
		return fmt.Errorf("label %s has the character %s, which may not stand there", Quote(label), Quote(string(rune(c))))
	}
	return nil
}

func isLetterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

func hasALabel(lower string) bool {
	return strings.HasPrefix(lower, "xn--") || strings.Contains(lower, ".xn--")
}

// String returns the canonical form, without the trailing dot; "." for the root.
func (n Name) String() string {
	if n == "" {
		return "."
	}
	return string(n)
}

// FQDN returns the name with its trailing dot: "example.org.", "." for the root.
func (n Name) FQDN() string {
	return string(n) + "."
}

// IsRoot says whether this is the root of the DNS, which is also the zero Name.
func (n Name) IsRoot() bool {
	return n == ""
}

// Labels returns the labels from left to right; none for the root.
func (n Name) Labels() []string {
	if n == "" {
		return nil
	}
	return strings.Split(string(n), ".")
}

// Parent returns the name without its first label; the root is its own parent.
func (n Name) Parent() Name {
	_, parent, _ := strings.Cut(string(n), ".")
	return Name(parent)
}

// Child returns the name below this one whose first labels are given, such as "_dmarc" or "m1._domainkey".
//
// The labels are taken as they are but for their case. Where they come from outside, check the result with ParseName:
// it may be too long.
func (n Name) Child(labels string) Name {
	labels = strings.ToLower(strings.Trim(labels, "."))
	switch {
	case labels == "":
		return n
	case n == "":
		return Name(labels)
	default:
		return Name(labels + "." + string(n))
	}
}

// In says whether this name is the zone's apex or below it.
func (n Name) In(zone Name) bool {
	return zone == "" || n == zone || strings.HasSuffix(string(n), "."+string(zone))
}

// RelativeTo returns the name as it is written in the zone, "@" at the apex; false if the name is not in the zone.
func (n Name) RelativeTo(zone Name) (string, bool) {
	switch {
	case n == zone:
		return "@", true
	case !n.In(zone):
		return "", false
	case zone == "":
		return string(n), true
	default:
		return strings.TrimSuffix(string(n), "."+string(zone)), true
	}
}

// Unicode returns the name with U-labels, for people; where a label has none that leads back to it, the name as it is.
func (n Name) Unicode() string {
	if !hasALabel(string(n)) {
		return n.String()
	}
	u, err := idnaProfile().ToUnicode(string(n))
	if err != nil {
		return n.String()
	}
	if back, err := ParseName(u); err != nil || back != n {
		return n.String()
	}
	return u
}
