// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// form is a canonicalization (RFC 6376 §3.4).
type form string

const (
	simple  form = "simple"
	relaxed form = "relaxed"
)

const (
	maxSignedNames = 1000                 // names in h=: no honest signature has so many
	maxTags        = 64                   // tags of a signature: the RFCs define 14
	prefixLength   = 8                    // characters of b= that are shown (RFC 6008 §4)
	maxClockSkew   = 10 * time.Hour       // how far t= may be ahead of our clock
	farFuture      = int64(1) << 40       // seconds: x= beyond it never comes
	wholeBody      = int64(math.MaxInt64) // no l=
)

// claim is a DKIM-Signature field as it was read (RFC 6376 §3.5).
type claim struct {
	verdict    Signature // what is known before a key is asked for; Result is "" until something is wrong
	headerForm form
	bodyForm   form
	names      []string // h=, in lower case
	bodyHash   string   // bh=, decoded
	signature  []byte   // b=, decoded
	length     int64    // l=
	identity   string   // the domain of i=, in lower case
	issued     int64    // t=; 0 without
	expires    int64    // x=; 0 without
}

// flaw is why a signature is no good before anything was computed.
type flaw struct {
	result Result
	reason string
}

func (f flaw) Error() string { return f.reason }

func neutral(format string, args ...any) error {
	return flaw{Neutral, fmt.Sprintf(format, args...)}
}

// readClaim reads the value of a DKIM-Signature field.
//
// What RFC 6376 §6.1.1 asks a verifier to check before it asks for a key is checked here, but for x=, which needs a
// clock. With an error the claim says as much as could be read: it names itself in the verdict.
func readClaim(value string) (claim, error) {
	tags, err := readTags(value)
	if err != nil {
		return claim{}, err
	}
	c := claim{headerForm: simple, bodyForm: simple, length: wholeBody}
	c.nameItself(tags)
	for _, step := range []func(map[string]string) error{
		checkRequired, c.readAlgorithm, c.readForms, c.readNames, c.readDomain, c.readHashes, c.readLength, c.readTimes,
	} {
		if err := step(tags); err != nil {
			return c, err
		}
	}
	return c, nil
}

// readTags splits a tag list (RFC 6376 §3.2). Unlike dnsrecord.ParseTags it takes UTF-8, which internationalised
// messages have in d=, s= and i= (RFC 8616 §4).
func readTags(value string) (map[string]string, error) {
	if !utf8.ValidString(value) {
		return nil, neutral("the signature field has octets that are not UTF-8")
	}
	specs := strings.Split(value, ";")
	if len(specs) > maxTags {
		return nil, neutral("the signature has more than %d tags", maxTags)
	}
	if last := len(specs) - 1; last > 0 && dnsrecord.TrimBlanks(specs[last]) == "" {
		specs = specs[:last]
	}
	tags := make(map[string]string, len(specs))
	for _, spec := range specs {
		name, content, found := strings.Cut(spec, "=")
		name = dnsrecord.TrimBlanks(name)
		if !found || name == "" {
			return nil, neutral("the signature is no list of name=value")
		}
		if _, twice := tags[name]; twice {
			return nil, neutral("the signature has the tag %s= twice", dnsrecord.Quote(name))
		}
		tags[name] = dnsrecord.TrimBlanks(content)
	}
	return tags, nil
}

// nameItself takes what tells this signature from others, as far as it can be read.
func (c *claim) nameItself(tags map[string]string) {
	if domain, err := dnsrecord.ParseDomain(tags["d"]); err == nil {
		c.verdict.Domain = domain
		// A selector is one label or several (§3.1); people use underscores, and upper case is the same name in the DNS.
		if name, err := dnsrecord.ParseName(tags["s"]); err == nil && !strings.ContainsAny(string(name), "*/") && name != "" {
			c.verdict.Selector = string(name)
		}
	}
	c.verdict.Algorithm = strings.ToLower(tags["a"])
	b := dnsrecord.RemoveBlanks(tags["b"])
	c.verdict.Prefix = b[:min(prefixLength, len(b))]
}

func checkRequired(tags map[string]string) error {
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if _, found := tags[name]; !found {
			return neutral("the signature has no %s=", name)
		}
	}
	if tags["v"] != "1" {
		return neutral("the signature is of version %s, and only 1 exists", dnsrecord.Quote(tags["v"]))
	}
	// q= lists ways to find the key; there is one (§3.5).
	if q, found := tags["q"]; found && !slices.ContainsFunc(strings.Split(q, ":"), func(way string) bool {
		return strings.EqualFold(dnsrecord.TrimBlanks(way), "dns/txt")
	}) {
		return neutral("its key is to be found by %s, and only dns/txt exists", dnsrecord.Quote(q))
	}
	return nil
}

func (c *claim) readAlgorithm(map[string]string) error {
	switch c.verdict.Algorithm {
	case "rsa-sha256", "ed25519-sha256":
		return nil
	case "rsa-sha1":
		return flaw{Unacceptable, "rsa-sha1 is broken and proves nothing (RFC 8301 §3.1): the sender has to sign with rsa-sha256"}
	}
	algorithm := c.verdict.Algorithm
	c.verdict.Algorithm = ""
	return neutral("the algorithm %s is not known", dnsrecord.Quote(algorithm))
}

func (c *claim) readForms(tags map[string]string) error {
	value, found := tags["c"]
	if !found {
		return nil
	}
	header, body, both := strings.Cut(strings.ToLower(value), "/")
	c.headerForm, c.bodyForm = form(dnsrecord.TrimBlanks(header)), form(dnsrecord.TrimBlanks(body))
	if !both {
		c.bodyForm = simple
	}
	for _, f := range []form{c.headerForm, c.bodyForm} {
		if f != simple && f != relaxed {
			return neutral("the canonicalization %s is not known", dnsrecord.Quote(value))
		}
	}
	return nil
}

func (c *claim) readNames(tags map[string]string) error {
	for name := range strings.SplitSeq(tags["h"], ":") {
		if len(c.names) == maxSignedNames {
			return neutral("h= has more than %d names", maxSignedNames)
		}
		c.names = append(c.names, strings.ToLower(dnsrecord.TrimBlanks(name)))
	}
	// §5.4, §6.1.1: who signs without From says nothing about the author.
	if !slices.Contains(c.names, "from") {
		return flaw{PermError, "the From field is not signed"}
	}
	return nil
}

func (c *claim) readDomain(tags map[string]string) error {
	switch {
	case c.verdict.Domain == "":
		return neutral("d=%s is no domain", dnsrecord.Quote(tags["d"]))
	case c.verdict.Selector == "":
		return neutral("s=%s is no selector", dnsrecord.Quote(tags["s"]))
	}
	c.identity = string(c.verdict.Domain)
	i, found := tags["i"]
	if !found {
		return nil
	}
	at := strings.LastIndexByte(i, '@')
	identity, err := dnsrecord.ParseDomain(dnsrecord.RemoveBlanks(i[at+1:]))
	if at < 0 || err != nil {
		return neutral("i= has no domain")
	}
	if !identity.In(c.verdict.Domain) {
		return flaw{PermError, fmt.Sprintf("it speaks for %s in i=, which is not in the domain that signs", identity)}
	}
	c.identity = string(identity)
	return nil
}

func (c *claim) readHashes(tags map[string]string) error {
	bodyHash, err := base64.StdEncoding.DecodeString(dnsrecord.RemoveBlanks(tags["bh"]))
	if err != nil {
		return neutral("bh= is not base64")
	}
	c.bodyHash = string(bodyHash)
	if c.signature, err = base64.StdEncoding.DecodeString(dnsrecord.RemoveBlanks(tags["b"])); err != nil {
		return neutral("b= is not base64")
	}
	return nil
}

func (c *claim) readLength(tags map[string]string) error {
	value, found := tags["l"]
	if !found {
		return nil
	}
	n, ok := readNumber(value)
	if !ok {
		return neutral("l=%s is no number", dnsrecord.Quote(value))
	}
	c.length = n
	return nil
}

func (c *claim) readTimes(tags map[string]string) error {
	for name, at := range map[string]*int64{"t": &c.issued, "x": &c.expires} {
		value, found := tags[name]
		if !found {
			continue
		}
		n, ok := readNumber(value)
		if !ok {
			return neutral("%s=%s is no time", name, dnsrecord.Quote(value))
		}
		*at = min(n, farFuture)
	}
	if c.issued != 0 && c.expires != 0 && c.expires <= c.issued {
		return neutral("it expires before it was made: x= is not after t=")
	}
	return nil
}

// readNumber reads up to 76 digits (RFC 6376 §3.5); more than an int64 holds is the largest one but wholeBody.
func readNumber(s string) (int64, bool) {
	if s == "" || len(s) > 76 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == wholeBody {
		return wholeBody - 1, true
	}
	return n, true
}

// checkTime holds t= and x= against the clock.
func (c *claim) checkTime(now time.Time) error {
	if c.expires != 0 && now.Unix() > c.expires {
		return flaw{Fail, "the signature expired at " + time.Unix(c.expires, 0).UTC().Format(time.RFC3339)}
	}
	if issued := time.Unix(c.issued, 0); issued.Sub(now) > maxClockSkew {
		return flaw{Unacceptable, "the signature was made at " + issued.UTC().Format(time.RFC3339) + ", which is still to come: a clock is wrong"}
	}
	return nil
}

// withoutSignature takes the value of b= away, with the white space around it (RFC 6376 §3.7).
func withoutSignature(value string) string {
	var out strings.Builder
	for i, spec := range strings.Split(value, ";") {
		if i > 0 {
			out.WriteByte(';')
		}
		name, _, found := strings.Cut(spec, "=")
		if found && dnsrecord.TrimBlanks(name) == "b" {
			out.WriteString(name + "=")
			continue
		}
		out.WriteString(spec)
	}
	return out.String()
}
