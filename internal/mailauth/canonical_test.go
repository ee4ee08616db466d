// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestHeaderFieldsInRelaxedForm(t *testing.T) {
	tests := []struct{ name, field, value, want string }{
		{"RFC 6376 §3.4.5, first field", "A", " X", "a:X"},
		{"RFC 6376 §3.4.5, second field", "B ", " Y\t\r\n\tZ  ", "b:Y Z"},
		{"no space after the colon", "Subject", "x", "subject:x"},
		{"an empty value", "Subject", "", "subject:"},
		{"only white space", "Subject", " \t\r\n ", "subject:"},
		{"folded with LF alone, as a milter hears it", "Subject", "one\n\ttwo", "subject:one two"},
		{"8-bit octets stay", "Subject", " gr\xfc\xdfe ", "subject:gr\xfc\xdfe"},
		{"vertical tab and form feed are no white space (RFC 5234 §B.1)", "Subject", " \va\f\v b\f ", "subject:\va\f\v b\f"},
		{"upper case only in ASCII", "Ä-X", "y", "Ä-x:y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(canonicalField(nil, strings.TrimRight(tt.field, " \t"), []byte(tt.value)))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBodiesInRelaxedForm(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name, body, want string
		flaws            []string
	}{
		{"RFC 6376 §3.4.5", " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n", nil},
		{"an empty body is empty", "", "", nil},
		{"only empty lines", "\r\n\r\n", "", nil},
		{"only white space", " \t\r\n ", "", nil},
		{"no line end at the end", "a", "a\r\n", nil},
		{"white space at the end without a line end", "a \t", "a\r\n", nil},
		{"empty lines inside stay", "a\r\n\r\n \r\nb\r\n", "a\r\n\r\n\r\nb\r\n", nil},
		{"a bare LF is a line end", "a \nb\n", "a\r\nb\r\n", []string{"bare_lf"}},
		{"a bare CR is an octet", "a \rb\r\n", "a \rb\r\n", []string{"bare_cr"}},
		{"a CR at the very end", "a\r", "a\r\r\n", []string{"bare_cr"}},
		{"two CRs before a LF", "a\r\r\n", "a\r\r\n", []string{"bare_cr"}},
		{"8-bit octets", "\xc3\xa4\r\n", "\xc3\xa4\r\n", []string{"8bit"}},
		{"a line of 998 octets", long + "\r\n", long + "\r\n", nil},
		{"a line of 999 octets", long + "x\r\n", long + "x\r\n", []string{"long_line"}},
		{"a last line of 999 octets without end", long + "x", long + "x\r\n", []string{"long_line"}},
		{"a line of 999 blanks", strings.Repeat(" ", 999) + "\r\n", "", []string{"long_line"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for chunk := 1; chunk <= len(tt.body)+1; chunk++ {
				got, flaws := hashIn(t, []byte(tt.body), chunk)
				if got != sha256.Sum256([]byte(tt.want)) {
					t.Fatalf("in chunks of %d the hash is not that of %q", chunk, tt.want)
				}
				if diff := cmp.Diff(tt.flaws, flaws.Names()); diff != "" {
					t.Fatalf("flaws (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func hashIn(t interface{ Fatal(...any) }, body []byte, chunk int) ([sha256.Size]byte, Flaws) {
	b := NewBodyHash()
	for part := range slices.Chunk(body, chunk) {
		if n, err := b.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	return b.Sum()
}

// relaxedBody is RFC 6376 §3.4.4 word by word, on a whole body, as a second opinion.
func relaxedBody(body string) string {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
	lines := strings.Split(body, "\r\n")
	for i, line := range lines {
		var out strings.Builder
		gap := false
		for _, c := range []byte(line) {
			if c == ' ' || c == '\t' {
				gap = true
				continue
			}
			if gap {
				out.WriteByte(' ')
				gap = false
			}
			out.WriteByte(c)
		}
		lines[i] = out.String()
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// flawsOf is what the comments of the flaws say, octet by octet, as a second opinion.
func flawsOf(body string) Flaws {
	var flaws Flaws
	line := 0
	for i := range len(body) {
		before, after := byte(0), byte(0)
		if i > 0 {
			before = body[i-1]
		}
		if i+1 < len(body) {
			after = body[i+1]
		}
		switch c := body[i]; {
		case c == '\n':
			if before != '\r' {
				flaws |= BareLF
			}
			line = -1
		case c == '\r' && after == '\n':
			line--
		case c == '\r':
			flaws |= BareCR
		case c >= 0x80:
			flaws |= EightBit
		}
		if line++; line > maxLine {
			flaws |= LongLine
		}
	}
	return flaws
}

func drawBody(t *rapid.T) string {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{" ", "\t", "\r\n", "\r\n\r\n", "\n", "\r", " \r\n", "\r\r\n", "-", ".\r\n", "\x00", "\xff"}),
		rapid.StringMatching(`[ -~]{0,90}`),
		rapid.Just(strings.Repeat("long ", 1200)),
		rapid.Just(strings.Repeat("text and more of it\r\n", 40)),
		rapid.Just(strings.Repeat("x", 490)),
	)
	return strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "body"), "")
}

func TestPiecesOfABodyNeverChangeItsHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := drawBody(t)
		want := sha256.Sum256([]byte(relaxedBody(body)))
		b := NewBodyHash()
		rest := []byte(body)
		for len(rest) > 0 {
			n := rapid.IntRange(0, len(rest)).Draw(t, "piece")
			if n == 0 {
				n = min(1, len(rest))
			}
			_, _ = b.Write(rest[:n])
			rest = rest[n:]
		}
		got, flaws := b.Sum()
		if got != want {
			t.Fatalf("hash of %q differs", body)
		}
		if want := flawsOf(body); flaws != want {
			t.Fatalf("flaws of %q: got %v, want %v", body, flaws.Names(), want.Names())
		}
		b.Reset()
		_, _ = b.Write([]byte(body))
		if got, _ := b.Sum(); got != want {
			t.Fatalf("hash of %q after Reset differs", body)
		}
	})
}

func FuzzBodyHash(f *testing.F) {
	f.Add([]byte(" C \r\nD \t E\r\n\r\n\r\n"), 3)
	f.Add([]byte("\r\r\n \r"), 1)
	f.Fuzz(func(t *testing.T, body []byte, chunk int) {
		got, flaws := hashIn(t, body, max(1, chunk))
		if want := flawsOf(string(body)); flaws != want {
			t.Fatalf("flaws of %q in chunks of %d: got %v, want %v", body, chunk, flaws.Names(), want.Names())
		}
		if got != sha256.Sum256([]byte(relaxedBody(string(body)))) {
			t.Fatalf("hash of %q in chunks of %d differs", body, chunk)
		}
	})
}

func TestHashingABodyAllocatesNothing(t *testing.T) {
	b := NewBodyHash()
	chunk := []byte(strings.Repeat("some text \t here\r\n\r\n", 3000))
	if n := testing.AllocsPerRun(10, func() { _, _ = b.Write(chunk) }); n > 0 {
		t.Errorf("%v allocations for each chunk", n)
	}
}

func BenchmarkBodyHash(b *testing.B) {
	for name, line := range map[string]string{
		"text":   "The quick brown fox jumps over the lazy dog, 0123456789 and again.\r\n",
		"base64": strings.Repeat("QUJD", 19) + "\r\n",
	} {
		body := bytes.Repeat([]byte(line), 1<<20/len(line))
		b.Run(name, func(b *testing.B) {
			h := NewBodyHash()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				h.Reset()
				_, _ = h.Write(body)
				h.Sum()
			}
		})
	}
	b.Run("sha256 alone", func(b *testing.B) {
		body := make([]byte, 1<<20)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			sha256.Sum256(body)
		}
	})
}

func ExampleFlaws_Names() {
	fmt.Println((EightBit | BareCR).Names())
	// Output: [8bit bare_cr]
}
