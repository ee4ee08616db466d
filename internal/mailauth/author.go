// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"errors"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// ErrNoAddress says that a From value holds no address with a domain.
var ErrNoAddress = errors.New("no address with a domain")

// AuthorDomains lists the domains of the addresses in the value of a From
// field, each once, in their order. It reads quoted strings, comments, groups
// and source routes (RFC 5322 §3.4, §4.4) and forgives what people send, such
// as a display name with an unquoted "@". An address without a valid domain is an error.
func AuthorDomains(value string) ([]dnsrecord.Name, error) {
	var domains []dnsrecord.Name
	seen := map[dnsrecord.Name]bool{}
	specs, ok := addrSpecs(value)
	if !ok {
		return nil, ErrNoAddress
	}
	for _, spec := range specs {
		at := strings.LastIndexByte(spec, '@')
		if at < 0 {
			return nil, ErrNoAddress
		}
		domain, err := dnsrecord.ParseDomain(spec[at+1:])
		if err != nil {
			return nil, ErrNoAddress
		}
		if !seen[domain] {
			seen[domain] = true
			domains = append(domains, domain)
		}
	}
	if len(domains) == 0 {
		return nil, ErrNoAddress
	}
	return domains, nil
}

// addrSpecs splits an address list into its addr-specs, without comments and
// white space. It is false where a quoted string, a comment or a "<" has no end.
func addrSpecs(value string) ([]string, bool) {
	var s addressScanner
	for i := 0; i < len(value); {
		i = s.step(value, i)
	}
	open := s.open || s.in
	s.end()
	return s.specs, !open
}

// addressScanner is at one place of an address list.
type addressScanner struct {
	specs []string
	plain []byte // outside of < and >: a display name or an addr-spec
	angle []byte // inside of < and >
	in    bool   // between < and >
	had   bool   // this mailbox had a < and >
	open  bool   // a quoted string or a comment did not end
}

// step takes what begins at i and returns where the next thing begins.
func (s *addressScanner) step(value string, i int) int {
	switch c := value[i]; c {
	case '"':
		end := skipQuoted(value, i)
		s.open = s.open || end < 0
		s.put(value[i:max(end, i)])
		return after(end, value)
	case '(':
		end := skipComment(value, i)
		s.open = s.open || end < 0
		return after(end, value)
	case ' ', '\t', '\r', '\n':
	case '<':
		if len(s.angle) > 0 { // A second one without a comma: a reader may show either.
			s.end()
		}
		s.in, s.had, s.angle = true, true, nil
	case '>':
		s.in = false
	case ',', ';':
		s.separate(c)
	case ':':
		s.colon()
	default:
		s.put(value[i : i+1])
	}
	return i + 1
}

func (s *addressScanner) put(text string) {
	if s.in {
		s.angle = append(s.angle, text...)
	} else {
		s.plain = append(s.plain, text...)
	}
}

// separate ends a mailbox, or inside of < and > a hop of a source route (RFC 5322 §4.4).
func (s *addressScanner) separate(c byte) {
	if s.in && c == ',' {
		s.angle = nil
		return
	}
	s.end()
}

// colon ends the name of a group, or inside of < and > a source route.
func (s *addressScanner) colon() {
	if s.in {
		s.angle = nil
		return
	}
	s.plain = nil
}

func (s *addressScanner) end() {
	spec := s.plain
	if s.had {
		spec = s.angle
	}
	if len(spec) > 0 || s.had {
		s.specs = append(s.specs, string(spec))
	}
	*s = addressScanner{specs: s.specs, open: s.open}
}

// after is where the scan goes on: at the end of what was skipped, or of the value.
func after(end int, value string) int {
	if end < 0 {
		return len(value)
	}
	return end
}

// skipQuoted returns where the quoted string that begins at i ends, or -1.
func skipQuoted(value string, i int) int {
	for i++; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// skipComment returns where the comment that begins at i ends, or -1; comments nest.
func skipComment(value string, i int) int {
	depth := 0
	for ; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
