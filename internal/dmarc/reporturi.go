// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarc

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// maxURI bounds a report URI, in octets.
const maxURI = 1024

// ReportURI is where reports go: a mailto or https URI in the form in which a record prints it, "," "!" and ";" percent-encoded (RFC
// 9989 §4.8).
//
// ParseReportURI makes ReportURIs; comparing two of them with == compares the destinations.
type ReportURI string

// ParseReportURI reads a report URI, such as mailto:dmarc@example.org.
//
// Characters that a record cannot hold become percent-encoded, a domain becomes lower-case A-labels, and the greatest size that RFC 7489
// allowed at the end (!10m) is left out. Errors say what to write instead.
func ParseReportURI(s string) (ReportURI, error) {
	uri, err := parseReportURI(s)
	if err != nil {
		return "", fmt.Errorf("report URI %s: %w", dnsrecord.Quote(s), err)
	}
	return uri, nil
}

func parseReportURI(s string) (ReportURI, error) {
	if len(s) > maxURI {
		return "", fmt.Errorf("is longer than %d octets", maxURI)
	}
	scheme, rest, found := strings.Cut(dropSize(s), ":")
	switch {
	case s == "":
		return "", errors.New("is empty: write mailto:ADDRESS")
	case !found && strings.Contains(s, "@"):
		return "", errors.New("is an address without a scheme: write mailto: before it")
	case found && strings.EqualFold(scheme, "mailto"):
		return parseMailto(rest)
	case found && strings.EqualFold(scheme, "https"):
		return parseHTTPS(rest)
	default:
		return "", errors.New("has neither of the schemes mailto: and https:, and receivers ignore others")
	}
}

// dropSize takes off the greatest size of a report, such as !10m, which RFC 9989 §4.8 tells readers to ignore.
func dropSize(uri string) string {
	i := strings.LastIndexByte(uri, '!')
	if i < 0 {
		return uri
	}
	size := strings.ToLower(uri[i+1:])
	digits := strings.TrimRight(size, "kmgt")
	if digits == "" || len(size)-len(digits) > 1 || strings.Trim(digits, "0123456789") != "" {
		return uri
	}
	return uri[:i]
}

// parseMailto reads addr-spec ["?" fields] (RFC 6068 §2).
func parseMailto(rest string) (ReportURI, error) {
	address, query, hasQuery := strings.Cut(rest, "?")
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", errors.New("has no mail address: write mailto:NAME@DOMAIN")
	}
	local, err := url.PathUnescape(address[:at])
	if err != nil {
		return "", errors.New(`has a "%" without two hexadecimal digits after it`)
	}
	if err := checkLocalPart(local); err != nil {
		return "", err
	}
	text, err := url.PathUnescape(address[at+1:])
	if err != nil {
		return "", errors.New(`has a "%" without two hexadecimal digits after it`)
	}
	domain, err := dnsrecord.ParseDomain(text)
	if err != nil {
		return "", err
	}
	uri := "mailto:" + encode(local, "-._~$'*+") + "@" + string(domain)
	if hasQuery {
		if query, err = encodeURI(query); err != nil {
			return "", err
		}
		uri += "?" + query
	}
	return bounded(uri)
}

// checkLocalPart holds a mailbox name to dot-atom (RFC 5321 §4.1.2), with the letters of RFC 6531.
func checkLocalPart(local string) error {
	switch {
	case local == "":
		return errors.New("has nothing before the @")
	case !utf8.ValidString(local):
		return errors.New("has a mailbox name that is not valid UTF-8")
	case strings.Contains(local, "@"):
		return errors.New("has more than one address: write a URI for each")
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return errors.New("has a mailbox name with a dot at an end, or with two together")
		}
	}
	for _, c := range []byte(local) {
		if c <= ' ' || c == 0x7f || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return fmt.Errorf("has a mailbox name with the character %s", dnsrecord.Quote(string(rune(c))))
		}
	}
	return nil
}

// parseHTTPS reads "//" host [":" port] [path] ["?" query] (RFC 9110 §4.2.2).
func parseHTTPS(rest string) (ReportURI, error) {
	rest, found := strings.CutPrefix(rest, "//")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if !found || end == 0 {
		return "", errors.New("has no host: write https://HOST/PATH")
	}
	if strings.Contains(rest[:end], "@") {
		return "", errors.New("has a user name or password: a record is public")
	}
	host, port, hasPort := strings.Cut(rest[:end], ":")
	domain, err := dnsrecord.ParseDomain(host)
	if err != nil {
		return "", err
	}
	uri := "https://" + string(domain)
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", fmt.Errorf("port %s is not a number from 1 to 65535", dnsrecord.Quote(port))
		}
		uri += ":" + strconv.FormatUint(n, 10)
	}
	path, err := encodeURI(rest[end:])
	if err != nil {
		return "", err
	}
	return bounded(uri + path)
}

// bounded checks the length again: encoding makes a URI longer.
func bounded(uri string) (ReportURI, error) {
	if len(uri) > maxURI {
		return "", fmt.Errorf("is longer than %d octets when encoded", maxURI)
	}
	return ReportURI(uri), nil
}

// encodeURI encodes what a record may not hold in a piece of a URI, and leaves what is encoded already.
func encodeURI(s string) (string, error) {
	if _, err := url.PathUnescape(s); err != nil {
		return "", errors.New(`has a "%" without two hexadecimal digits after it`)
	}
	if strings.Contains(s, "#") {
		return "", errors.New("has a fragment (#), which is never sent")
	}
	return encode(s, "%-._~:/?[]@$&'()*+="), nil
}

// encode percent-encodes all but letters, digits and the octets of safe.
func encode(s, safe string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Domain returns the domain that receives the reports: that of the address or the host. Where it is not the organisational domain of the
// record, it must agree to receive them (RFC 9990 §4).
func (u ReportURI) Domain() dnsrecord.Name {
	s := string(u)
	if address, isMail := strings.CutPrefix(s, "mailto:"); isMail {
		address, _, _ = strings.Cut(address, "?")
		return dnsrecord.Name(address[strings.LastIndexByte(address, '@')+1:])
	}
	host := strings.TrimPrefix(s, "https://")
	if end := strings.IndexAny(host, ":/?"); end >= 0 {
		host = host[:end]
	}
	return dnsrecord.Name(host)
}

// Address returns the mail address of a mailto URI, decoded; "" for another.
func (u ReportURI) Address() string {
	address, isMail := strings.CutPrefix(string(u), "mailto:")
	if !isMail {
		return ""
	}
	address, _, _ = strings.Cut(address, "?")
	if decoded, err := url.PathUnescape(address); err == nil {
		return decoded
	}
	return address
}

// String returns the URI as a record prints it.
func (u ReportURI) String() string {
	return string(u)
}
