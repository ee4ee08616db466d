// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	corpusSize = 5000
	shown      = 3 // messages that a verifier disagrees on
)

// TestEveryVerifierAgreesOnACorpusOfOddMessages: messages from a seed, odd in each
// way that a message may arrive by SMTP, are signed by the milter as it is
// shipped; each verifier accepts each signature, and none once the body is
// changed. Where verifiers differ, ours is the letter of the RFC: see disagreements and docs/verifiers.md.
func TestEveryVerifierAgreesOnACorpusOfOddMessages(t *testing.T) {
	t.Parallel()
	w := get(t)
	random := oddity{rand.New(rand.NewPCG(2026, 8))}
	var raw [][]byte
	for range corpusSize {
		raw = append(raw, random.message())
	}
	good := w.sign(t, raw, random)
	var changed [][]byte
	for i := 0; i < len(good); i += 20 {
		changed = append(changed, append(bytes.Clone(good[i]), "One more line.\r\n"...))
	}
	for _, v := range verifiers.All() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			judgeCorpus(t, w, v, good, changed)
		})
	}
}

func judgeCorpus(t *testing.T, w *world, v verifiers.Verifier, good, changed [][]byte) {
	t.Helper()
	begin := time.Now()
	for want, messages := range map[verifiers.Result][][]byte{verifiers.Pass: good, verifiers.Fail: changed} {
		verdicts, err := v.JudgeAll(t.Context(), w.dns(), messages)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for i := range messages {
			if err := agree(v, verdicts[i], acme, want); err != nil {
				if wrong++; wrong <= shown {
					t.Errorf("%v\n%.5000q", err, messages[i])
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s is not of our opinion on %d of %d messages", v.Name, wrong, len(messages))
		}
	}
	t.Logf("%-13s judged %d good and %d changed messages in %.1fs", v.Name, len(good), len(changed), time.Since(begin).Seconds())
}

// sign sends messages through the milter, over one connection, in pieces of all sizes.
func (w *world) sign(t *testing.T, raw [][]byte, random oddity) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // far more than it takes
	defer cancel()
	milter, err := miltertest.Dial(ctx, "unix:"+w.socket, miltertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer milter.Close()
	var all [][]byte
	for i, m := range raw {
		reply, out, err := milter.Send(miltertest.Message{Raw: m, Chunk: 1 + random.IntN(5000)})
		if err != nil || !reply.Accepted || len(reply.Inserted) != 2 {
			t.Fatalf("message %d: %+v %v\n%q", i, reply, err, m)
		}
		all = append(all, out)
	}
	return all
}

// oddity makes messages.
type oddity struct{ *rand.Rand }

func (o oddity) pick(texts ...string) string { return texts[o.IntN(len(texts))] }

// text is one line or a part of one.
func (o oddity) text() string {
	var b strings.Builder
	for range o.IntN(8) {
		b.WriteString(o.pick("word", "two words", "a\tb", "  ", " \t ", "=?utf-8?q?=C3=A4?=", "\xc3\xa4", "\xe4\xff", "\xa0\x85", "\x01\x7f", ";=:,", `"q\"`,
			"<a@b>", ".", "--", strings.Repeat("x", 1200), strings.Repeat("long text ", 90)))
	}
	return b.String()
}

// value is what follows the colon of a field: folded or not, tight or loose.
func (o oddity) value() string {
	text := o.text()
	for range o.IntN(4) {
		text += o.pick("\r\n ", "\r\n\t", " \r\n ", "\t\r\n\t\t", "\r\n \t ", "\r\n \r\n ") + "x" + o.text()
	}
	return o.pick("", " ", "  ", "\t") + text + o.pick("", " ", "\t", "  ")
}

// message is a header with one author of ours, and a body whose lines end with CRLF.
func (o oddity) message() []byte {
	names := []string{
		"To", "tO", "Cc", "CC", "Subject", "SUBJECT", "Date", "Message-ID", "Message-Id", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
		"In-Reply-To", "References", "Reply-To", "Sender", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Archive", "Resent-From",
		"Resent-To", "Resent-Date", "Received", "Return-Path", "Bcc", "X-Odd", "X", "Authentication-Results",
	}
	fields := []string{o.pick("From", "FROM", "from", "fRoM") + ":" + o.pick(" a@acme.example", "a@acme.example", "\r\n\tA B\r\n <a@acme.example> ",
		` "x, y" <a@acme.example>`, " \xc3\xa4 <a@acme.example>\t", " A (c\r\n (n)) <a@ACME.example>", " a@acme.example, b@acme.example")}
	for range o.IntN(25) {
		fields = append(fields, o.pick(names...)+":"+o.value())
	}
	if o.IntN(50) == 0 { // a header of some hundred kilobytes
		for range 200 + o.IntN(200) {
			fields = append(fields, o.pick("Received", "X-Spam-Report", "References", "To", "Cc")+":"+o.value()+strings.Repeat("\r\n "+o.pick("<a@b.example>,", "(c)"), 40))
		}
	}
	o.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	var body strings.Builder
	for range o.IntN(12) {
		body.WriteString(o.pick("\r\n", "\r\n\r\n\r\n", " \r\n", "\t \t\r\n", ".\r\n", "..\r\n", "From x\r\n", "\x01\r\n", "a \t b  \r\n", o.text()+"\r\n",
			"--b\r\nContent-Type: text/plain\r\n\r\n"+o.text()+"\r\n--b--\r\n", strings.Repeat("QUJD", 19)+"\r\n", strings.Repeat("y ", 2000)+"\r\n"))
	}
	return []byte(strings.Join(fields, "\r\n") + "\r\n\r\n" + body.String())
}
