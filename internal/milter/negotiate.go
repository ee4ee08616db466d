// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	minVersion = 2
	maxVersion = 6
)

// actions is a set of SMFIF_ flags.
type actions uint32

const (
	addHeaders    actions = 0x01 // also allows SMFIR_INSHEADER
	changeHeaders actions = 0x10
	quarantine    actions = 0x20
)

// protocol is the set of SMFIP_ flags of a connection.
type protocol uint32

const (
	noHelo          protocol = 0x02
	noRcpt          protocol = 0x08
	noReplyHeader   protocol = 0x80
	noUnknown       protocol = 0x100
	noData          protocol = 0x200
	noReplyConnect  protocol = 0x1000
	noReplyHelo     protocol = 0x2000
	noReplyMail     protocol = 0x4000
	noReplyRcpt     protocol = 0x8000
	noReplyData     protocol = 0x10000
	noReplyUnknown  protocol = 0x20000
	noReplyEOH      protocol = 0x40000
	noReplyBody     protocol = 0x80000
	headerLeadSpace protocol = 0x100000
)

// quiet is asked for wherever the MTA offers it: no answer to any command
// before the end. Each answer costs a turn between two processes; all of them
// together were worth a third of the time.
const quiet = noReplyConnect | noReplyHelo | noReplyMail | noReplyRcpt | noReplyData | noReplyUnknown |
	noReplyHeader | noReplyEOH | noReplyBody | headerLeadSpace

// noReply are the flags by which an MTA does not wait for an answer to a command.
var noReply = map[command]protocol{
	cmdConnect: noReplyConnect, cmdHelo: noReplyHelo, cmdMail: noReplyMail, cmdRcpt: noReplyRcpt, cmdData: noReplyData,
	cmdUnknown: noReplyUnknown, cmdHeader: noReplyHeader, cmdEOH: noReplyEOH, cmdBody: noReplyBody,
}

var (
	errOldVersion = errors.New("the MTA speaks a milter protocol older than version 2")
	errNotAllowed = errors.New("the MTA does not allow what this listener is for")
)

// negotiate answers SMFIC_OPTNEG: our data, and the protocol flags that now hold.
func (t terms) negotiate(data []byte) (string, protocol, error) {
	if len(data) < 12 {
		return "", 0, fmt.Errorf("%w: negotiation of %d octets", errMalformed, len(data))
	}
	version := binary.BigEndian.Uint32(data)
	allowed := actions(binary.BigEndian.Uint32(data[4:]))
	offered := protocol(binary.BigEndian.Uint32(data[8:]))
	if version < minVersion {
		return "", 0, errOldVersion
	}
	if missing := t.actions &^ allowed; missing != 0 {
		return "", 0, fmt.Errorf("%w: actions %#x are not among those it offers, %#x", errNotAllowed, uint32(missing), uint32(allowed))
	}
	agreed := offered & (t.unneeded | quiet)
	answer := binary.BigEndian.AppendUint32(nil, min(version, maxVersion))
	answer = binary.BigEndian.AppendUint32(answer, uint32(t.actions))
	answer = binary.BigEndian.AppendUint32(answer, uint32(agreed))
	return string(answer), agreed, nil
}
