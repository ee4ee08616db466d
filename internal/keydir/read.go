// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	maxDocument = 1 << 20 // a Secret holds no more
	maxKeyFile  = dkim.MaxPEM
)

// Tree is what one directory says.
type Tree struct {
	// Domains are those that could be read in full.
	Domains map[dnsrecord.Name]Domain
	// Problems are those that could not, by domain, or by file if its name is not that of a domain.
	Problems map[string]error
	// Unreadable is set when the directory itself could not be read: nothing is known then.
	Unreadable error
}

// Empty tells whether the directory was read and spoke of no domain.
func (t Tree) Empty() bool {
	return t.Unreadable == nil && len(t.Domains) == 0 && len(t.Problems) == 0
}

// Read reads a directory in the layout of this package.
//
// Every domain stands alone: one that has a fault is in Problems and not in
// Domains. Files that are neither documents nor named by one are ignored.
func Read(fsys fs.FS) Tree {
	tree := Tree{Domains: map[dnsrecord.Name]Domain{}, Problems: map[string]error{}}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		tree.Unreadable = fmt.Errorf("the key directory cannot be read: %w", err)
		return tree
	}
	for _, e := range entries {
		text, isDocument := strings.CutSuffix(e.Name(), documentSuffix)
		// kubelet's own entries begin with a dot: "..data", "..2026_08_01".
		if !isDocument || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		domain, err := checkDomain(text)
		if err != nil {
			tree.Problems[e.Name()] = fmt.Errorf("%s: the file name is not that of a domain: %w", e.Name(), err)
			continue
		}
		if d, err := readDomain(filesOf(fsys), domain); err != nil {
			tree.Problems[domain.String()] = fmt.Errorf("%s: %w", e.Name(), err)
		} else {
			tree.Domains[domain] = d
		}
	}
	return tree
}

func readDomain(read files, domain dnsrecord.Name) (Domain, error) {
	text, err := read(DocumentName(domain), maxDocument)
	if err != nil {
		return Domain{}, err
	}
	doc, err := parseDocument(text)
	if err != nil {
		return Domain{}, err
	}
	if doc.Domain != domain.String() {
		return Domain{}, fmt.Errorf("domain is %s, and the file name says %s", dnsrecord.Quote(doc.Domain), domain)
	}
	d := Domain{Domain: domain, Required: *doc.Required, Subdomains: doc.Subdomains}
	if d.Senders, err = doc.Senders.parse(); err != nil {
		return Domain{}, err
	}
	for _, k := range doc.Keys {
		key, err := readKey(read, k)
		if err != nil {
			return Domain{}, fmt.Errorf("selector %s: %w", k.Selector, err)
		}
		d.Keys = append(d.Keys, key)
	}
	return d, nil
}

// parseDocument reads a document and checks all that needs no other file.
func parseDocument(text []byte) (document, error) {
	// The version comes first: the rest of another version may have any shape.
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return document{}, fmt.Errorf("not a JSON document of this layout: %w", err)
	}
	if head.Version == nil {
		return document{}, fmt.Errorf("version is missing; this milter reads version %d", Version)
	}
	if *head.Version != Version {
		return document{}, fmt.Errorf("version %d is unknown; this milter reads version %d: update it", *head.Version, Version)
	}
	// A field that is not known may restrict who signs: to leave it unread would be to sign for whom it excludes.
	var doc document
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&doc); err != nil {
		return document{}, fmt.Errorf("not a JSON document of this layout, or of one that is newer than this milter: %w", err)
	}
	if doc.Required == nil {
		return document{}, errors.New("required is missing: true or false must be said")
	}
	selectors := make([]string, len(doc.Keys))
	for i, k := range doc.Keys {
		selectors[i] = k.Selector
	}
	return doc, checkKeys(selectors)
}

func (s *sendersDocument) parse() (*Senders, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // No senders is a value: everybody.
	}
	senders := &Senders{}
	for _, l := range s.Logins {
		if err := checkLogin(l); err != nil {
			return nil, err
		}
		senders.Logins = append(senders.Logins, l)
	}
	for _, text := range s.Networks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("senders: network %s is not one like 192.0.2.0/24", dnsrecord.Quote(text))
		}
		senders.Networks = append(senders.Networks, p)
	}
	return senders, nil
}

// signatureNames are the algorithms by their name in a=.
var signatureNames = []dkim.Algorithm{dkim.RSA, dkim.Ed25519}

func readKey(read files, k keyDocument) (Key, error) {
	known := slices.ContainsFunc(signatureNames, func(a dkim.Algorithm) bool { return a.SignatureName() == k.Algorithm })
	if !known {
		return Key{}, fmt.Errorf("algorithm %s is unknown", dnsrecord.Quote(k.Algorithm))
	}
	if k.File == "" || strings.ContainsAny(k.File, `/\`) || strings.HasPrefix(k.File, ".") {
		return Key{}, fmt.Errorf("file %s is not the name of a file beside the document", dnsrecord.Quote(k.File))
	}
	text, err := read(k.File, maxKeyFile)
	if err != nil {
		return Key{}, err
	}
	pair, err := dkim.ParsePEM(text)
	if err != nil {
		return Key{}, fmt.Errorf("file %s: %w", dnsrecord.Quote(k.File), err)
	}
	if got := pair.Algorithm().SignatureName(); got != k.Algorithm {
		return Key{}, fmt.Errorf("file %s holds a key for %s, and algorithm says %s", dnsrecord.Quote(k.File), got, k.Algorithm)
	}
	return Key{Selector: k.Selector, Pair: pair}, nil
}

// files reads a file of at most limit octets: of a mounted directory, or of a Secret's data.
type files func(name string, limit int64) ([]byte, error)

func filesOf(fsys fs.FS) files {
	return func(name string, limit int64) ([]byte, error) { return readFile(fsys, name, limit) }
}

// Decode reads one domain from the data of a Secret, as the operator does before it changes anything. The error wraps
// fs.ErrNotExist if the Secret has no such domain.
func Decode(data map[string][]byte, domain dnsrecord.Name) (Domain, error) {
	if _, ok := data[DocumentName(domain)]; !ok {
		return Domain{}, fmt.Errorf("%s: %w", DocumentName(domain), fs.ErrNotExist)
	}
	d, err := readDomain(func(name string, limit int64) ([]byte, error) {
		text, ok := data[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("file %s is missing", dnsrecord.Quote(name))
		case int64(len(text)) > limit:
			return nil, fmt.Errorf("file %s is larger than %d octets", dnsrecord.Quote(name), limit)
		}
		return text, nil
	}, domain)
	if err != nil {
		return Domain{}, fmt.Errorf("%s: %w", DocumentName(domain), err)
	}
	return d, nil
}

// readFile reads a regular file of bounded size; anything else could block or never end.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("file %s is missing", dnsrecord.Quote(name))
	case err != nil:
		return nil, fmt.Errorf("file %s cannot be read: %w", dnsrecord.Quote(name), err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("file %s is not a regular file", dnsrecord.Quote(name))
	case info.Size() > limit:
		return nil, fmt.Errorf("file %s is larger than %d octets", dnsrecord.Quote(name), limit)
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("file %s cannot be read: %w", dnsrecord.Quote(name), err)
	}
	defer file.Close()
	// The file may have changed since it was looked at: the limit holds all the same.
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("file %s cannot be read: %w", dnsrecord.Quote(name), err)
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("file %s is larger than %d octets", dnsrecord.Quote(name), limit)
	}
	return text, nil
}
