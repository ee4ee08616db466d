// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxWord bounds what is kept of a name or a path: SMTP knows none so long (RFC 5321 §4.5.3.1).
const maxWord = 2048

// client is who speaks SMTP to the MTA.
type client struct {
	host string
	addr netip.Addr // invalid if it has none
}

// parseConnect reads SMFIC_CONNECT.
//
//	host NUL family [port (2 octets) address NUL]
func parseConnect(data []byte) (client, error) {
	host, rest, found := bytes.Cut(data, []byte{0})
	if !found || len(rest) == 0 {
		return client{}, fmt.Errorf("%w: connect without a family", errMalformed)
	}
	if len(host) > maxWord {
		return client{}, fmt.Errorf("%w: connect of a host of %d octets", errMalformed, len(host))
	}
	c := client{host: string(host)}
	family, rest := rest[0], rest[1:]
	switch family {
	case 'U', 'L': // Unknown, or a Unix socket: in no network.
		return c, nil
	case '4', '6':
	default:
		return client{}, fmt.Errorf("%w: connect of family %q", errMalformed, family)
	}
	if len(rest) < 2 {
		return client{}, fmt.Errorf("%w: connect without a port", errMalformed)
	}
	text, _, found := bytes.Cut(rest[2:], []byte{0})
	if !found {
		return client{}, fmt.Errorf("%w: connect with an address that does not end", errMalformed)
	}
	// Sendmail writes IPv6 addresses as RFC 5321 §4.1.3 does.
	addr, err := netip.ParseAddr(strings.TrimPrefix(string(text), "IPv6:"))
	if err != nil {
		return client{}, fmt.Errorf("%w: connect with an address that is none", errMalformed)
	}
	c.addr = addr.Unmap()
	return c, nil
}

// parseHelo reads SMFIC_HELO: the name, ended by NUL.
func parseHelo(data []byte) (string, error) {
	name, _, _ := bytes.Cut(data, []byte{0})
	if len(name) > maxWord {
		return "", fmt.Errorf("%w: helo of %d octets", errMalformed, len(name))
	}
	return string(name), nil
}

// envelope is what MAIL FROM says.
type envelope struct {
	sender     string // the reverse path without < and >
	nullSender bool   // it is <>: a bounce or the like (RFC 5321 §4.5.5)
	smtputf8   bool   // RFC 6531 §3.4: 8-bit headers reach only servers that take them
}

// parseMail reads SMFIC_MAIL: the reverse path and its parameters, each ended by NUL.
func parseMail(data []byte) (envelope, error) {
	path, rest, found := bytes.Cut(data, []byte{0})
	if !found {
		return envelope{}, fmt.Errorf("%w: mail without a path", errMalformed)
	}
	if len(path) > maxWord {
		return envelope{}, fmt.Errorf("%w: mail of a path of %d octets", errMalformed, len(path))
	}
	e := envelope{sender: strings.TrimSuffix(strings.TrimPrefix(string(path), "<"), ">")}
	e.nullSender = e.sender == ""
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

// asked are the macros that somebody asks for. No other is kept.
var asked = [...]string{"i", "j", "auth_authen"}

// macros are the values that the MTA sent ahead of commands, by command.
type macros map[command]macroValues

// macroValues are in the order of asked.
type macroValues [len(asked)]string

// set takes SMFIC_MACRO: the command they belong to, then name NUL value NUL
// and so on. They replace those of an earlier command of the kind.
func (m macros) set(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: macros of no command", errMalformed)
	}
	if len(data) > maxMacros {
		return fmt.Errorf("%w: %d octets of macros are more than %d", errMalformed, len(data), maxMacros)
	}
	stage, rest := command(data[0]), data[1:]
	if !isStage(stage) {
		return nil // Of a command that we do not know: not ours to keep.
	}
	var values macroValues
	for len(rest) > 0 {
		var name, value []byte
		name, rest, _ = bytes.Cut(rest, []byte{0})
		value, rest, _ = bytes.Cut(rest, []byte{0})
		// Long names may come with or without braces.
		name = bytes.TrimSuffix(bytes.TrimPrefix(name, []byte("{")), []byte("}"))
		i := slices.IndexFunc(asked[:], func(a string) bool { return a == string(name) })
		if i < 0 {
			continue
		}
		if len(value) > maxWord {
			return fmt.Errorf("%w: macro %s of %d octets", errMalformed, asked[i], len(value))
		}
		values[i] = string(value)
	}
	m[stage] = values
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

// get finds one of the macros that are asked for at the stages given, the first that has it.
func (m macros) get(name string, stages ...command) string {
	i := slices.Index(asked[:], name)
	for _, stage := range stages {
		if value := m[stage][i]; value != "" {
			return value
		}
	}
	return ""
}
