// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Outcome is what became of one document.
type Outcome struct {
	Part   string // where it was found; "" is the input itself
	Report Report // what was read of it, also where Err says that it does not count
	Err    error  // nil, or an *Error
}

// Read hands out the rows of each document in the input. open is called before the rows of a document and says where they
// go; they count only if the document's Outcome has no error. An error of the function that open returns ends Read.
func Read(input io.Reader, limits Limits, now time.Time, open func(part string) func(Row) error) ([]Outcome, error) {
	var outcomes []Outcome
	faults, err := Extract(input, limits, func(part string, document io.Reader) error {
		own := error(nil)
		row := open(part)
		report, err := Parse(document, limits, now, func(r Row) error { own = row(r); return own })
		if own != nil {
			return own
		}
		outcome := Outcome{Part: part, Report: report}
		if err != nil {
			outcome.Err = in(part, asFault(err, NotXML))
		}
		outcomes = append(outcomes, outcome)
		return nil
	})
	for _, f := range faults {
		outcomes = append(outcomes, Outcome{Part: f.Part, Err: f})
	}
	return outcomes, err
}

// Extract finds the documents that may be reports in a mail, a zip or gzip file, or bare XML. What a part is, its first
// octets say: names and content types are wrong too often. What cannot be taken apart is returned and never stops the next
// part; an input with nothing to read returns one NoReport. An error of each ends Extract and is returned as it is.
func Extract(input io.Reader, limits Limits, each func(part string, document io.Reader) error) ([]*Error, error) {
	x := extractor{limits: limits, each: each}
	head := bufio.NewReaderSize(input, sniffed)
	x.look("", head, 0)
	if x.stopped == nil && x.found == 0 && len(x.faults) == 0 {
		x.faults = append(x.faults, fault(NoReport, "nothing in it is a DMARC report: no XML was found, also in zip and gzip"))
	}
	return x.faults, x.stopped
}

const sniffed = 4096

type extractor struct {
	limits  Limits
	each    func(string, io.Reader) error
	found   int   // documents
	looked  int   // parts
	xml     int64 // octets of XML so far
	faults  []*Error
	stopped error // by each
}

func (x *extractor) fail(part string, f *Error) { x.faults = append(x.faults, in(part, f)) }

func in(part string, f *Error) *Error {
	if f.Part == "" {
		f = &Error{Part: part, Reason: f.Reason, Detail: f.Detail}
	}
	return f
}

// look says what a part is and takes it apart. depth counts the archives, mails and encodings around it.
func (x *extractor) look(part string, body *bufio.Reader, depth int) {
	if x.stopped != nil {
		return
	}
	if x.looked++; x.looked > x.limits.Documents {
		if x.looked == x.limits.Documents+1 {
			x.fail(part, fault(TooMany, "there are more than %d parts, the limit", x.limits.Documents))
		}
		return
	}
	head, err := body.Peek(sniffed)
	if len(head) == 0 && err != nil && !errors.Is(err, io.EOF) {
		x.fail(part, asFault(err, BadMail))
		return
	}
	form := formOf(head, part == "")
	if form.wraps && depth > x.limits.Nesting {
		x.fail(part, fault(TooNested, "archives and mails are nested deeper than %d, the limit", x.limits.Nesting))
		return
	}
	if form.read != nil {
		form.read(x, part, body, depth)
	}
}

// form is one that a part may have.
type form struct {
	read    func(x *extractor, part string, body *bufio.Reader, depth int)
	wraps   bool
	encoded bool
}

func formOf(head []byte, whole bool) form {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xEF\xBB\xBF")), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return form{read: (*extractor).zip, wraps: true}
	case bytes.HasPrefix(head, []byte("\x1F\x8B")):
		return form{read: (*extractor).gzip, wraps: true}
	case isXML(head, text):
		return form{read: (*extractor).document}
	case bytes.HasPrefix(text, []byte("UEsDB")), bytes.HasPrefix(text, []byte("H4sI")), bytes.HasPrefix(text, []byte("PD94bWwg")):
		return form{read: (*extractor).base64, wraps: true, encoded: true} // of zip, gzip and <?xml, where nobody says that it is encoded
	case whole && looksLikeMail(head):
		return form{read: (*extractor).mail, wraps: true}
	}
	return form{}
}

var rootElement = regexp.MustCompile(`<([A-Za-z0-9_.-]+:)?feedback[\s>]`)

// isXML leaves out the HTML that is beside reports.
func isXML(head, text []byte) bool {
	for _, utf16 := range []string{"\xFE\xFF\x00<", "\xFF\xFE<\x00", "\x00<\x00?", "<\x00?\x00"} {
		if bytes.HasPrefix(head, []byte(utf16)) {
			return true
		}
	}
	return bytes.HasPrefix(text, []byte("<?xml")) || bytes.HasPrefix(text, []byte("<")) && rootElement.Match(text)
}

// document hands one out, bounded by what all of them may have.
func (x *extractor) document(part string, body *bufio.Reader, _ int) {
	x.found++
	bounded := &counted{from: body, beyond: func(n int64) *Error {
		if x.xml+n > x.limits.XML {
			return fault(TooLarge, "there are more than %d octets of XML, the limit", x.limits.XML)
		}
		return nil
	}}
	x.stopped = x.each(part, bounded)
	x.xml += bounded.n
}

// unpacked bounds what comes out of an archive by what went in.
func (x *extractor) unpacked(out io.Reader, packed func() int64) io.Reader {
	const free = 1 << 20
	return &counted{from: out, beyond: func(n int64) *Error {
		switch {
		case n > x.limits.XML:
			return fault(TooLarge, "unpacks to more than %d octets, the limit", x.limits.XML)
		case n > free+x.limits.Ratio*packed():
			return fault(TooDense, "unpacks to more than %d times its size, the limit: a zip bomb", x.limits.Ratio)
		}
		return nil
	}}
}

func (x *extractor) gzip(part string, body *bufio.Reader, depth int) {
	packed := &counted{from: atMost(body, x.limits.Mail, "the gzip file")}
	unzipped, err := gzip.NewReader(bufio.NewReader(packed))
	if err != nil {
		x.fail(part, asFault(err, BadArchive))
		return
	}
	unzipped.Multistream(false) // mail gateways put line ends behind it
	x.inner(part, "", x.unpacked(unzipped, func() int64 { return packed.n }), depth)
}

func (x *extractor) zip(part string, body *bufio.Reader, depth int) {
	all, err := io.ReadAll(atMost(body, x.limits.Archive, "the zip file"))
	if err != nil {
		x.fail(part, asFault(err, BadArchive))
		return
	}
	archive, err := zip.NewReader(bytes.NewReader(all), int64(len(all)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // no file is written by its name
		x.fail(part, fault(BadArchive, "is no whole zip file: %v", err))
		return
	}
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") || strings.HasPrefix(file.Name, "__MACOSX/") {
			continue
		}
		if x.stopped != nil || x.looked > x.limits.Documents {
			return
		}
		x.file(part, file, depth)
	}
}

func (x *extractor) file(part string, file *zip.File, depth int) {
	name := beside(part, file.Name)
	const encrypted = 1
	if file.Flags&encrypted != 0 {
		x.fail(name, fault(BadArchive, "is encrypted"))
		return
	}
	out, err := file.Open()
	if err != nil {
		x.fail(name, fault(BadArchive, "cannot be unpacked: %v", err))
		return
	}
	defer out.Close()
	x.inner(part, file.Name, x.unpacked(out, func() int64 { return int64(min(file.CompressedSize64, 1<<40)) }), depth)
}

// inner looks into what was unpacked; unlike beside a mail, there nothing else is expected.
func (x *extractor) inner(part, name string, out io.Reader, depth int) {
	before, faults := x.found, len(x.faults)
	if name != "" {
		part = beside(part, name)
	}
	x.look(part, bufio.NewReaderSize(out, sniffed), depth+1)
	if x.stopped == nil && x.found == before && len(x.faults) == faults && x.looked <= x.limits.Documents {
		x.fail(part, fault(NotXML, "holds neither XML nor another archive"))
	}
}

// base64 reads what nobody said is encoded.
func (x *extractor) base64(part string, body *bufio.Reader, depth int) {
	x.inner(part, "", plain(atMost(body, x.limits.Mail, "the part")), depth)
}

// plain decodes base64 and passes over what is not of its alphabet (RFC 2045 §6.8).
func plain(encoded io.Reader) io.Reader {
	return base64.NewDecoder(base64.RawStdEncoding, &alphabet{from: encoded})
}

type alphabet struct {
	from io.Reader
}

func (a *alphabet) Read(p []byte) (int, error) {
	for {
		n, err := a.from.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
				p[kept] = c
				kept++
			}
		}
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}

// beside names what is in a part. The name is hostile: no path, no controls, not long.
func beside(part, name string) string {
	name, _ = harmless(path.Base(strings.ReplaceAll(name, `\`, "/")), 120)
	if strings.ContainsAny(name, `" ,:`) {
		name = strconv.Quote(name)
	}
	if part == "" {
		return name
	}
	return fmt.Sprintf("%s, %s", part, name)
}
