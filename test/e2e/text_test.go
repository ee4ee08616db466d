// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"regexp"
	"strconv"
	"strings"
)

// characterString is one "…" of a zone file.
var characterString = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// escape is \DDD or \X within it.
var escape = regexp.MustCompile(`\\([0-9]{3}|.)`)

// texts reads what dig prints of TXT records, one a line. It shares no code with the operator.
func texts(printed string) []string {
	var values []string
	for line := range strings.Lines(printed) {
		var value strings.Builder
		for _, s := range characterString.FindAllStringSubmatch(line, -1) {
			value.WriteString(escape.ReplaceAllStringFunc(s[1], func(e string) string {
				if n, err := strconv.ParseUint(e[1:], 10, 8); err == nil && len(e) == 4 {
					return string([]byte{byte(n)})
				}
				return e[1:]
			}))
		}
		values = append(values, value.String())
	}
	return values
}
