// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"time"
)

const (
	// A reporter's clock, and its day, may be ahead of ours.
	clockSkew = 26 * time.Hour
	longest   = 32 * 24 * time.Hour
)

// Before the first draft of DMARC there were no reports.
var firstDraft = time.Date(2012, 1, 30, 0, 0, 0, 0, time.UTC)

// Parse reads one document and hands out its rows as they come. They count only if Parse returns no error: what the last
// octets of a report say can make the whole of it untrue. An error of row ends Parse and is returned as it is; all others
// are of type *Error. Element names are taken without their namespace, unknown ones are passed over.
func Parse(document io.Reader, limits Limits, now time.Time, row func(Row) error) (Report, error) {
	buffered := bufio.NewReaderSize(document, 4096)
	head, err := buffered.Peek(1024)
	if len(head) == 0 && err != nil && !errors.Is(err, io.EOF) {
		return Report{}, asFault(err, NotXML)
	}
	guard := &tokenGuard{from: decoded(head, buffered), limit: int64(limits.Token)}
	p := parser{limits: limits, hand: row, decoder: xml.NewDecoder(guard), guard: guard, path: make([]byte, 0, 256), early: map[string]bool{}}
	// No DTD is read, so there are XML's five entities; any other stays as it is written, as does a bare ampersand.
	p.decoder.Strict = false
	p.decoder.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // decoded has done it
	if err := p.document(); err != nil {
		return p.report, err
	}
	return p.report, p.complete(now)
}

// tokenGuard refuses tokens beyond a limit, which the decoder would gather in memory.
type tokenGuard struct {
	from              io.Reader
	limit, read, done int64
}

func (g *tokenGuard) Read(b []byte) (int, error) {
	if g.read-g.done > g.limit {
		return 0, fault(TooLarge, "a tag, text or comment is longer than %d octets, the limit", g.limit)
	}
	n, err := g.from.Read(b)
	g.read += int64(n)
	return n, err
}

type parser struct {
	limits  Limits
	hand    func(Row) error
	decoder *xml.Decoder
	guard   *tokenGuard

	path  []byte // names of the open elements, each after a slash
	marks []int  // where each of them begins
	text  strings.Builder

	report     Report
	begin, end string
	record     record
	records    int
	early      map[string]bool // authors of records that came before policy_published
}

// document reads until the root element ends. RawToken leaves names and nesting to us, and so it is we who are strict.
func (p *parser) document() error {
	for {
		token, err := p.decoder.RawToken()
		p.guard.done = p.decoder.InputOffset()
		if err != nil {
			return p.broken(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			err = p.start(t.Name.Local)
		case xml.EndElement:
			err = p.finish(t.Name.Local)
		case xml.CharData:
			p.characters(t)
		case xml.Directive:
			err = fault(DocumentType, "has a <!DOCTYPE or the like, which reports do not have")
		}
		if err != nil {
			return err
		}
		if _, ended := token.(xml.EndElement); ended && len(p.marks) == 0 {
			return p.rest()
		}
	}
}

// broken says why there is no further token.
func (p *parser) broken(err error) *Error {
	syntax := (*xml.SyntaxError)(nil)
	switch {
	case errors.Is(err, io.EOF) && len(p.marks) == 0:
		return fault(NotXML, "is empty")
	case errors.Is(err, io.EOF), errors.As(err, &syntax) && syntax.Msg == "unexpected EOF":
		return asFault(io.ErrUnexpectedEOF, Truncated)
	}
	return asFault(err, NotXML)
}

func (p *parser) start(name string) error {
	if len(p.marks) == 0 && name != "feedback" {
		text, _ := harmless(name, 40)
		return fault(NotAReport, "is XML, but its root element is %q and not feedback", text)
	}
	if len(p.marks) >= p.limits.Depth {
		return fault(TooNested, "elements are nested deeper than %d, the limit", p.limits.Depth)
	}
	p.marks = append(p.marks, len(p.path))
	p.path = append(append(p.path, '/'), name...)
	p.text.Reset()
	if string(p.path) == "/feedback/record" {
		if p.records++; p.records > p.limits.Rows {
			return fault(TooMany, "has more than %d records, the limit", p.limits.Rows)
		}
		p.record = record{}
	}
	if open := opens[string(p.path)]; open != nil {
		open(&p.record)
		if p.record.longest() > p.limits.List {
			return fault(TooMany, "record %d has more than %d results of a kind, the limit", p.records, p.limits.List)
		}
	}
	return nil
}

func (p *parser) characters(text []byte) {
	if room := 4*p.limits.Text - p.text.Len(); room > 0 { // blanks around it are no part of it
		p.text.Write(text[:min(room, len(text))])
	}
}

func (p *parser) finish(name string) error {
	if len(p.marks) == 0 {
		return fault(NotXML, "is no XML: it ends an element that it did not begin")
	}
	last := p.marks[len(p.marks)-1]
	if string(p.path[last+1:]) != name {
		open, _ := harmless(string(p.path[last+1:]), 40)
		return fault(NotXML, "is no XML: line %d ends another element than %q, which is open", p.line(), open)
	}
	if set := fields[string(p.path)]; set != nil {
		text, cut := harmless(p.text.String(), p.limits.Text)
		if cut {
			p.found(ShortenedText, string(p.path[1:]), "longer than %d octets, the rest is left out", p.limits.Text)
		}
		set(p, text)
	}
	p.text.Reset()
	ended := string(p.path) == "/feedback/record"
	p.path, p.marks = p.path[:last], p.marks[:len(p.marks)-1]
	if ended {
		return p.endRecord()
	}
	return nil
}

func (p *parser) line() int { line, _ := p.decoder.InputPos(); return line }

// rest reads to the end, so that a checksum is checked, and looks at nothing.
func (p *parser) rest() error {
	left := p.guard.read - p.guard.done
	n, err := io.Copy(io.Discard, p.guard.from)
	if err != nil {
		return asFault(err, BadArchive)
	}
	if n+left > 64 { // line ends and the odd NUL
		p.found(TextAfterReport, "feedback", "%d octets follow the report", n+left)
	}
	return nil
}
