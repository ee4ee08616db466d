// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Encode writes one domain as data of a Secret: <domain>.json and one PEM file per key.
//
// The same domain gives the same octets. An error names the field that cannot
// be written; it never shows a key.
func Encode(d Domain) (map[string][]byte, error) {
	doc, err := newDocument(d)
	if err != nil {
		return nil, fmt.Errorf("signing data of %s: %w", d.Domain, err)
	}
	data := make(map[string][]byte, 1+len(d.Keys))
	for i, k := range d.Keys {
		pem, err := k.Pair.PEM()
		if err != nil {
			return nil, fmt.Errorf("signing data of %s: selector %s: %w", d.Domain, k.Selector, err)
		}
		data[doc.Keys[i].File] = pem
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("signing data of %s: %w", d.Domain, err)
	}
	data[DocumentName(d.Domain)] = append(text, '\n')
	for name := range data {
		if len(name) > maxDataKey {
			return nil, fmt.Errorf("signing data of %s: %q is longer than the %d characters of a Secret's data key", d.Domain, name, maxDataKey)
		}
	}
	return data, nil
}

func newDocument(d Domain) (document, error) {
	if _, err := checkDomain(d.Domain.String()); err != nil {
		return document{}, err
	}
	senders, err := newSendersDocument(d.Senders)
	if err != nil {
		return document{}, err
	}
	selectors := make([]string, len(d.Keys))
	keys := make([]keyDocument, len(d.Keys))
	for i, k := range d.Keys {
		if k.Pair.IsZero() {
			return document{}, fmt.Errorf("selector %s has no key", k.Selector)
		}
		selectors[i] = k.Selector
		keys[i] = keyDocument{
			Selector:  k.Selector,
			Algorithm: k.Pair.Algorithm().SignatureName(),
			File:      KeyName(d.Domain, k.Selector),
		}
	}
	if err := checkKeys(selectors); err != nil {
		return document{}, err
	}
	return document{
		Version: Version, Domain: d.Domain.String(), Required: &d.Required, Subdomains: d.Subdomains,
		Senders: senders, Keys: keys,
	}, nil
}

func newSendersDocument(s *Senders) (*sendersDocument, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // No senders is a value: everybody.
	}
	doc := &sendersDocument{Logins: []string{}, Networks: []string{}}
	for _, l := range s.Logins {
		if err := checkLogin(l); err != nil {
			return nil, err
		}
		doc.Logins = append(doc.Logins, l)
	}
	for _, p := range s.Networks {
		if !p.IsValid() {
			return nil, errors.New("senders: a network is not valid")
		}
		doc.Networks = append(doc.Networks, p.String())
	}
	return doc, nil
}

// checkLogin refuses a login that would match nobody, or more than was meant.
func checkLogin(l string) error {
	switch {
	case l == "":
		return errors.New("senders: a login is empty")
	case l == "*" || l == "*@":
		return fmt.Errorf("senders: login %q: leave senders out to admit everybody", l)
	case strings.Contains(l, "*") && (!strings.HasPrefix(l, "*@") || strings.Count(l, "*") > 1):
		return fmt.Errorf("senders: login %q: \"*\" may stand only in front of an \"@\"", l)
	}
	return nil
}
