// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"errors"
	"fmt"
	"io"
)

// Limits bound what one input may cost. The values of DefaultLimits are far beyond what reporters send: the largest
// reports of the largest domains are some tens of megabytes of XML.
type Limits struct {
	Mail      int64 // octets of one mail, or of anything else that is no bare XML
	Archive   int64 // octets of one zip file, which has to be in memory
	XML       int64 // octets of all XML in one input, unpacked
	Ratio     int64 // unpacked octets for each packed one; the first MiB is free. Deflate ends at 1032.
	Nesting   int   // archives in archives, and mails in mails
	Documents int   // parts and files that are looked into
	Depth     int   // elements in elements
	Token     int   // octets of one tag, text or comment
	Text      int   // octets of a text that are kept
	List      int   // signatures, SPF results or overrides of one record
	Rows      int   // records of one report
	Findings  int   // findings that are kept of one report
}

// DefaultLimits let everything honest pass, in some 40 MB of memory.
func DefaultLimits() Limits {
	return Limits{
		Mail: 32 << 20, Archive: 16 << 20, XML: 1 << 30, Ratio: 250, Nesting: 2, Documents: 64,
		Depth: 32, Token: 64 << 10, Text: 1024, List: 100, Rows: 2_000_000, Findings: 100,
	}
}

// Reason says why something could not be read; tools may rely on the words.
type Reason string

// The reasons.
const (
	NoReport         Reason = "NoReport"         // nothing in it looks like a report
	NotXML           Reason = "NotXML"           // looks like one and breaks off into something else
	NotAReport       Reason = "NotAReport"       // XML about something else
	Incomplete       Reason = "Incomplete"       // a report without what every report must say
	Truncated        Reason = "Truncated"        // ends in the middle
	BadArchive       Reason = "BadArchive"       // zip or gzip that cannot be unpacked
	BadMail          Reason = "BadMail"          // MIME that cannot be taken apart
	ImplausibleDates Reason = "ImplausibleDates" // before there was DMARC, in the future, or an end before the begin
	DocumentType     Reason = "DocumentType"     // <!DOCTYPE: reports have none, entity tricks do
	TooLarge         Reason = "TooLarge"
	TooDense         Reason = "TooDense" // a zip bomb
	TooNested        Reason = "TooNested"
	TooMany          Reason = "TooMany" // rows, or parts
)

// Error is why one part of the input, or all of it, could not be read.
type Error struct {
	Part   string // where it was: "part 2", "part 2, report.xml"; "" is the whole input
	Reason Reason
	Detail string
}

func (e *Error) Error() string {
	if e.Part == "" {
		return e.Detail
	}
	return e.Part + ": " + e.Detail
}

func fault(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// asFault gives an error of a reader its reason.
func asFault(err error, otherwise Reason) *Error {
	known := (*Error)(nil)
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault(Truncated, "ends in the middle: it was cut off on its way; ask the reporter's postmaster if it happens again")
	}
	return fault(otherwise, "%v", err)
}

// counted reads until limit, and fails beyond it: io.LimitedReader would take a cut input for a whole one.
type counted struct {
	from   io.Reader
	n      int64
	beyond func(n int64) *Error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if c.beyond != nil {
		if fault := c.beyond(c.n); fault != nil {
			return 0, fault
		}
	}
	return n, err
}

func atMost(from io.Reader, limit int64, what string) io.Reader {
	return &counted{from: from, beyond: func(n int64) *Error {
		if n > limit {
			return fault(TooLarge, "%s is longer than %d octets, the limit", what, limit)
		}
		return nil
	}}
}
