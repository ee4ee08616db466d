// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnslookup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Bounds on what one answer may bring.
const (
	maxRecords = 64 // of the type that was asked for; more is no answer that mail needs
	maxSection = 256
	maxAliases = 8
)

// How long an answer is remembered, whatever it says itself.
const (
	maxPositive = time.Hour
	maxNegative = 15 * time.Minute
	// failureTTL spares servers that fail (RFC 9520 §3.2), and us.
	failureTTL = 5 * time.Second
)

// question is what a resolver is asked; the name is absolute and in lower case.
type question struct {
	name   string
	rrtype uint16
	dnssec bool // with what proves the answer (RFC 3225)
}

// answer is what is known about a question.
type answer struct {
	texts []string     // TXT: logical values
	hosts []*net.MX    // MX
	addrs []netip.Addr // A, AAAA
	names []string     // PTR

	err    error         // errNotThere, or why nothing is known
	noName bool          // of errNotThere: not even the name is there
	ttl    time.Duration // 0: not to be remembered
}

var (
	errNotThere   = errors.New("there is no such name or record")
	errUnreadable = errors.New("the answer cannot be read")
	errTooMany    = fmt.Errorf("the answer has more than %d records", maxRecords)
)

// serverError is a response code that says nothing about the name.
type serverError int

func (e serverError) Error() string {
	if name, ok := dns.RcodeToString[int(e)]; ok {
		return "the resolver answers " + name
	}
	return fmt.Sprintf("the resolver answers with code %d", int(e))
}

// readAnswer judges a reply to a question.
func readAnswer(q question, m *dns.Msg) answer {
	switch {
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return answer{err: serverError(m.Rcode), ttl: failureTTL}
	case len(m.Answer) > maxSection:
		return answer{err: errTooMany, ttl: failureTTL}
	}
	owner, ttl, err := followAliases(q, m.Answer)
	if err != nil {
		return answer{err: err, ttl: failureTTL}
	}
	a := answer{ttl: min(ttl, maxPositive)}
	n := 0
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Rrtype != q.rrtype || h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
			continue
		}
		if n++; n > maxRecords {
			return answer{err: errTooMany, ttl: failureTTL}
		}
		a.ttl = min(a.ttl, seconds(h.Ttl))
		a.add(rr)
	}
	if n == 0 {
		return answer{err: errNotThere, noName: strings.EqualFold(owner, q.name) && deniesName(q, m), ttl: negativeTTL(m.Ns)}
	}
	return a
}

// deniesName tells whether a reply without aliases denies the name itself: by its code (RFC 8020 §2), or, of servers that
// deny compactly and give no such code to who asks for proof, by NXNAME among the types at the name (RFC 9824 §2, §3.4).
func deniesName(q question, m *dns.Msg) bool {
	return m.Rcode == dns.RcodeNameError || slices.ContainsFunc(m.Ns[:min(len(m.Ns), maxSection)], func(rr dns.RR) bool {
		nsec, ok := rr.(*dns.NSEC)
		return ok && strings.EqualFold(nsec.Hdr.Name, q.name) && slices.Contains(nsec.TypeBitMap, dns.TypeNXNAME)
	})
}

// followAliases goes along the CNAMEs that a resolver put into its answer, to the name at which the records stand.
func followAliases(q question, section []dns.RR) (owner string, ttl time.Duration, err error) {
	owner, ttl = q.name, maxPositive
	for range maxAliases {
		i := slices.IndexFunc(section, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeCNAME && rr.Header().Class == dns.ClassINET && strings.EqualFold(rr.Header().Name, owner)
		})
		if i < 0 {
			return owner, ttl, nil
		}
		alias, ok := section[i].(*dns.CNAME)
		if !ok {
			return "", 0, errUnreadable
		}
		owner, ttl = alias.Target, min(ttl, seconds(alias.Hdr.Ttl))
	}
	return "", 0, fmt.Errorf("there are more than %d aliases", maxAliases)
}

// add takes one record. A record without data, which only a dynamic update has, is none.
func (a *answer) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.TXT:
		if value, err := textOf(rr); err == nil {
			a.texts = append(a.texts, value)
		}
	case *dns.MX:
		a.hosts = append(a.hosts, &net.MX{Host: rr.Mx, Pref: rr.Preference})
	case *dns.A:
		a.addAddress(rr.A)
	case *dns.AAAA:
		a.addAddress(rr.AAAA)
	case *dns.PTR:
		a.names = append(a.names, rr.Ptr)
	}
}

func (a *answer) addAddress(ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		a.addrs = append(a.addrs, addr.Unmap())
	}
}

// textOf is the logical value: character-strings with nothing between, without the escapes in which the library keeps them.
func textOf(txt *dns.TXT) (string, error) {
	var presentation strings.Builder
	for _, s := range txt.Txt {
		presentation.WriteString(`"` + s + `" `)
	}
	return dnsrecord.ParseTXT(presentation.String())
}

// negativeTTL is how long it may be remembered that something is not there: min(SOA TTL, SOA minimum), and not at all
// without an SOA (RFC 2308 §5).
func negativeTTL(authority []dns.RR) time.Duration {
	for _, rr := range authority[:min(len(authority), maxSection)] {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(min(soa.Hdr.Ttl, soa.Minttl)), maxNegative)
		}
	}
	return 0
}

// seconds reads a TTL; with its highest bit set it is 0 (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// size is about how much memory an answer takes.
func (a *answer) size() int {
	n := 128 + 24*len(a.addrs)
	for _, s := range a.texts {
		n += 16 + len(s)
	}
	for _, h := range a.hosts {
		n += 48 + len(h.Host)
	}
	for _, s := range a.names {
		n += 16 + len(s)
	}
	return n
}
