// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"

	"github.com/maildomain-operator/maildomain-operator/test/env/kubelet"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// signingSecret is the Secret of maildomain.yaml that signers mount.
const signingSecret = "mail-signing"

// mirrorEvery is how often the mount follows its Secret; kubelet takes a minute or more.
const mirrorEvery = 250 * time.Millisecond

// send starts the milter beside an MTA that the demo plays, and sends a message.
func (d *demo) send(ctx context.Context) error {
	if err := d.startMilter(ctx); err != nil {
		return err
	}
	var err error
	if d.sent, err = d.sign(ctx); err != nil {
		return err
	}
	d.screen.quote(dim, string(message))
	d.screen.ok("the milter added:")
	for _, s := range signaturesOf(d.sent) {
		d.screen.quote(plain, "DKIM-Signature: "+strings.Join(strings.Fields(s.field), " "))
	}
	return nil
}

// startMilter mounts the signing Secret as kubelet does, and runs the milter on it.
func (d *demo) startMilter(ctx context.Context) error {
	keys := filepath.Join(d.folder, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		return err
	}
	mount, unmount := context.WithCancel(context.WithoutCancel(ctx))
	d.mounted, d.unmount = make(chan error, 1), unmount
	go func() {
		err := kubelet.Mirror(mount, d.client, namespace, signingSecret, keys, mirrorEvery)
		if err != nil {
			d.cancel(err)
		}
		d.mounted <- err
	}()
	var err error
	if d.milterHTTP, err = freeAddress(ctx); err != nil {
		return err
	}
	arguments := []string{"--sign", d.socket(), "--keys", keys, "--http", d.milterHTTP}
	d.screen.command(d.milterPath+" "+strings.Join(arguments, " "), "")
	if d.milter, err = start(ctx, d.folder, d.milterPath, nil, d.cancel, arguments...); err != nil {
		return err
	}
	d.culprit = d.milter.log
	if err := answers(ctx, "http://"+d.milterHTTP+"/readyz"); err != nil {
		return fmt.Errorf("wait for the milter: %w", err)
	}
	d.screen.ok("it knows no Kubernetes: Secret %s is mounted as its folder of keys", signingSecret)
	return nil
}

func (d *demo) socket() string { return "unix:" + filepath.Join(d.folder, "sign.sock") }

// sign plays the MTA: it gives the message to the milter and takes it back.
func (d *demo) sign(ctx context.Context) ([]byte, error) {
	reply, signed, err := miltertest.Send(ctx, d.socket(), miltertest.Message{
		Raw: bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n")), Sender: "<alice@example.org>", Login: "alice",
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("send a message through the milter: %w", err)
	case !reply.Accepted:
		return nil, fmt.Errorf("the milter refused the message: %s", reply.Text)
	}
	return signed, nil
}

// signature is what a DKIM-Signature field says of itself (RFC 6376 section 3.5).
type signature struct{ field, algorithm, domain, selector string }

func signaturesOf(raw []byte) []signature {
	var all []signature
	fields, _ := miltertest.Split(raw)
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "DKIM-Signature") {
			continue
		}
		s := signature{field: f.Value}
		for tag := range strings.SplitSeq(f.Value, ";") {
			name, value, _ := strings.Cut(tag, "=")
			switch value = strings.TrimSpace(value); strings.TrimSpace(name) {
			case "a":
				s.algorithm = value
			case "d":
				s.domain = value
			case "s":
				s.selector = value
			}
		}
		all = append(all, s)
	}
	return all
}

// judgement is a verifier's word on one signature.
type judgement struct {
	signature
	value  authres.ResultValue
	reason string
}

var errSignatures = errors.New("the message does not carry one RSA and one Ed25519 signature")

// verify has go-msgauth judge a message with keys that it reads from the DNS, from the root down.
func (d *demo) verify(ctx context.Context, raw []byte) ([]judgement, []string, error) {
	var lock sync.Mutex
	var asked []string
	verifications, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		lock.Lock()
		asked = append(asked, name)
		lock.Unlock()
		return d.resolver.LookupTXT(ctx, name)
	}})
	if err != nil {
		return nil, nil, fmt.Errorf("verify: %w", err)
	}
	signatures := signaturesOf(raw)
	var judged []judgement
	for i, v := range verifications { // in the order of the fields
		j := judgement{signature: signatures[i], value: authres.ResultPass}
		switch {
		case v.Err == nil:
		case dkim.IsTempFail(v.Err):
			j.value = authres.ResultTempError
		case dkim.IsPermFail(v.Err):
			j.value = authres.ResultPermError
		default:
			j.value = authres.ResultFail
		}
		if v.Err != nil {
			j.reason = strings.TrimPrefix(v.Err.Error(), "dkim: ")
		}
		judged = append(judged, j)
	}
	var algorithms []string
	for _, j := range judged {
		algorithms = append(algorithms, j.algorithm)
	}
	slices.Sort(algorithms)
	slices.Sort(asked)
	if !slices.Equal(algorithms, []string{"ed25519-sha256", "rsa-sha256"}) {
		return judged, asked, fmt.Errorf("%w: %v", errSignatures, algorithms)
	}
	return judged, asked, nil
}

// report shows the judgements as a receiver writes them (RFC 8601), and compares.
func (d *demo) report(judged []judgement, want authres.ResultValue) error {
	var results []authres.Result
	for _, j := range judged {
		results = append(results, &authres.GenericResult{Method: "dkim", Value: j.value, Params: map[string]string{
			"reason": j.reason, "header.d": j.domain, "header.s": j.selector, "header.a": j.algorithm,
		}})
	}
	how := green
	if want != authres.ResultPass {
		how = red
	}
	first, rest, _ := strings.Cut(authres.Format("mx.example.net", results), "; ")
	d.screen.quote(plain, "Authentication-Results: "+first+";")
	for result := range strings.SplitAfterSeq(rest, "; ") {
		for i, part := range wrap(result, d.screen.width-16) {
			d.screen.quote(how, strings.Repeat(" ", 4+4*min(i, 1))+part)
		}
	}
	for _, j := range judged {
		if j.value != want {
			return fmt.Errorf("the signature of %s is judged dkim=%s (%s), not dkim=%s", j.selector, j.value, j.reason, want)
		}
	}
	return nil
}

// judge verifies the message as it was sent.
func (d *demo) judge(ctx context.Context) error {
	judged, asked, err := d.verify(ctx, d.sent)
	for _, name := range asked {
		d.screen.ok("asked the DNS, from its root, for %s", name)
	}
	return errors.Join(err, d.report(judged, authres.ResultPass))
}

// tamper verifies the message with one bit changed: the 1 of 100 is a 9 then.
func (d *demo) tamper(ctx context.Context) error {
	changed := bytes.Clone(d.sent)
	at := bytes.Index(changed, []byte("100 EUR"))
	if at < 0 {
		return errors.New("the message lost its body")
	}
	changed[at] ^= 0x08
	for _, sent := range []struct {
		sign string
		how  style
		raw  []byte
	}{{"- ", red, d.sent}, {"+ ", green, changed}} {
		line := sent.raw[bytes.LastIndexByte(sent.raw[:at], '\n')+1:]
		line, _, _ = bytes.Cut(line, []byte("\r\n"))
		d.screen.quote(sent.how, sent.sign+string(line))
	}
	judged, _, err := d.verify(ctx, changed)
	return errors.Join(err, d.report(judged, authres.ResultFail))
}
