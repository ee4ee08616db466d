// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Widths in columns. Lines end here, so that a terminal does not break them.
const (
	minWidth = 80
	maxWidth = 110
	indent   = "   "
)

// style is an ANSI code.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// screen is what the viewer sees. It is used by one goroutine.
type screen struct {
	out     io.Writer
	colour  bool
	live    bool // a terminal: a line may be written over
	width   int
	now     func() time.Time
	started time.Time
	step    int
	waiting string // the last line, if it is to be written over
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, width: 100, now: time.Now, started: time.Now()}
	if s.live = term.IsTerminal(int(out.Fd())); s.live {
		if width, _, err := term.GetSize(int(out.Fd())); err == nil {
			s.width = min(max(width, minWidth), maxWidth)
		}
	}
	_, noColour := os.LookupEnv("NO_COLOR") // https://no-color.org asks for a value that is not empty
	s.colour = s.live && (!noColour || os.Getenv("NO_COLOR") == "") && os.Getenv("TERM") != "dumb"
	return s
}

func (s *screen) paint(how style, text string) string {
	if !s.colour || how == plain || text == "" {
		return text
	}
	return "\x1b[" + string(how) + "m" + text + "\x1b[0m"
}

// line writes one line, over one that waits.
func (s *screen) line(text string) {
	s.clear()
	_, _ = fmt.Fprintln(s.out, strings.TrimRight(text, " "))
}

// wait writes a line that the next one replaces; only on a terminal.
func (s *screen) wait(text string) {
	if !s.live || s.waiting == text {
		return
	}
	s.clear()
	s.waiting = text
	_, _ = fmt.Fprint(s.out, indent+s.paint(dim, cut("… "+text, s.width-len(indent))))
}

// clear removes a line that waits.
func (s *screen) clear() {
	if s.waiting != "" {
		s.waiting = ""
		_, _ = fmt.Fprint(s.out, "\r\x1b[K")
	}
}

func (s *screen) elapsed() time.Duration { return s.now().Sub(s.started) }

// begin writes the heading of the next step, with the time since the start at the right.
func (s *screen) begin(heading string) {
	s.step++
	s.line("")
	left := fmt.Sprintf("%d  %s", s.step, heading)
	right := fmt.Sprintf("%.1f s", s.elapsed().Seconds())
	gap := strings.Repeat(" ", max(1, s.width-utf8.RuneCountInString(left)-len(right)))
	s.line(s.paint(bold, left) + gap + s.paint(dim, right))
}

func (s *screen) ok(format string, args ...any) { s.mark(green, "✓", fmt.Sprintf(format, args...)) }

func (s *screen) bad(format string, args ...any) { s.mark(red, "✗", fmt.Sprintf(format, args...)) }

func (s *screen) mark(how style, sign, text string) {
	for i, part := range wrap(text, s.width-len(indent)-2) {
		if i > 0 {
			sign = " "
		}
		s.line(indent + s.paint(how, sign) + " " + part)
	}
}

// note explains; it is not something that happened.
func (s *screen) note(format string, args ...any) {
	for _, part := range wrap(fmt.Sprintf(format, args...), s.width-len(indent)) {
		s.line(indent + s.paint(dim, part))
	}
}

// command is what a person would type, with a comment; long ones are broken before an option.
func (s *screen) command(text, comment string) {
	var lines []string
	for i, part := range strings.Split(text, " --") {
		switch last := len(lines) - 1; {
		case i == 0:
			lines = append(lines, "$ "+part)
		case utf8.RuneCountInString(lines[last]+" --"+part) <= s.width-len(indent)-2:
			lines[last] += " --" + part
		default:
			lines[last] += " \\"
			lines = append(lines, "    --"+part)
		}
	}
	for i, l := range lines {
		l = s.paint(cyan, l)
		if i == len(lines)-1 && comment != "" {
			l += s.paint(dim, "   # "+comment)
		}
		s.line(indent + l)
	}
}

// quote shows a text of several lines, each cut at the width.
func (s *screen) quote(how style, text string) {
	for l := range strings.Lines(strings.TrimRight(text, "\n")) {
		l = cut(strings.TrimRight(l, "\r\n"), s.width-len(indent)-2)
		s.line(indent + s.paint(dim, "│ ") + s.paint(how, l))
	}
}

// wrap breaks a text between words.
func wrap(text string, width int) []string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if last := len(lines) - 1; last >= 0 && utf8.RuneCountInString(lines[last]+" "+word) <= width {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// cut shortens a text to a width.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}
