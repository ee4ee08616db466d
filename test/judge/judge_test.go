// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

// Package judge holds our verifier against those that are not ours, on mail that each of them signed.
package judge

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnslookup"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const corpusSize = 300

// TestEveryVerifierSaysOfEveryMessageWhatWeSay: odd messages from a seed, signed by us, by python3-dkim and by Mail::DKIM in
// every canonicalization, with and without l=, as they are and changed in ways that matter or do not.
//
// Where l= leaves the end of a body unsigned we say policy (RFC 6376 §8.2) and the others pass: it counts as pass here, and is counted.
// Left out is what test/e2e's corpus leaves out, for the reasons given there.
func TestEveryVerifierSaysOfEveryMessageWhatWeSay(t *testing.T) {
	b := newBench(t)
	random := mathrand.New(mathrand.NewPCG(2026, 11))
	tally := map[string]int{}
	for i := range corpusSize {
		raw := oddMessage(random)
		signer := []string{"ours", "python3-dkim", "Mail::DKIM"}[i%3]
		signed := b.sign(t, signer, raw, random)
		for _, change := range []string{"", changes[random.IntN(len(changes))].name, changes[random.IntN(len(changes))].name} {
			message := signed
			for _, c := range changes {
				if c.name == change {
					message = c.do(signed, random)
				}
			}
			ours := b.ours(t, message)
			for name, theirs := range b.others(t, message) {
				for n, algorithm := range algorithms(message) {
					if name == "Mail::DKIM" && algorithm != "rsa-sha256" || name == "go-msgauth" && bytes.Contains(message, []byte("; l=")) {
						continue // the one knows no other algorithm, and the other refuses every l= for the harm that it may do (RFC 6376 §8.2)
					}
					if n >= len(theirs) || theirs[n] != ours[n].pass {
						t.Errorf("message %d, signed by %s, %s: we say %s of signature %d, %s says %v\n%q", i, signer, change, ours[n].words, n, name, theirs, message[:min(len(message), 1500)])
						continue
					}
					tally[fmt.Sprintf("%s agrees that mail signed by %s is %s", name, signer, map[bool]string{true: "good", false: "bad"}[ours[n].pass])]++
				}
			}
			for _, o := range ours {
				if strings.Contains(o.words, "only the first") {
					tally["policy for l=, counted as good"]++
				}
			}
		}
	}
	for _, line := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%6d %s", tally[line], line)
	}
	for _, verifier := range []string{"python3-dkim", "Mail::DKIM", "go-msgauth"} {
		for _, signer := range []string{"ours", "python3-dkim", "Mail::DKIM"} {
			for _, verdict := range []string{"good", "bad"} {
				if what := fmt.Sprintf("%s agrees that mail signed by %s is %s", verifier, signer, verdict); tally[what] == 0 {
					t.Errorf("never seen: %s", what)
				}
			}
		}
	}
}

// changes are made on the way; the field that is the signature stays.
var changes = []struct {
	name string
	do   func(message []byte, random *mathrand.Rand) []byte
}{
	{"an octet of the body", func(m []byte, r *mathrand.Rand) []byte {
		at := bytes.Index(m, []byte("\r\n\r\n")) + 4
		return overwrite(m, at, len(m), r)
	}},
	{"an octet of the header", func(m []byte, r *mathrand.Rand) []byte {
		at := bytes.Index(m, []byte("\r\nX-Odd:")) + len("\r\nX-Odd:")
		return overwrite(m, at, at+bytes.Index(m[at:], []byte("\r\n\r\n")), r)
	}},
	{"a line more", func(m []byte, _ *mathrand.Rand) []byte { return append(bytes.Clone(m), "One more line.\r\n"...) }},
	{"empty lines at the end", func(m []byte, _ *mathrand.Rand) []byte { return append(bytes.Clone(m), "\r\n\r\n"...) }},
	{"another Subject on top", func(m []byte, _ *mathrand.Rand) []byte { return append([]byte("Subject: Another\r\n"), m...) }},
	{"a field of somebody else on top", func(m []byte, _ *mathrand.Rand) []byte { return append([]byte("Received: from a by b\r\n"), m...) }},
	{"a field in capitals", func(m []byte, _ *mathrand.Rand) []byte {
		return bytes.Replace(m, []byte("\r\nTo:"), []byte("\r\nTO:"), 1)
	}},
	{"another fold", func(m []byte, _ *mathrand.Rand) []byte {
		return bytes.Replace(m, []byte("\r\nTo: "), []byte("\r\nTo:\r\n\t "), 1)
	}},
	{"white space in the body", func(m []byte, _ *mathrand.Rand) []byte {
		at := bytes.Index(m, []byte("\r\n\r\n")) + 4
		return append(bytes.Clone(m[:at]), bytes.ReplaceAll(m[at:], []byte("word"), []byte("word \t"))...)
	}},
	{"a field that is gone", func(m []byte, _ *mathrand.Rand) []byte {
		return bytes.Replace(m, []byte("\r\nTo: bob@example.net"), nil, 1)
	}},
}

// overwrite changes one visible octet between two places, if it finds one.
func overwrite(m []byte, from, to int, random *mathrand.Rand) []byte {
	m = bytes.Clone(m)
	for range 50 {
		if to <= from {
			break
		}
		if at := from + random.IntN(to-from); m[at] > ' ' && m[at] < 0x7f && m[at] != ':' && m[at] != '.' {
			m[at] = 'Z'
			break
		}
	}
	return m
}

func oddMessage(r *mathrand.Rand) []byte {
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(pick("word", "two words", "a\tb", "  ", " \t ", "=?utf-8?q?=C3=A4?=", "\xc3\xa4", "\xe4\xff", ";=:,", `"q\"`, "<a@b>", "--", strings.Repeat("x", 900)))
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString("From: " + pick("a@signer.example", "A B <a@signer.example>", "\r\n\t<a@signer.example> ") + "\r\nTo: bob@example.net\r\n")
	b.WriteString("Subject:" + pick("", " ", "  ") + text() + pick("", " ", "\r\n folded"+text(), "\t\r\n\t\ttwice\r\n again") + "\r\n")
	for range 1 + r.IntN(3) {
		b.WriteString("X-Odd:" + pick("", " ") + "odd" + text() + "\r\n")
	}
	b.WriteString("\r\n")
	for range r.IntN(8) {
		b.WriteString(pick("\r\n", "\r\n\r\n\r\n", " \r\n", "\t \t\r\n", ".\r\n", "From x\r\n", "a \t b  \r\n", text()+"\r\n", strings.Repeat("QUJD", 19)+"\r\n", strings.Repeat("y ", 2000)+"\r\n"))
	}
	return []byte(b.String())
}

// bench is who signs and who judges.
type bench struct {
	keys       []mailauth.Key
	texts      map[string]string
	resolver   *dnslookup.Resolver
	judge      *verifiers.Python
	dkimpy     *lineProcess
	perlDKIM   *lineProcess
	goResolver func(string) ([]string, error)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{texts: map[string]string{}}
	zone := ""
	for selector, key := range map[string]crypto.Signer{"rsa": rsaKey, "ed": edKey} {
		record, err := dkim.NewRecord(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		algorithm := map[string]dkim.Algorithm{"rsa": dkim.RSA, "ed": dkim.Ed25519}[selector]
		b.keys = append(b.keys, mailauth.Key{Selector: selector, Algorithm: algorithm, Signer: key})
		b.texts[selector+"._domainkey.signer.example"] = record.String()
		value := record.String()
		zone += fmt.Sprintf("%s._domainkey.signer.example. 300 TXT %q %q\n", selector, value[:40], value[40:])
	}
	parsed, err := nameserver.ParseZone(".", zone)
	if err != nil {
		t.Fatal(err)
	}
	network, err := nameserver.Start(t.Context(), nameserver.Config{Servers: []nameserver.ServerConfig{{Addr: "127.0.0.1", Primary: []*nameserver.Zone{parsed}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	server := network.Servers()[0].AddrPort()
	b.resolver = dnslookup.New(dnslookup.Config{
		Servers: []netip.AddrPort{server}, Timeout: 5 * time.Second, MaxEntries: 1000, MaxOctets: 1 << 20, MaxInFlight: 16, Now: now,
	})
	b.goResolver = func(name string) ([]string, error) {
		if value, ok := b.texts[name]; ok {
			return []string{value}, nil
		}
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	file := filepath.Join(t.TempDir(), "rsa.pem")
	if err := os.WriteFile(file, pkcs1, 0o600); err != nil {
		t.Fatal(err)
	}
	if b.judge, err = verifiers.StartPython(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.judge.Close() })
	b.dkimpy = startLines(t, "python3", "python3-dkim python3-nacl", "sign.py", string(pkcs1), base64.StdEncoding.EncodeToString(edKey.Seed()))
	b.perlDKIM = startLines(t, "perl", "libmail-dkim-perl", "judge.pl", file, strconv.Itoa(int(server.Port())))
	return b
}

// sign has one of the three sign, above the header.
func (b *bench) sign(t *testing.T, signer string, raw []byte, random *mathrand.Rand) []byte {
	t.Helper()
	forms := []string{"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"}
	form := forms[random.IntN(len(forms))]
	var signed struct {
		Message []byte `json:"message"`
	}
	switch signer {
	case "ours":
		return b.signOurselves(t, raw)
	case "python3-dkim":
		b.dkimpy.ask(t, map[string]any{
			"message": raw, "c": form, "l": random.IntN(4) == 0, "a": []string{"rsa-sha256", "ed25519-sha256"}[random.IntN(2)],
		}, &signed)
	case "Mail::DKIM":
		b.perlDKIM.ask(t, map[string]any{"message": raw, "c": form}, &signed)
	}
	return signed.Message
}

func (b *bench) signOurselves(t *testing.T, raw []byte) []byte {
	t.Helper()
	fields, body := miltertest.Split(raw)
	var h mailauth.Header
	for _, f := range fields {
		h.Add(f.Name, []byte(f.Value))
	}
	hash := mailauth.NewBodyHash()
	_, _ = hash.Write(body)
	sum, _ := hash.Sum()
	for _, key := range b.keys {
		value, err := mailauth.Sign(&h, sum, "signer.example", key, mailauth.Options{Now: now()})
		if err != nil {
			t.Fatal(err)
		}
		raw = append([]byte(mailauth.SignatureField+": "+value+"\r\n"), raw...)
	}
	return raw
}

// opinion is what we say of a signature.
type opinion struct {
	pass  bool
	words string
}

func (b *bench) ours(t *testing.T, message []byte) []opinion {
	t.Helper()
	j := mailauth.NewJudgement(mailauth.Envelope{})
	fields, body := miltertest.Split(message)
	for _, f := range fields {
		j.Header(f.Name, []byte(f.Value))
	}
	for piece := range slices.Chunk(body, 1000) {
		j.Body(piece)
	}
	var opinions []opinion
	for _, s := range j.Verdict(t.Context(), b.resolver, now()).DKIM {
		cut := s.Result == mailauth.Unacceptable && strings.Contains(s.Reason, "only the first")
		opinions = append(opinions, opinion{s.Result == mailauth.Pass || cut, string(s.Result) + " " + s.Reason})
	}
	return opinions
}

// others are their verdicts, in the order of the fields.
func (b *bench) others(t *testing.T, message []byte) map[string][]bool {
	t.Helper()
	out := map[string][]bool{}
	byPython, err := b.judge.Judge(message, b.texts)
	if err != nil {
		t.Fatal(err)
	}
	var byPerl []verifiers.Verdict
	b.perlDKIM.ask(t, map[string]any{"message": message}, &byPerl)
	for name, verdicts := range map[string][]verifiers.Verdict{"python3-dkim": byPython, "Mail::DKIM": byPerl} {
		for _, v := range verdicts {
			out[name] = append(out[name], v.Result == verifiers.Pass)
		}
	}
	byGo, err := msgauth.VerifyWithOptions(bytes.NewReader(message), &msgauth.VerifyOptions{LookupTXT: b.goResolver})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range byGo {
		out["go-msgauth"] = append(out["go-msgauth"], v.Err == nil)
	}
	return out
}

// algorithms are a= of the signatures, in the order of the fields.
func algorithms(message []byte) []string {
	var out []string
	fields, _ := miltertest.Split(message)
	for _, f := range fields {
		if !strings.EqualFold(f.Name, mailauth.SignatureField) {
			continue
		}
		for tag := range strings.SplitSeq(f.Value, ";") {
			if name, value, _ := strings.Cut(tag, "="); strings.TrimSpace(name) == "a" {
				out = append(out, strings.TrimSpace(value))
			}
		}
	}
	return out
}

// lineProcess answers a line of JSON with another.
type lineProcess struct {
	name       string
	in         io.WriteCloser
	out        *json.Decoder
	complaints bytes.Buffer
}

func startLines(t *testing.T, program, packages, script string, args ...string) *lineProcess {
	t.Helper()
	path, err := process.Find(program, packages)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), path, append([]string{script}, args...)...)
	p := &lineProcess{name: script}
	command.Stderr = &p.complaints
	if p.in, err = command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.in.Close(), command.Wait()); err != nil {
			t.Errorf("%s: %v (is it installed? apt-get install %s): %s", script, err, packages, &p.complaints)
		}
	})
	return p
}

func (p *lineProcess) ask(t *testing.T, question, answer any) {
	t.Helper()
	line, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if err := p.out.Decode(answer); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// now is the clock that the other programs look at, too.
func now() time.Time { return time.Now() } //nolint:forbidigo // They have no other.
