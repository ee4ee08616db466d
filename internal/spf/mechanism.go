// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// MechanismName is the name of a mechanism, in lower case.
type MechanismName string

// The mechanisms (RFC 7208 §5).
const (
	All     MechanismName = "all"
	Include MechanismName = "include"
	A       MechanismName = "a"
	MX      MechanismName = "mx"
	PTR     MechanismName = "ptr"
	IP4     MechanismName = "ip4"
	IP6     MechanismName = "ip6"
	Exists  MechanismName = "exists"
)

// Mechanism is one test of a record, such as ~include:_spf.example.net (RFC 7208 §5).
type Mechanism struct {
	// Qualifier is the result if the mechanism matches; the zero Qualifier means Pass.
	Qualifier Qualifier
	Name      MechanismName
	// Domain is the domain-spec of include, a, mx, ptr and exists, macros as they were written; "" is the domain itself.
	Domain string
	// CIDR is what follows the domain of a and mx: "", "/24", "//64" or "/24//64". Masks reads it.
	CIDR string
	// Network is the network of ip4 and ip6. Its host bits may be set.
	Network netip.Prefix
}

// String prints the mechanism as it stands in a record; Pass is not printed.
func (m Mechanism) String() string {
	var b strings.Builder
	if m.Qualifier != Pass {
		b.WriteString(string(m.Qualifier))
	}
	b.WriteString(string(m.Name))
	if m.Name == IP4 || m.Name == IP6 {
		b.WriteByte(':')
		if m.Network.IsSingleIP() {
			b.WriteString(m.Network.Addr().String())
		} else {
			b.WriteString(m.Network.String())
		}
		return b.String()
	}
	if m.Domain != "" {
		b.WriteString(":" + m.Domain)
	}
	b.WriteString(m.CIDR)
	return b.String()
}

// Masks returns the prefix lengths of a and mx: 32 and 128 where the record has none (RFC 7208 §5.3).
func (m Mechanism) Masks() (ip4, ip6 int) {
	text4, text6, _ := strings.Cut(m.CIDR, "//")
	ip4, ip6 = 32, 128
	if n, err := strconv.Atoi(strings.TrimPrefix(text4, "/")); err == nil {
		ip4 = n
	}
	if n, err := strconv.Atoi(text6); err == nil {
		ip6 = n
	}
	return ip4, ip6
}

func (m Mechanism) matchesEveryAddress() bool {
	switch m.Name {
	case IP4, IP6:
		return m.Network.Bits() == 0
	case A, MX:
		ip4, ip6 := m.Masks()
		return ip4 == 0 || ip6 == 0
	case All:
		return true
	case Include, PTR, Exists:
	}
	return false
}

// ParseMechanism reads one mechanism with its qualifier, such as "mx", "ip4:192.0.2.0/24" or "-include:example.net".
//
// Everything that RFC 7208 §5 defines is read; New decides what may be published. Errors say what to write instead.
func ParseMechanism(s string) (Mechanism, error) {
	m, err := parseMechanism(s)
	if err != nil {
		return Mechanism{}, fmt.Errorf("SPF mechanism %s: %w", dnsrecord.Quote(s), err)
	}
	return m, nil
}

func parseMechanism(s string) (Mechanism, error) {
	if err := notAMechanism(s); err != nil {
		return Mechanism{}, err
	}
	m := Mechanism{Qualifier: Pass}
	switch q := Qualifier(s[:1]); q {
	case Pass, Fail, SoftFail, Neutral:
		m.Qualifier, s = q, s[1:]
	}
	// The name ends where its argument or its prefix length begins.
	end := strings.IndexAny(s, ":/")
	if end < 0 {
		end = len(s)
	}
	m.Name = MechanismName(strings.ToLower(s[:end]))
	rest := s[end:]
	switch m.Name {
	case All:
		if rest != "" {
			return Mechanism{}, errors.New("all has no argument")
		}
		return m, nil
	case IP4, IP6:
		return m, parseNetwork(&m, rest)
	case A, MX:
		return m, parseHosts(&m, rest)
	case PTR:
		return m, parseDomain(&m, rest, false)
	case Include, Exists:
		return m, parseDomain(&m, rest, true)
	default:
		return Mechanism{}, unknownMechanism(s[:end], rest)
	}
}

// notAMechanism recognises other things that people write where a mechanism is wanted.
func notAMechanism(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxRecord:
		return fmt.Errorf("is longer than %d octets", MaxRecord)
	case Is(s):
		return errors.New("begins a whole record: write only the mechanisms, one by one, without v=spf1")
	case strings.ContainsAny(s, " \t\r\n"):
		return errors.New("has a blank in it: write each mechanism as an item of its own")
	case isModifier(s):
		return errors.New("is a modifier (name=value), not a mechanism: to let another domain's senders pass write include:DOMAIN")
	}
	return nil
}

func unknownMechanism(name, rest string) error {
	if _, err := netip.ParseAddr(name + rest); err == nil {
		return errors.New("is an address: write ip4: or ip6: before it")
	}
	if _, err := netip.ParsePrefix(name + rest); err == nil {
		return errors.New("is a network: write ip4: or ip6: before it")
	}
	if strings.Contains(name, ".") {
		return errors.New("is a name: write include: before a domain whose SPF record you trust, or a: before a host")
	}
	return fmt.Errorf("%s is not a mechanism: there are ip4, ip6, a, mx, include and exists", dnsrecord.Quote(name))
}

// parseDomain reads ":domain-spec".
func parseDomain(m *Mechanism, rest string, required bool) error {
	domain, found := strings.CutPrefix(rest, ":")
	switch {
	case !found && rest != "":
		return fmt.Errorf("%s has no prefix length", m.Name)
	case !found && required:
		return fmt.Errorf("%s needs a domain: write %s:example.net", m.Name, m.Name)
	case !found:
		return nil
	}
	m.Domain = domain
	return checkDomainSpec(domain)
}

// parseHosts reads [":" domain-spec] [dual-cidr-length] of a and mx (RFC 7208 §5.3, §5.4).
func parseHosts(m *Mechanism, rest string) error {
	rest, cidr := cutCIDR(rest)
	if err := checkDualCIDR(cidr); err != nil {
		return err
	}
	if rest != "" && !strings.HasPrefix(rest, ":") {
		return fmt.Errorf("has %s where a prefix length such as /24 belongs", dnsrecord.Quote(rest))
	}
	if err := parseDomain(m, rest, false); err != nil {
		return err
	}
	m.CIDR = canonicalCIDR(cidr)
	return nil
}

// cutCIDR cuts the digits and slashes off the end that can be a dual-cidr-length: the slash is also a character that a
// domain-spec may hold, so it is found from behind.
func cutCIDR(s string) (rest, cidr string) {
	end := len(s)
	for _, slashes := range []string{"//", "/"} {
		head := strings.TrimRight(s[:end], "0123456789")
		if !strings.HasSuffix(head, slashes) || slashes == "/" && strings.HasSuffix(head, "//") {
			continue
		}
		end = len(head) - len(slashes)
	}
	return s[:end], s[end:]
}

func checkDualCIDR(cidr string) error {
	ip4, ip6, dual := strings.Cut(cidr, "//")
	if ip4 != "" {
		if err := checkMask(strings.TrimPrefix(ip4, "/"), 32); err != nil {
			return err
		}
	}
	if dual {
		return checkMask(ip6, 128)
	}
	return nil
}

// checkMask holds a prefix length to its ABNF: no leading zero (RFC 7208 §5.6).
func checkMask(digits string, most int) error {
	n, err := strconv.Atoi(digits)
	if err != nil || n > most || strconv.Itoa(n) != digits {
		return fmt.Errorf("/%s is not a prefix length: write a number from 0 to %d without leading zeros", short(digits), most)
	}
	return nil
}

// canonicalCIDR leaves out the lengths that say nothing.
func canonicalCIDR(cidr string) string {
	ip4, ip6, _ := strings.Cut(cidr, "//")
	if ip4 == "/32" {
		ip4 = ""
	}
	if ip6 == "" || ip6 == "128" {
		return ip4
	}
	return ip4 + "//" + ip6
}

// parseNetwork reads ":" ip4-network or ip6-network with its prefix length (RFC 7208 §5.6).
func parseNetwork(m *Mechanism, rest string) error {
	text, found := strings.CutPrefix(rest, ":")
	if !found || text == "" {
		return fmt.Errorf("%s needs an address or network: write %s", m.Name, m.example())
	}
	host, mask, hasMask := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil || addr.Zone() != "":
		return fmt.Errorf("%s is not an address: write %s", dnsrecord.Quote(host), m.example())
	case m.Name == IP4 && !addr.Is4():
		return fmt.Errorf("%s is not an IPv4 address: write ip6:%s", dnsrecord.Quote(host), text)
	case m.Name == IP6 && !addr.Is6():
		return fmt.Errorf("%s is not an IPv6 address: write ip4:%s", dnsrecord.Quote(host), text)
	}
	bits := addr.BitLen()
	if hasMask {
		if err := checkMask(mask, bits); err != nil {
			return err
		}
		if bits, err = strconv.Atoi(mask); err != nil {
			return fmt.Errorf("prefix length: %w", err)
		}
	}
	m.Network = netip.PrefixFrom(addr, bits)
	return nil
}

func (m Mechanism) example() string {
	if m.Name == IP4 {
		return "ip4:192.0.2.0/24"
	}
	return "ip6:2001:db8::/32"
}
