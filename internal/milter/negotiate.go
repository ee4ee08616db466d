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

// actAddHeaders is the one action that signing needs: SMFIF_ADDHDRS, which also allows SMFIR_INSHEADER.
const actAddHeaders uint32 = 0x01

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

// wanted is what signing asks for where the MTA offers it: the stages that it
// does not need left out, and no answer to any other before the end. Each
// answer costs a turn between two processes; all of them together were worth a third of the time.
const wanted = noHelo | noRcpt | noUnknown | noData |
	noReplyConnect | noReplyHelo | noReplyMail | noReplyRcpt | noReplyData | noReplyUnknown |
	noReplyHeader | noReplyEOH | noReplyBody | headerLeadSpace

// noReply are the flags by which an MTA does not wait for an answer to a command.
var noReply = map[command]protocol{
	cmdConnect: noReplyConnect, cmdHelo: noReplyHelo, cmdMail: noReplyMail, cmdRcpt: noReplyRcpt, cmdData: noReplyData,
	cmdUnknown: noReplyUnknown, cmdHeader: noReplyHeader, cmdEOH: noReplyEOH, cmdBody: noReplyBody,
}

var (
	errOldVersion = errors.New("the MTA speaks a milter protocol older than version 2")
	errNoHeaders  = errors.New("the MTA does not allow header fields to be added, so nothing could be signed")
)

// negotiate answers SMFIC_OPTNEG: our data, and the protocol flags that now hold.
func negotiate(data []byte) (string, protocol, error) {
	if len(data) < 12 {
		return "", 0, fmt.Errorf("%w: negotiation of %d octets", errMalformed, len(data))
	}
	version := binary.BigEndian.Uint32(data)
	actions := binary.BigEndian.Uint32(data[4:])
	offered := protocol(binary.BigEndian.Uint32(data[8:]))
	if version < minVersion {
		return "", 0, errOldVersion
	}
	if actions&actAddHeaders == 0 {
		return "", 0, errNoHeaders
	}
	agreed := offered & wanted
	answer := binary.BigEndian.AppendUint32(nil, min(version, maxVersion))
	answer = binary.BigEndian.AppendUint32(answer, actAddHeaders)
	answer = binary.BigEndian.AppendUint32(answer, uint32(agreed))
	return string(answer), agreed, nil
}
