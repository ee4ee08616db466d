// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// RecordName returns where the key record of a selector stands: <selector>._domainkey.<domain> (RFC 6376 §3.6.2.1).
func RecordName(selector string, domain dnsrecord.Name) (dnsrecord.Name, error) {
	if err := CheckSelector(selector); err != nil {
		return "", err
	}
	if domain.IsRoot() {
		return "", fmt.Errorf("selector %s needs a domain", dnsrecord.Quote(selector))
	}
	name, err := dnsrecord.ParseName(string(domain.Child(selector + "._domainkey")))
	if err != nil {
		return "", fmt.Errorf("key record of selector %s: %w", dnsrecord.Quote(selector), err)
	}
	return name, nil
}

// CheckSelector says what is wrong with a selector: nil for lower-case letters, digits and hyphens in one label or more.
//
// RFC 6376 §3.1 lets a selector be labels joined by dots. Upper case is refused, since m1 and M1 are one name in the DNS but
// would be two files; a wildcard, since RFC 6376 §3.6.2.1 forbids it.
func CheckSelector(s string) error {
	if err := selectorProblem(s); err != nil {
		return fmt.Errorf("selector %s: %w", dnsrecord.Quote(s), err)
	}
	return nil
}

func selectorProblem(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if len(s) > dnsrecord.MaxName {
		return fmt.Errorf("is longer than %d octets", dnsrecord.MaxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return errors.New("has an empty label: a dot stands at an end, or two follow each other")
		case len(label) > dnsrecord.MaxLabel:
			return fmt.Errorf("has a label longer than %d octets", dnsrecord.MaxLabel)
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return errors.New("has a label that begins or ends with a hyphen")
		case label != strings.ToLower(label):
			return errors.New("has upper-case letters: the DNS does not tell them apart, write lower case")
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return errors.New("may hold only letters, digits, hyphens and dots (RFC 6376 §3.1)")
		}
	}
	return nil
}
