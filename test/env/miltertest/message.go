// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package miltertest

import (
	"bytes"
	"strings"
)

// Field is a header field; the value is all that follows the colon, without its last line end.
type Field struct{ Name, Value string }

// Split takes a message apart. A line of the header without a colon ends it, as with an MTA.
func Split(raw []byte) ([]Field, []byte) {
	var fields []Field
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		text := strings.TrimSuffix(string(line), "\r")
		name, value, isField := strings.Cut(text, ":")
		switch {
		case text == "":
			return fields, rest
		case len(fields) > 0 && (text[0] == ' ' || text[0] == '\t'):
			fields[len(fields)-1].Value += "\r\n" + text
		case isField:
			fields = append(fields, Field{name, value})
		default:
			return fields, raw
		}
		raw = rest
	}
	return fields, nil
}

// join writes a message.
func join(fields []Field, body []byte) []byte {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f.Name + ":" + f.Value + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}
