// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// parseConnect reads SMFIC_CONNECT: the address of the client, invalid if it has none.
//
//	host NUL family [port (2 octets) address NUL]
func parseConnect(data []byte) (netip.Addr, error) {
	_, rest, found := bytes.Cut(data, []byte{0})
	if !found || len(rest) == 0 {
		return netip.Addr{}, fmt.Errorf("%w: connect without a family", errMalformed)
	}
	family, rest := rest[0], rest[1:]
	switch family {
	case 'U', 'L': // Unknown, or a Unix socket: in no network.
		return netip.Addr{}, nil
	case '4', '6':
	default:
		return netip.Addr{}, fmt.Errorf("%w: connect of family %q", errMalformed, family)
	}
	if len(rest) < 2 {
		return netip.Addr{}, fmt.Errorf("%w: connect without a port", errMalformed)
	}
	text, _, found := bytes.Cut(rest[2:], []byte{0})
	if !found {
		return netip.Addr{}, fmt.Errorf("%w: connect with an address that does not end", errMalformed)
	}
	// Sendmail writes IPv6 addresses as RFC 5321 §4.1.3 does.
	addr, err := netip.ParseAddr(strings.TrimPrefix(string(text), "IPv6:"))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: connect with an address that is none", errMalformed)
	}
	return addr.Unmap(), nil
}

// envelope is what signing needs of MAIL FROM.
type envelope struct {
	nullSender bool
	smtputf8   bool // RFC 6531 §3.4: 8-bit headers reach only servers that take them
}

// parseMail reads SMFIC_MAIL: the reverse path and its parameters, each ended by NUL.
func parseMail(data []byte) (envelope, error) {
	path, rest, found := bytes.Cut(data, []byte{0})
	if !found {
		return envelope{}, fmt.Errorf("%w: mail without a path", errMalformed)
	}
	e := envelope{nullSender: string(path) == "<>" || len(path) == 0}
	for param := range bytes.SplitSeq(rest, []byte{0}) {
		if strings.EqualFold(string(param), "SMTPUTF8") {
			e.smtputf8 = true
		}
	}
	return e, nil
}

// parseHeader reads SMFIC_HEADER: name NUL value NUL.
func parseHeader(data []byte) (name string, value []byte, err error) {
	n, rest, found := bytes.Cut(data, []byte{0})
	if !found || len(n) == 0 || len(rest) == 0 || rest[len(rest)-1] != 0 {
		return "", nil, fmt.Errorf("%w: header field without name or end", errMalformed)
	}
	return string(n), rest[:len(rest)-1], nil
}

// maxMacros bounds the macros of one stage; those of Postfix and Sendmail take some hundred octets.
const maxMacros = 16 << 10

// macros are the values that the MTA sent ahead of commands, kept by command.
type macros map[command]string

// set takes SMFIC_MACRO: the command they belong to, then name NUL value NUL and so on.
func (m macros) set(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: macros of no command", errMalformed)
	}
	if len(data) > maxMacros {
		return fmt.Errorf("%w: %d octets of macros are more than %d", errMalformed, len(data), maxMacros)
	}
	stage := command(data[0])
	if !isStage(stage) {
		return nil // Of a command that we do not know: not ours to keep.
	}
	m[stage] = string(data[1:])
	return nil
}

// isStage tells whether macros of a command are kept, which bounds how much is.
func isStage(c command) bool {
	return c == cmdConnect || c == cmdHelo || isMessageStage(c)
}

func isMessageStage(c command) bool {
	return c == cmdMail || c == cmdRcpt || c == cmdData || c == cmdEOH || c == cmdEnd
}

// endMessage forgets the macros of a message and keeps those of the SMTP session.
func (m macros) endMessage() {
	for stage := range m {
		if isMessageStage(stage) {
			delete(m, stage)
		}
	}
}

// get finds a macro at the stages given, the first that has it. Long names may come with or without braces.
func (m macros) get(name string, stages ...command) string {
	for _, stage := range stages {
		rest := m[stage]
		for rest != "" {
			var key, value string
			key, rest, _ = strings.Cut(rest, "\x00")
			value, rest, _ = strings.Cut(rest, "\x00")
			if strings.TrimSuffix(strings.TrimPrefix(key, "{"), "}") == name {
				return value
			}
		}
	}
	return ""
}
