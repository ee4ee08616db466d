// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keydir is the contract between the operator, which writes the keys
// that sign into a Secret, and the milter, which reads them from the directory
// that the Secret is mounted as.
//
//	example.org.json            who signs: version, domain, required, subdomains, senders, keys
//	example.org.m20260801r.pem  a key, PKCS #8
//
// Encode writes one domain, Read reads all of them. A domain that cannot be read
// is a Problem of its own and never hides another. So is one with a field that
// is not known here: it may restrict who signs.
package keydir

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Version is the version of the layout that this package writes and reads.
const Version = 1

const (
	documentSuffix = ".json"
	keySuffix      = ".pem"
	// maxDataKey is the length of the longest key in the data of a Secret.
	maxDataKey = 253
	// maxKeys bounds the keys of one domain, since each signs every message.
	maxKeys = 32
)

// Domain is one mail domain and the keys that sign for it now.
type Domain struct {
	Domain     dnsrecord.Name
	Required   bool     // a message that cannot be signed must not leave
	Subdomains bool     // also signs for sub-domains that have no entry of their own
	Senders    *Senders // nil: whoever reaches a signing listener
	Keys       []Key
}

// Key is one key that signs now.
type Key struct {
	Selector string
	Pair     dkim.KeyPair
}

// Senders says who may send as a domain: one match is enough, and two empty lists admit nobody.
type Senders struct {
	Logins   []string       // SASL logins, compared as they are; "*@example.org" is any login that ends so
	Networks []netip.Prefix // of the client
}

// Admits tells whether a client may send. An empty login is no login; an invalid address is in no network.
func (s *Senders) Admits(login string, client netip.Addr) bool {
	if s == nil {
		return true
	}
	if login != "" && slices.ContainsFunc(s.Logins, func(l string) bool { return matchLogin(l, login) }) {
		return true
	}
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(s.Networks, func(p netip.Prefix) bool { return p.Contains(client) })
}

func matchLogin(pattern, login string) bool {
	if tail, ok := strings.CutPrefix(pattern, "*@"); ok {
		user, at, found := cutLast(login, "@")
		return found && user != "" && at == tail
	}
	return pattern == login
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// DocumentName is the data key of a domain's JSON document.
func DocumentName(domain dnsrecord.Name) string {
	return domain.String() + documentSuffix
}

// KeyName is the data key of one of a domain's keys.
//
// A dot of the selector becomes "_", which no domain has: otherwise selector
// "uk.s" of example.org and selector "s" of example.org.uk were one name.
func KeyName(domain dnsrecord.Name, selector string) string {
	return domain.String() + "." + strings.ReplaceAll(selector, ".", "_") + keySuffix
}

// DomainOf tells which domain a data key belongs to, and false if it is none that Encode writes.
func DomainOf(dataKey string) (dnsrecord.Name, bool) {
	text, isDocument := strings.CutSuffix(dataKey, documentSuffix)
	if !isDocument {
		rest, isKey := strings.CutSuffix(dataKey, keySuffix)
		owner, selector, found := cutLast(rest, ".")
		if !isKey || !found || selector == "" {
			return "", false
		}
		text = owner
	}
	domain, err := dnsrecord.ParseDomain(text)
	if err != nil || domain.String() != text {
		return "", false
	}
	return domain, true
}

// DataKeys lists the data keys that Encode writes for a domain, sorted.
func (d Domain) DataKeys() []string {
	names := []string{DocumentName(d.Domain)}
	for _, k := range d.Keys {
		names = append(names, KeyName(d.Domain, k.Selector))
	}
	slices.Sort(names)
	return names
}

// document is the JSON of one domain.
type document struct {
	Version    int              `json:"version"`
	Domain     string           `json:"domain"`
	Required   *bool            `json:"required"` // a pointer: that nothing is said must not mean false
	Subdomains bool             `json:"subdomains"`
	Senders    *sendersDocument `json:"senders,omitempty"`
	Keys       []keyDocument    `json:"keys"`
}

type sendersDocument struct {
	Logins   []string `json:"logins"`
	Networks []string `json:"networks"`
}

type keyDocument struct {
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"` // as in a= (RFC 6376 §3.3, RFC 8463 §3)
	File      string `json:"file"`
}

// checkKeys refuses selectors that cannot be used, are there twice or are too many.
func checkKeys(selectors []string) error {
	if len(selectors) > maxKeys {
		return fmt.Errorf("%d keys are more than the %d that a domain may have", len(selectors), maxKeys)
	}
	for i, s := range selectors {
		if err := dkim.CheckSelector(s); err != nil {
			return err
		}
		if slices.Contains(selectors[:i], s) {
			return fmt.Errorf("selector %q is listed twice", s)
		}
	}
	return nil
}

// checkDomain reads a name that must be a mail domain in canonical form.
func checkDomain(text string) (dnsrecord.Name, error) {
	domain, err := dnsrecord.ParseDomain(text)
	if err != nil {
		return "", err
	}
	if domain.String() != text {
		return "", fmt.Errorf("domain %q must be written %q", text, domain.String())
	}
	return domain, nil
}
