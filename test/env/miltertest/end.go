// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package miltertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// End sends the end of a message and applies what the milter asks for.
func (c *Conn) End(fields []Field, body []byte) (Reply, []byte, error) {
	if err := c.Write('E', nil); err != nil {
		return Reply{}, nil, err
	}
	var reply Reply
	for {
		code, data, err := c.Read()
		if err != nil {
			return Reply{}, nil, fmt.Errorf("no answer to the end of the message: %w", err)
		}
		switch code {
		case 'p': // Progress.
		case 'i':
			if fields, err = c.insert(&reply, fields, data); err != nil {
				return Reply{}, nil, err
			}
		case 'm':
			if fields, err = c.change(fields, data); err != nil {
				return Reply{}, nil, err
			}
		case 'q':
			reply.Quarantined = string(bytes.TrimSuffix(data, []byte{0}))
		case 'c', 'a':
			reply.Accepted = true
			return reply, join(fields, body), nil
		case 't':
			reply.Text = "451 4.7.1 Service unavailable - try again later"
			return reply, nil, nil
		case 'r':
			reply.Text = "550 5.7.1 Command rejected"
			return reply, nil, nil
		case 'y':
			reply.Text = string(bytes.TrimSuffix(data, []byte{0}))
			return reply, nil, nil
		default:
			return Reply{}, nil, fmt.Errorf("the milter answered %q, which was not negotiated", code)
		}
	}
}

// insert does what Postfix does for SMFIR_INSHEADER.
func (c *Conn) insert(reply *Reply, fields []Field, data []byte) ([]Field, error) {
	index, f, err := c.edit(data)
	if err != nil {
		return nil, err
	}
	reply.Inserted = slices.Insert(reply.Inserted, 0, f.Name+":"+f.Value)
	return slices.Insert(slices.Clone(fields), min(index, len(fields)), f), nil
}

// change does what Postfix does for SMFIR_CHGHEADER: the field that is the index-th of its name changes, or goes if it is
// to be empty.
func (c *Conn) change(fields []Field, data []byte) ([]Field, error) {
	index, f, err := c.edit(data)
	if err != nil {
		return nil, err
	}
	fields = slices.Clone(fields)
	for i := range fields {
		if !strings.EqualFold(fields[i].Name, f.Name) {
			continue
		}
		if index--; index > 0 {
			continue
		}
		if strings.TrimSpace(f.Value) == "" {
			return slices.Delete(fields, i, i+1), nil
		}
		fields[i].Value = f.Value
		return fields, nil
	}
	return nil, fmt.Errorf("a header field to change is not there: %q", data)
}

// edit reads index and field of SMFIR_INSHEADER and SMFIR_CHGHEADER.
func (c *Conn) edit(data []byte) (int, Field, error) {
	if len(data) < 4 {
		return 0, Field{}, errors.New("a header field to edit has no index")
	}
	name, rest, found := strings.Cut(string(data[4:]), "\x00")
	value, ended := strings.CutSuffix(rest, "\x00")
	if !found || !ended || strings.ContainsAny(value, "\r\x00") {
		return 0, Field{}, fmt.Errorf("a header field to edit is malformed: %q", data)
	}
	if c.Protocol&HeaderLeadSpace == 0 {
		value = " " + value
	}
	return int(binary.BigEndian.Uint32(data)), Field{name, strings.ReplaceAll(value, "\n", "\r\n")}, nil
}
