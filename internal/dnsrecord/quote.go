// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsrecord

import (
	"strconv"
	"strings"
)

// maxQuoted is how much of a foreign text is worth showing in a message.
const maxQuoted = 64

// Quote shows a piece of foreign text in a message: in quotation marks, in ASCII, long text cut.
func Quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.QuoteToASCII(s)
	}
	return strconv.QuoteToASCII(strings.ToValidUTF8(s[:maxQuoted], "")) + "…"
}
