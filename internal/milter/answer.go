// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"encoding/binary"
	"strings"
	"time"
)

// goOn answers a command with "continue", where the MTA waits for an answer.
func (c *session) goOn(code command) error {
	if c.protocol&noReply[code] != 0 {
		return nil
	}
	return c.send(appendPacket(c.out[:0], resContinue))
}

// answer tells the MTA a verdict.
func (c *session) answer(v verdict) error {
	out := c.out[:0]
	if !v.pass {
		reply := v.reply
		if reply == "" {
			reply = notReady
		}
		return c.send(appendPacket(out, resReplyCode, reply, "\x00"))
	}
	for _, e := range v.edits {
		out = c.appendEdit(out, e)
	}
	if v.quarantine != "" {
		out = appendPacket(out, resQuarantine, v.quarantine, "\x00")
	}
	return c.send(appendPacket(out, resContinue))
}

// appendEdit appends SMFIR_INSHEADER or SMFIR_CHGHEADER: index (4 octets) name NUL value NUL.
//
// Lines end with LF alone: Postfix and Sendmail write the CRs. The MTA writes a
// space after the colon unless SMFIP_HDR_LEADSPC says that we do.
func (c *session) appendEdit(dst []byte, e edit) []byte {
	space := ""
	if e.value != "" && c.protocol&headerLeadSpace != 0 {
		space = " "
	}
	index := string(binary.BigEndian.AppendUint32(nil, e.index))
	return appendPacket(dst, e.code, index, e.name, "\x00", space, strings.ReplaceAll(e.value, "\r\n", "\n"), "\x00")
}

// send writes answers at once.
func (c *session) send(out []byte) error {
	if cap(out) <= keepAnswer {
		c.out = out[:0]
	}
	deadline := time.Now().Add(c.server.cfg.PacketTimeout) //nolint:forbidigo // A network deadline.
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.conn.Write(out)
	return err
}
