// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dmarcreport_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/unicode"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarcreport"
)

var now = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

const (
	metadata = `<report_metadata><org_name>mx.example</org_name><email>dmarc@mx.example</email><report_id>7</report_id>` +
		`<date_range><begin>1795392000</begin><end>1795478399</end></date_range></report_metadata>`
	published = `<policy_published><domain>acme.example</domain><adkim>r</adkim><aspf>r</aspf><p>none</p></policy_published>`
	oneRecord = `<record><row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>` +
		`<identifiers><header_from>acme.example</header_from></identifiers>` +
		`<auth_results><dkim><domain>acme.example</domain><selector>s1</selector><result>pass</result></dkim><spf><domain>bounce.example</domain><result>pass</result></spf></auth_results></record>`
	whole = `<?xml version="1.0" encoding="UTF-8"?><feedback>` + metadata + published + oneRecord + `</feedback>`
)

var theRow = dmarcreport.Row{
	Source: netip.MustParseAddr("192.0.2.1"), Count: 3, Disposition: "none", DKIM: "pass", SPF: "fail", HeaderFrom: "acme.example",
	Signatures: []dmarcreport.Signature{{Domain: "acme.example", Selector: "s1", Result: "pass"}},
	Senders:    []dmarcreport.Sender{{Domain: "bounce.example", Result: "pass"}},
}

// read returns the rows that count, and everything else.
func read(t *testing.T, input io.Reader, limits dmarcreport.Limits) ([]dmarcreport.Row, []dmarcreport.Outcome) {
	t.Helper()
	rows := map[string][]dmarcreport.Row{}
	outcomes, err := dmarcreport.Read(input, limits, now, func(part string) func(dmarcreport.Row) error {
		return func(r dmarcreport.Row) error { rows[part] = append(rows[part], r); return nil }
	})
	if err != nil {
		t.Fatal(err)
	}
	var count []dmarcreport.Row
	for _, o := range outcomes {
		if o.Err == nil {
			count = append(count, rows[o.Part]...)
		}
	}
	return count, outcomes
}

func equalRows(t *testing.T, want, got []dmarcreport.Row) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error("rows (-want +got):\n" + diff)
	}
}

// byPython counts with the standard library of another language, and nothing of ours.
const byPython = `
import email, gzip, io, json, sys, zipfile, xml.etree.ElementTree as tree
total = {}
for name in sys.argv[1:]:
    rows = messages = 0
    for part in email.message_from_binary_file(open(name, "rb")).walk():
        data = part.get_payload(decode=True) or b""
        if data[:2] == b"PK":
            archive = zipfile.ZipFile(io.BytesIO(data)); data = archive.read(archive.namelist()[0])
        elif data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        else:
            continue
        counts = [int(c.text) for c in tree.fromstring(data).iter("count")]
        rows += len(counts); messages += sum(counts)
    total[name.split("/")[-1]] = [rows, messages]
json.dump(total, sys.stdout)
`

func TestRealReportsAreCountedAsPythonCountsThem(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	got := map[string][]int64{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, outcomes := read(t, f, dmarcreport.DefaultLimits())
		if len(outcomes) != 1 || outcomes[0].Err != nil || len(outcomes[0].Report.Findings) > 0 {
			t.Fatalf("%s: %+v", name, outcomes)
		}
		r := outcomes[0].Report
		got[filepath.Base(name)] = []int64{int64(r.Rows), r.Messages}
		if r.Policy.Domain != "ueber.net" || r.Policy.Policy != "reject" {
			t.Errorf("%s: %+v", name, r.Policy)
		}
	}
	if diff := cmp.Diff(map[string][]int64{"google.eml": {2, 5}, "mailru.eml": {1, 1}, "outlook.eml": {1, 2}, "xs4all.eml": {1, 1}, "yahoo.eml": {1, 1}}, got); diff != "" {
		t.Error(diff)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("the totals are not counted a second time: apt-get install python3")
		return
	}
	out, err := exec.CommandContext(t.Context(), python, append([]string{"-c", byPython}, files...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int64{}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("Python (-) counts other than we (+):\n" + diff)
	}
}

func gzipped(text string) string {
	b := &bytes.Buffer{}
	w := gzip.NewWriter(b)
	_, _ = io.WriteString(w, text)
	w.Close()
	return b.String()
}

func zipped(files ...string) string { // name, text, name, text
	b := &bytes.Buffer{}
	w := zip.NewWriter(b)
	for i := 0; i < len(files); i += 2 {
		f, _ := w.Create(files[i])
		_, _ = io.WriteString(f, files[i+1])
	}
	w.Close()
	return b.String()
}

func encoded(data string) string {
	text := base64.StdEncoding.EncodeToString([]byte(data))
	b := &strings.Builder{}
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}

func mailOf(kind, encoding, body string) string {
	return "From: dmarc@mx.example\r\nSubject: Report Domain: acme.example\r\nMIME-Version: 1.0\r\nContent-Type: " + kind +
		"\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body
}

func multipart(parts ...string) string {
	return "From: dmarc@mx.example\r\nContent-Type: multipart/mixed; boundary=\"b 1\"\r\n\r\n--b 1\r\nContent-Type: text/html\r\n\r\n<html>feedback</html>\r\n--b 1\r\n" +
		strings.Join(parts, "\r\n--b 1\r\n") + "\r\n--b 1--\r\n"
}

func utf16Of(text string) string {
	s, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	if err != nil {
		panic(err)
	}
	return s
}

func TestAReportIsReadInEveryFormThatItComesIn(t *testing.T) {
	t.Parallel()
	mapped := strings.Replace(whole, "192.0.2.1", "::ffff:192.0.2.1", 1)
	for name, input := range map[string]string{
		"XML":                                  whole,
		"XML with a BOM":                       "\uFEFF" + whole,
		"XML with blank lines before it":       "\r\n\r\n" + whole,
		"XML in UTF-16":                        utf16Of(strings.Replace(whole, "UTF-8", "UTF-16", 1)),
		"XML without a declaration":            strings.TrimPrefix(whole, `<?xml version="1.0" encoding="UTF-8"?>`),
		"XML with a namespace":                 strings.Replace(whole, "<feedback>", `<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>2.0</version>`, 1),
		"XML with a prefix":                    strings.NewReplacer("<?", "<?", "</", "</d:", "<", "<d:", "<d:?", "<?").Replace(whole),
		"XML with NULs behind it":              whole + "\x00\x00\x00",
		"gzip":                                 gzipped(whole),
		"gzip with a line end behind it":       gzipped(whole) + "\r\n",
		"zip":                                  zipped("a.xml", whole),
		"zip with a path":                      zipped("../../etc/passwd", whole),
		"gzip in zip":                          zipped("a.xml.gz", gzipped(whole)),
		"zip beside a Mac's notes":             zipped("a.xml", whole, "__MACOSX/._a.xml", "\x00\x05\x16"),
		"base64 that nobody declared":          encoded(zipped("a.xml", whole)),
		"a mail that is a zip":                 mailOf("application/zip", "base64", encoded(zipped("a.xml", whole))),
		"a mail that is a zip of a wrong type": mailOf("text/plain", "base64", encoded(zipped("a.xml", whole))),
		"a mail that is XML":                   mailOf("text/xml", "8bit", whole),
		"a mail that says base64 and is not":   mailOf("application/gzip", "base64", whole),
		"quoted-printable":                     mailOf("text/xml", "quoted-printable", strings.ReplaceAll(strings.ReplaceAll(whole, "=", "=3D"), "><", ">=\r\n<")),
		"base64 with noise":                    mailOf("application/gzip", "base64", strings.ReplaceAll(encoded(gzipped(whole)), "\r\n", " !\r\n\r\n*")),
		"an mbox":                              "From dmarc@mx.example Mon Nov 23 00:00:00 2026\n" + mailOf("application/gzip", "base64", encoded(gzipped(whole))),
		"a part of several":                    multipart("Content-Type: text/plain\r\n\r\nThis is a report.", "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encoded(gzipped(whole))),
		"a part in a part":                     multipart("Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n" + whole + "\r\n--c--"),
		"a part without a last boundary":       strings.TrimSuffix(multipart("Content-Type: text/xml\r\n\r\n"+whole), "\r\n--b 1--\r\n"),
		"a parameter twice":                    strings.Replace(multipart("Content-Type: text/xml\r\n\r\n"+whole), `boundary="b 1"`, `charset=a; boundary="b 1"; charset=b`, 1),
		"a mail in a mail":                     multipart("Content-Type: message/rfc822\r\n\r\n" + mailOf("application/gzip", "base64", encoded(gzipped(whole)))),
		"an IPv4-mapped address":               mapped,
		"no envelope, unknown elements":        strings.Replace(whole, "<identifiers>", "<surprise><count>9</count></surprise><identifiers><foo>bar</foo>", 1),
		"an element twice with one value":      strings.Replace(whole, "<count>3</count>", "<count>3</count><count> 3 </count>", 1),
		"the policy at the end":                `<feedback>` + metadata + oneRecord + published + `</feedback>`,
		"a bare ampersand":                     strings.Replace(whole, "<email>", "<extra_contact_info>https://a.example/?b=1&c=2</extra_contact_info><email>", 1),
		"words of old":                         strings.Replace(whole, "<result>pass</result></spf>", "<scope>mfrom</scope><scope>MFROM</scope><result>Pass</result></spf>", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, outcomes := read(t, strings.NewReader(input), dmarcreport.DefaultLimits())
			if len(outcomes) != 1 || outcomes[0].Err != nil {
				t.Fatalf("%+v", outcomes)
			}
			if len(rows) == 1 && len(rows[0].Senders) == 1 {
				rows[0].Senders[0].Scope = ""
			}
			equalRows(t, []dmarcreport.Row{theRow}, rows)
		})
	}
}

func TestTextsAreReadInTheEncodingThatTheyAreIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ declared, organisation, want string }{
		"UTF-8":                       {"UTF-8", "Käse", "Käse"},
		"Latin-1 declared as UTF-8":   {"UTF-8", "K\xe4se", "Käse"},
		"UTF-8 declared as Latin-1":   {"ISO-8859-1", "Käse", "Käse"},
		"Latin-1":                     {"iso-8859-1", "K\xe4se", "Käse"},
		"KOI8-R":                      {"koi8-r", "\xed\xc1\xca\xcc", "Майл"},
		"an encoding that nobody has": {"x-martian", "Kase", "Kase"},
		"controls":                    {"UTF-8", "a\x00\x1b[2Jb\u202ec\u0085", "a [2Jb\uFFFDc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, outcomes := read(t, strings.NewReader(strings.NewReplacer("UTF-8", c.declared, "mx.example</org", c.organisation+"</org").Replace(whole)), dmarcreport.DefaultLimits())
			if len(outcomes) != 1 || outcomes[0].Err != nil || outcomes[0].Report.Organisation != c.want {
				t.Errorf("%+v", outcomes)
			}
		})
	}
}

func TestSeveralAttachmentsAreReadEach(t *testing.T) {
	t.Parallel()
	other := strings.NewReplacer("<report_id>7", "<report_id>8", "<count>3", "<count>4").Replace(whole)
	input := multipart("Content-Transfer-Encoding: base64\r\n\r\n"+encoded(gzipped(whole)), "\r\nPK\x03\x04 broken", "Content-Transfer-Encoding: base64\r\n\r\n"+encoded(zipped("b.xml", other, "c.xml", whole[:400])))
	rows, outcomes := read(t, strings.NewReader(input), dmarcreport.DefaultLimits())
	second := theRow
	second.Count = 4
	equalRows(t, []dmarcreport.Row{theRow, second}, rows)
	var told []string
	for _, o := range outcomes {
		told = append(told, fmt.Sprint(o.Part, "|", o.Report.ID, "|", o.Err != nil))
	}
	if diff := cmp.Diff([]string{"part 2|7|false", "part 4, b.xml|8|false", "part 4, c.xml|7|true", "part 3||true"}, told); diff != "" {
		t.Error(diff)
	}
}
