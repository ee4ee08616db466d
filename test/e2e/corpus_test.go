// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	corpusSize = 500
	corpusTime = time.Minute // far more than it takes
)

// TestACorpusOfOddMessagesIsSignedAndEveryVerifierAgrees: messages from a seed,
// odd in each way that a message may arrive by SMTP, are signed by the milter as
// it is shipped; each verifier accepts each signature, and none once the body is changed.
//
// Left out is what no verifier has to agree upon, where ours is the letter of the RFC:
//   - VT and FF at the ends of a value: python3-dkim and Mail::DKIM strip them; WSP is space and tab alone (RFC 5234 §B.1).
//   - white space before the colon: python3-dkim does not find the field; it is deleted (RFC 6376 §3.4.2).
//   - a bare CR in the body: go-msgauth makes a line end of it; SMTP does not carry one (RFC 5321 §2.3.8).
//   - white space after the last CRLF: python3-dkim keeps it; a message by SMTP ends with CRLF (RFC 5321 §4.1.1.4).
func TestACorpusOfOddMessagesIsSignedAndEveryVerifierAgrees(t *testing.T) {
	e, _ := readyAcme(t)
	e.milterHasKeys(t)
	ctx, cancel := context.WithTimeout(t.Context(), corpusTime)
	defer cancel()

	random := oddity{rand.New(rand.NewPCG(2026, 8))}
	milter, err := miltertest.Dial(ctx, "unix:"+e.Socket, miltertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer milter.Close()
	var signed, changed [][]byte
	for i := range corpusSize {
		raw := random.message()
		reply, out, err := milter.Send(miltertest.Message{Raw: raw, Chunk: 1 + random.IntN(5000)})
		if err != nil || !reply.Accepted || len(reply.Inserted) != 2 {
			t.Fatalf("message %d: %+v %v\n%q", i, reply, err, raw)
		}
		signed = append(signed, out)
		if i%10 == 0 {
			changed = append(changed, append(bytes.Clone(out), "One more line.\r\n"...))
		}
	}
	for _, judge := range corpusJudges() {
		for want, messages := range map[verifiers.Result][][]byte{verifiers.Pass: signed, verifiers.Fail: changed} {
			begin := time.Now()
			verdicts, err := judge.judgeAll(ctx, messages)
			if err != nil || len(verdicts) != len(messages) {
				t.Fatalf("%s: %d verdicts on %d messages: %v", judge.verifier.Name, len(verdicts), len(messages), err)
			}
			good := 0
			for i := range messages {
				if err := check(judge.verifier, verdicts[i], want); err != nil {
					t.Errorf("%v\n%q", err, messages[i])
				} else {
					good++
				}
			}
			e.tell(t, "%-13s says %s of %d of %d odd messages (%.1fs)", judge.verifier.Name, want, good, len(messages), time.Since(begin).Seconds())
		}
	}
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
	o.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	var body strings.Builder
	for range o.IntN(12) {
		body.WriteString(o.pick("\r\n", "\r\n\r\n\r\n", " \r\n", "\t \t\r\n", ".\r\n", "..\r\n", "From x\r\n", "\x00\r\n", "a \t b  \r\n", o.text()+"\r\n",
			"--b\r\nContent-Type: text/plain\r\n\r\n"+o.text()+"\r\n--b--\r\n", strings.Repeat("QUJD", 19)+"\r\n", strings.Repeat("y ", 2000)+"\r\n"))
	}
	return []byte(strings.Join(fields, "\r\n") + "\r\n\r\n" + body.String())
}

// corpusJudge is a verifier that judges many messages in one process.
type corpusJudge struct {
	verifier verifiers.Verifier
	judgeAll func(ctx context.Context, messages [][]byte) ([][]verifiers.Verdict, error)
}

func corpusJudges() []corpusJudge {
	scripts := map[string][]string{
		"python3-dkim": {"python3", "python3-dkim python3-dnspython python3-nacl", "-c", corpusPython},
		"Mail::DKIM":   {"perl", "libmail-dkim-perl", "-e", corpusPerl},
	}
	var judges []corpusJudge
	for _, v := range verifiers.All() {
		if s, ok := scripts[v.Name]; ok {
			judges = append(judges, corpusJudge{v, func(ctx context.Context, messages [][]byte) ([][]verifiers.Verdict, error) {
				return judgeByScript(ctx, messages, s[0], s[1], s[2:]...)
			}})
		}
	}
	inProcess := verifiers.GoMsgauth()
	return append(judges, corpusJudge{inProcess, func(ctx context.Context, messages [][]byte) (all [][]verifiers.Verdict, err error) {
		for _, m := range messages {
			verdicts, err := inProcess.Judge(ctx, bind.Primary, m)
			if err != nil {
				return nil, err
			}
			all = append(all, verdicts)
		}
		return all, nil
	}})
}

// judgeByScript gives a script the name server and a folder of messages, and reads one line of JSON for each.
func judgeByScript(ctx context.Context, messages [][]byte, program, packages string, args ...string) ([][]verifiers.Verdict, error) {
	path, err := process.Find(program, packages)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "maildomain-corpus-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for i, m := range messages {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d", i)), m, 0o600); err != nil {
			return nil, err
		}
	}
	var complaints strings.Builder
	command := exec.CommandContext(ctx, path, append(args, bind.Primary.String(), dir)...)
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w (is it installed? hack/install-debian-packages.sh, or apt-get install %s): %s", err, packages, complaints.String())
	}
	var all [][]verifiers.Verdict
	for line := range bytes.Lines(out) {
		var verdicts []verifiers.Verdict
		if err := json.Unmarshal(line, &verdicts); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		all = append(all, verdicts)
	}
	return all, nil
}

const corpusPython = `
import functools, glob, json, sys
import dkim, dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]

@functools.lru_cache
def txt(name, timeout=5):
    return b"".join(next(iter(resolver.resolve(name.decode(), "TXT", lifetime=timeout))).strings)

for path in sorted(glob.glob(sys.argv[2] + "/*")):
    with open(path, "rb") as f:
        message = f.read()
    verdicts = []
    for name, value in dkim.rfc822_parse(message)[0]:
        if name.lower() != b"dkim-signature":
            continue
        tags = dkim.util.parse_tag_value(value)
        verdict = {"selector": tags[b"s"].decode(), "domain": tags[b"d"].decode(), "algorithm": tags[b"a"].decode(), "result": "fail"}
        try:
            if dkim.DKIM(message).verify(len(verdicts), dnsfunc=txt):
                verdict["result"] = "pass"
        except dkim.DKIMException as e:
            verdict["detail"] = repr(e)
        verdicts.append(verdict)
    print(json.dumps(verdicts))
`

const corpusPerl = `
use strict; use warnings;
use JSON::PP; use Mail::DKIM::DNS; use Mail::DKIM::Verifier; use Net::DNS::Resolver;

Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$ARGV[0]]));
for my $path (sort glob "$ARGV[1]/*") {
    open my $file, "<:raw", $path or die "$path: $!";
    local $/;
    my $verifier = Mail::DKIM::Verifier->new();
    $verifier->PRINT(<$file>);
    $verifier->CLOSE;
    my @verdicts;
    for my $s ($verifier->signatures) {
        my $result = $s->result_detail =~ /unsupported algorithm/ ? 'unable' : $s->result eq 'pass' ? 'pass' : 'fail';
        push @verdicts, { selector => $s->selector, domain => $s->domain, algorithm => $s->algorithm, result => $result, detail => $s->result_detail };
    }
    print encode_json(\@verdicts), "\n";
}
`
