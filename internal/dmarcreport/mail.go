// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strconv"
	"strings"

	"github.com/emersion/go-message/textproto"
)

var fieldName = regexp.MustCompile(`^(From [^\r\n]*\r?\n)?[!-9;-~]+[ \t]*:`) // after the first line of an mbox

func looksLikeMail(head []byte) bool { return fieldName.Match(head) }

func (x *extractor) mail(part string, body *bufio.Reader, depth int) {
	if head, _ := body.Peek(5); string(head) == "From " {
		_, _ = body.ReadSlice('\n') // fieldName saw its end
	}
	bounded := bufio.NewReader(atMost(body, x.limits.Mail, "the mail"))
	header, err := textproto.ReadHeader(bounded)
	if err != nil {
		x.fail(part, mailFault(err))
		return
	}
	x.entity(part, "", header, bounded, depth)
}

// entity is a mail or a part of one (RFC 2045 §2.4). number is "1.2" for the second part of the first part.
func (x *extractor) entity(mail, number string, header textproto.Header, body io.Reader, depth int) {
	kind, parameters := contentType(header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(kind, "multipart/") && parameters["boundary"] != "":
		x.multipart(mail, number, parameters["boundary"], body, depth)
	case kind == "message/rfc822" && depth < x.limits.Nesting: // somebody forwards it as an attachment
		x.mail(numbered(mail, number), bufio.NewReader(body), depth+1)
	case kind == "message/rfc822":
		x.fail(numbered(mail, number), fault(TooNested, "archives and mails are nested deeper than %d, the limit", x.limits.Nesting))
	default:
		raw := bufio.NewReaderSize(body, sniffed)
		if number == "" {
			number = "1"
		}
		x.look(numbered(mail, number), transferred(header.Get("Content-Transfer-Encoding"), raw), depth)
		if err := drain(raw); err != nil {
			x.fail(numbered(mail, number), mailFault(err))
		}
	}
}

// drain finds out whether a part ended where the mail's limit was.
func drain(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	if known := (*Error)(nil); errors.As(err, &known) {
		return err
	}
	return nil
}

func (x *extractor) multipart(mail, number, boundary string, body io.Reader, depth int) {
	if strings.Count(number, ".") >= 8 {
		x.fail(numbered(mail, number), fault(TooNested, "parts are nested deeper than 8, the limit"))
		return
	}
	parts := textproto.NewMultipartReader(body, boundary)
	for n := 1; x.stopped == nil && x.looked <= x.limits.Documents; n++ {
		part, err := parts.NextPart()
		own := strings.TrimPrefix(number+"."+strconv.Itoa(n), ".")
		switch {
		case err != nil && (n > 1 || errors.Is(err, io.EOF)): // also where the last boundary is missing
			return
		case err != nil:
			x.fail(numbered(mail, own), mailFault(err))
			return
		}
		if n > 10*x.limits.Documents {
			x.fail(numbered(mail, own), fault(TooMany, "there are more than %d parts, the limit", 10*x.limits.Documents))
			return
		}
		x.entity(mail, own, part.Header, unclosed{part}, depth)
	}
}

// unclosed is a part that may end where the mail does: whether it is whole, its own form says better than a boundary.
type unclosed struct{ part io.Reader }

func (u unclosed) Read(p []byte) (int, error) {
	n, err := u.part.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

func numbered(mail, number string) string {
	switch {
	case number == "":
		return mail
	case mail == "":
		return "part " + number
	}
	return mail + ", part " + number
}

func mailFault(err error) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	text, _ := harmless(err.Error(), 200)
	return fault(BadMail, "is no mail that can be taken apart: %s", text)
}

// transferred undoes the transfer encoding, if there is one: what a part is without it, it is.
func transferred(encoding string, raw *bufio.Reader) *bufio.Reader {
	head, _ := raw.Peek(sniffed)
	encoding = strings.ToLower(strings.TrimSpace(encoding))
	if is := formOf(head, false); is.read != nil && !is.encoded && encoding != "quoted-printable" {
		return raw
	}
	switch encoding {
	case "base64":
		return bufio.NewReaderSize(plain(raw), sniffed)
	case "quoted-printable":
		return bufio.NewReaderSize(quotedprintable.NewReader(raw), sniffed)
	}
	return raw
}

var boundaryParameter = regexp.MustCompile(`(?i)boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;]{1,200}))`)

// contentType reads the field also where mime.ParseMediaType gives up, as over a parameter that is there twice.
func contentType(field string) (kind string, parameters map[string]string) {
	kind, parameters, err := mime.ParseMediaType(field)
	if err == nil {
		return kind, parameters
	}
	kind, _, _ = strings.Cut(field, ";")
	parameters = map[string]string{}
	if m := boundaryParameter.FindStringSubmatch(field); m != nil {
		parameters["boundary"] = m[1] + m[2]
	}
	return strings.ToLower(strings.TrimSpace(kind)), parameters
}
