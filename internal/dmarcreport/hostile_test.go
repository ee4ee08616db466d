// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarcreport"
)

func TestWhatCannotBeReadSaysWhy(t *testing.T) {
	t.Parallel()
	small := dmarcreport.DefaultLimits()
	small.Mail, small.Archive, small.XML, small.Rows, small.Documents = 1<<20, 64<<10, 4<<20, 5, 6
	dates := func(begin, end string) string {
		return strings.NewReplacer("1795392000", begin, "1795478399", end).Replace(whole)
	}
	for name, c := range map[string]struct {
		input string
		want  dmarcreport.Reason
	}{
		"nothing":                          {"", dmarcreport.NoReport},
		"text":                             {"Hello.\n\nI am no report.", dmarcreport.NoReport},
		"a mail without a report":          {mailOf("text/plain", "7bit", "You have won."), dmarcreport.NoReport},
		"HTML":                             {"<html><body>feedback</body></html>", dmarcreport.NoReport},
		"a picture in a zip":               {zipped("a.png", "\x89PNG"), dmarcreport.NotXML},
		"XML about something else":         {`<?xml version="1.0"?><svg onload="alert(1)"/>`, dmarcreport.NotAReport},
		"XML that breaks off":              {whole[:len(whole)-30], dmarcreport.Truncated},
		"XML that breaks off in a tag":     {whole[:len(whole)-3], dmarcreport.Truncated},
		"XML that ends other elements":     {strings.Replace(whole, "</count>", "</row>", 1), dmarcreport.NotXML},
		"XML that is none":                 {strings.Replace(whole, "<count>", "<<count>", 1), dmarcreport.NotXML},
		"truncated gzip":                   {gzipped(whole)[:200], dmarcreport.Truncated},
		"gzip without its checksum":        {gzipped(whole)[:len(gzipped(whole))-4], dmarcreport.Truncated},
		"gzip with a wrong checksum":       {gzipped(whole)[:len(gzipped(whole))-8] + "\x00\x00\x00\x00" + gzipped(whole)[len(gzipped(whole))-4:], dmarcreport.BadArchive},
		"truncated zip":                    {zipped("a.xml", whole)[:200], dmarcreport.BadArchive},
		"an encrypted zip":                 {strings.ReplaceAll(zipped("a.xml", whole), "\x14\x00\x08\x00", "\x14\x00\x09\x00"), dmarcreport.BadArchive},
		"no organisation":                  {strings.Replace(whole, "<org_name>mx.example</org_name>", "", 1), dmarcreport.Incomplete},
		"no id":                            {strings.Replace(whole, "<report_id>7</report_id>", "", 1), dmarcreport.Incomplete},
		"no policy":                        {strings.Replace(whole, published, "", 1), dmarcreport.Incomplete},
		"another domain before the policy": {`<feedback>` + metadata + strings.Replace(oneRecord, "m>acme.", "m>other.", 1) + published + `</feedback>`, dmarcreport.Incomplete},
		"no dates":                         {dates("", ""), dmarcreport.Incomplete},
		"dates that are none":              {dates("yesterday", "today"), dmarcreport.ImplausibleDates},
		"dates of the 1970s":               {dates("86400", "172800"), dmarcreport.ImplausibleDates},
		"dates in the future":              {dates("1795392000", "1796392000"), dmarcreport.ImplausibleDates},
		"dates beyond every year":          {dates("1795392000", "9223372036854775807"), dmarcreport.ImplausibleDates},
		"an end before the begin":          {dates("1795478399", "1795392000"), dmarcreport.ImplausibleDates},
		"entities of its own":              {strings.Replace(whole, "<feedback>", `<!DOCTYPE f [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><feedback>`, 1), dmarcreport.DocumentType},
		"an entity outside":                {strings.Replace(whole, "<feedback>", `<!DOCTYPE f SYSTEM "file:///etc/passwd"><feedback>`, 1), dmarcreport.DocumentType},
		"depth":                            {strings.Replace(whole, "<record>", strings.Repeat("<a>", 40), 1), dmarcreport.TooNested},
		"rows":                             {`<feedback>` + metadata + published + strings.Repeat(oneRecord, 6) + `</feedback>`, dmarcreport.TooMany},
		"results":                          {strings.Replace(whole, "<auth_results>", "<auth_results>"+strings.Repeat("<dkim></dkim>", 101), 1), dmarcreport.TooMany},
		"a long text":                      {strings.Replace(whole, "mx.example", strings.Repeat("a", 200_000), 1), dmarcreport.TooLarge},
		"a long comment":                   {strings.Replace(whole, "<record>", "<!--"+strings.Repeat("<a> ", 50_000)+"-->", 1), dmarcreport.TooLarge},
		"a long tag":                       {strings.Replace(whole, "<record>", "<record "+strings.Repeat("a='b' ", 50_000), 1), dmarcreport.TooLarge},
		"a large XML file":                 {strings.Replace(whole, "<record>", strings.Repeat("<a></a>", 700_000)+"<record>", 1), dmarcreport.TooLarge},
		"a large zip":                      {zipped("a.xml", whole) + strings.Repeat("x", 70_000), dmarcreport.TooLarge},
		"a large mail":                     {mailOf("text/plain", "7bit", strings.Repeat("Hello\r\n", 200_000)), dmarcreport.TooLarge},
		"a gzip bomb":                      {gzipped(whole + strings.Repeat(" ", 3<<20)), dmarcreport.TooDense},
		"a zip bomb":                       {zipped("a.xml", whole+strings.Repeat(" ", 3<<20)), dmarcreport.TooDense},
		"zip in zip in zip in zip":         {zipped("a", zipped("b", zipped("c", zipped("d", whole)))), dmarcreport.TooNested},
		"a zip of many":                    {zipped("a", whole, "b", whole, "c", whole, "d", whole, "e", whole, "f", whole, "g", whole, "h", whole), dmarcreport.TooMany},
		"parts in parts":                   {deep(12), dmarcreport.TooNested},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, outcomes := read(t, strings.NewReader(c.input), small)
			var reasons []dmarcreport.Reason
			for _, o := range outcomes {
				known := (*dmarcreport.Error)(nil)
				if o.Err == nil {
					continue
				}
				if !errors.As(o.Err, &known) || known.Detail == "" {
					t.Fatalf("%v", o.Err)
				}
				t.Log(o.Err)
				reasons = append(reasons, known.Reason)
			}
			if diff := cmp.Diff([]dmarcreport.Reason{c.want}, reasons); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func deep(n int) string {
	s := "From: a@b.example\r\n"
	for i := range n {
		s += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return s + "\r\nHello\r\n"
}

func TestARecordThatCannotBeTrueIsNamedAndNotCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, replacement string
		want             dmarcreport.Kind
	}{
		"a negative count":      {"<count>3", "<count>-3", dmarcreport.BadCount},
		"no messages":           {"<count>3", "<count>0", dmarcreport.BadCount},
		"no count":              {"<count>3</count>", "", dmarcreport.BadCount},
		"a count beyond belief": {"<count>3", "<count>9223372036854775807", dmarcreport.BadCount},
		"two counts":            {"<count>3", "<count>5</count><count>3", dmarcreport.RepeatedElement},
		"no address":            {"192.0.2.1", "<script>alert(1)</script>", dmarcreport.BadAddress},
		"a wrong domain":        {"<header_from>acme.", "<header_from>evil-acme.", dmarcreport.WrongDomain},
		"no author":             {"<header_from>acme.example</header_from>", "", dmarcreport.MissingAuthor},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := `<feedback>` + metadata + published + strings.Replace(oneRecord, c.old, c.replacement, 1) + oneRecord + `</feedback>`
			rows, outcomes := read(t, strings.NewReader(input), dmarcreport.DefaultLimits())
			equalRows(t, []dmarcreport.Row{theRow}, rows)
			r := outcomes[0].Report
			if outcomes[0].Err != nil || r.Messages != 3 || r.Rows != 1 || r.Left != 1 || len(r.Findings) != 1 || r.Findings[0].Kind != c.want || r.Findings[0].Where != "record 1" {
				t.Errorf("%+v", outcomes)
			}
		})
	}
}

func TestOddThingsAreNamedAndTheRestCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		input string
		want  dmarcreport.Kind
	}{
		"a word that is no result":   {strings.Replace(whole, "s1</selector><result>pass", "s1</selector><result>maybe", 1), dmarcreport.UnknownResult},
		"a month and a half":         {strings.Replace(whole, "1795392000", "1791392000", 1), dmarcreport.LongPeriod},
		"two ids":                    {strings.Replace(whole, "<report_id>7", "<report_id>7</report_id><report_id>8", 1), dmarcreport.RepeatedElement},
		"text behind the report":     {whole + strings.Repeat("<feedback>", 10), dmarcreport.TextAfterReport},
		"a text that is rather long": {strings.Replace(whole, "<email>", "<email>"+strings.Repeat("ä", 600), 1), dmarcreport.ShortenedText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, outcomes := read(t, strings.NewReader(c.input), dmarcreport.DefaultLimits())
			if len(rows) != 1 || outcomes[0].Err != nil || len(outcomes[0].Report.Findings) != 1 || outcomes[0].Report.Findings[0].Kind != c.want {
				t.Errorf("%+v", outcomes)
			}
		})
	}
}

// TestAMillionRowsNeedNoMoreMemoryThanOne: what is alive is looked at while they pass, some 200 MB of XML.
func TestAMillionRowsNeedNoMoreMemoryThanOne(t *testing.T) {
	rows := 1_000_000
	if testing.Short() {
		rows = 30_000
	}
	n, peak := 0, uint64(0)
	var before, mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	report, err := dmarcreport.Parse(&repeated{rows: rows}, dmarcreport.DefaultLimits(), now, func(dmarcreport.Row) error {
		if n++; n%(rows/4) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&mem)
			peak = max(peak, mem.HeapAlloc)
		}
		return nil
	})
	if err != nil || report.Rows != rows || n != rows || report.Messages != int64(3*rows) {
		t.Fatal(n, report, err)
	}
	if peak > before.HeapAlloc+4<<20 {
		t.Errorf("%d octets are alive", peak-before.HeapAlloc)
	}
}

const smallRecord = `<record><row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><dkim>pass</dkim></policy_evaluated></row>` +
	`<identifiers><header_from>acme.example</header_from></identifiers></record>`

// repeated is a report with many records.
type repeated struct {
	rows int
	next int
	left string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == "" {
		switch {
		case r.next == 0:
			r.left = "<feedback>" + metadata + published
		case r.next <= r.rows:
			r.left = smallRecord
		case r.next == r.rows+1:
			r.left = "</feedback>"
		default:
			return 0, io.EOF
		}
		r.next++
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func TestAnErrorOfTheStoreEndsReading(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	_, err := dmarcreport.Read(strings.NewReader(zipped("a", whole, "b", whole)), dmarcreport.DefaultLimits(), now, func(string) func(dmarcreport.Row) error {
		return func(dmarcreport.Row) error { return full }
	})
	if !errors.Is(err, full) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"google", "mailru", "outlook", "xs4all", "yahoo"} {
		data, err := os.ReadFile("testdata/mails/" + name + ".eml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{whole, gzipped(whole), zipped("a", zipped("b", whole)), utf16Of(whole), encoded(gzipped(whole)), deep(9), multipart("Content-Type: text/xml\r\n\r\n" + whole)} {
		f.Add([]byte(s))
	}
	limits := dmarcreport.DefaultLimits()
	limits.XML = 1 << 20
	f.Fuzz(func(t *testing.T, data []byte) {
		sums := map[string]int64{}
		outcomes, err := dmarcreport.Read(strings.NewReader(string(data)), limits, now, func(part string) func(dmarcreport.Row) error {
			sums[part] = 0
			return func(r dmarcreport.Row) error {
				if r.Count <= 0 || !r.Source.IsValid() || r.HeaderFrom == "" {
					t.Errorf("%+v", r)
				}
				sums[part] += r.Count
				return nil
			}
		})
		if err != nil || len(outcomes) == 0 {
			t.Fatal(outcomes, err)
		}
		seen := map[string]bool{}
		for _, o := range outcomes {
			known := (*dmarcreport.Error)(nil)
			switch {
			case o.Err != nil && (!errors.As(o.Err, &known) || known.Reason == ""):
				t.Errorf("%v", o.Err)
			case o.Err == nil && (o.Report.Begin.After(o.Report.End) || o.Report.ID == ""):
				t.Errorf("%+v", o.Report)
			case o.Err == nil && !seen[o.Part] && len(outcomes) == 1 && o.Report.Messages != sums[o.Part]:
				t.Errorf("%d messages, %d handed out", o.Report.Messages, sums[o.Part])
			}
			seen[o.Part] = true
		}
	})
}
