// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsplan

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	markerLabel   = "_maildomain"
	markerVersion = "maildomain1"
	markerPrefix  = "v=maildomain"

	ownerLen  = 16 // 80 bits in base32
	nameLen   = 8  // 40 bits: which RRset
	digestLen = nameLen + 16

	maxDigests     = 512
	maxMarkerBytes = 16 << 10
)

// Marker says which records of a domain an installation has published:
// "v=maildomain1; o=<owner hash>; g=<generation>; r=<digest>,…" at
// _maildomain.<domain>. It holds no namespace, no object name and no secret.
type Marker struct {
	// Owner is the hash of the installation's --owner-id.
	Owner string
	// Generation grows with every change of the marker.
	Generation int64
	// Digests are sorted and without duplicates.
	Digests []string
}

// MarkerName returns where the marker of a domain stands in a zone: _maildomain.example.org in the zone that holds
// example.org. Into another zone, such as _domainkey.example.org or the target of an alias, records of many domains may
// lead: there it is example.org._maildomain.<apex>, on the pattern of RFC 9990 §4 (example.org._report._dmarc.<apex>).
// No mail domain has a label with an underscore, so no two markers meet. The name may be too long for the DNS.
func MarkerName(domain, zone dnsrecord.Name) dnsrecord.Name {
	if domain.In(zone) {
		return domain.Child(markerLabel)
	}
	return zone.Child(markerLabel).Child(string(domain))
}

// OwnerHash returns the owner hash of an --owner-id: 16 characters of base32.
func OwnerHash(ownerID string) string {
	return hash("owner", ownerID)[:ownerLen]
}

// Digest returns the digest of one record: 8 characters that name the RRset,
// then 16 that name the value.
//
// The first part is what lets a reader say which of the listed digests belong
// to a name whose values it does not know.
func Digest(name dnsrecord.Name, t dnsrecord.Type, value string) string {
	return digestOfKey(Key{Name: name, Type: t}) + hash("value", string(name), string(t), value)[:digestLen-nameLen]
}

func digestOfKey(k Key) string {
	return hash("name", string(k.Name), string(k.Type))[:nameLen]
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash is unambiguous in its parts: each is preceded by its length.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return lowerBase32.EncodeToString(h.Sum(nil))
}

// IsMarker reports whether a TXT value is a marker of this or another version.
func IsMarker(value string) bool {
	return strings.HasPrefix(value, markerPrefix)
}

// ParseMarker reads a marker; tags that it does not know are ignored.
func ParseMarker(value string) (Marker, error) {
	if len(value) > maxMarkerBytes {
		return Marker{}, fmt.Errorf("marker is %d octets long, more than %d", len(value), maxMarkerBytes)
	}
	tags, err := dnsrecord.ParseTags(value)
	if err != nil {
		return Marker{}, fmt.Errorf("marker: %w", err)
	}
	if v := tags[0]; v.Name != "v" || v.Value != markerVersion {
		return Marker{}, errors.New("not a marker that this version understands: it does not begin with v=" + markerVersion)
	}
	var m Marker
	if m.Owner, _ = tags.Get("o"); !isHash(m.Owner, ownerLen) {
		return Marker{}, errors.New("marker has no owner hash (o=)")
	}
	g, _ := tags.Get("g")
	m.Generation, err = strconv.ParseInt(g, 10, 64)
	if err != nil || m.Generation < 1 {
		return Marker{}, errors.New("marker has no generation (g=), a number from 1")
	}
	if r, _ := tags.Get("r"); r != "" {
		m.Digests = strings.Split(r, ",")
	}
	if len(m.Digests) > maxDigests {
		return Marker{}, fmt.Errorf("marker lists more than %d records", maxDigests)
	}
	for i, d := range m.Digests {
		m.Digests[i] = strings.TrimSpace(d)
		if !isHash(m.Digests[i], digestLen) {
			return Marker{}, errors.New("marker lists something that is not a digest (r=)")
		}
	}
	m.Digests = sortedSet(m.Digests)
	return m, nil
}

func isHash(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// String prints the marker as it stands in the DNS; equal markers print alike.
func (m Marker) String() string {
	return fmt.Sprintf("v=%s; o=%s; g=%d; r=%s", markerVersion, m.Owner, m.Generation, strings.Join(sortedSet(m.Digests), ","))
}

// Lists reports whether the marker lists a digest.
func (m Marker) Lists(digest string) bool { return slices.Contains(m.Digests, digest) }

func sortedSet(in []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(in)))
}
