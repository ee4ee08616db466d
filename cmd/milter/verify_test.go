// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

func TestFlagsOfVerifyingThatAreWrongAreAllTold(t *testing.T) {
	_, err := execute(t, "--verify", "unix:relative", "--authserv-id", "Mail; none", "--resolver", "dns.example", "--resolver", "192.0.2.1:0",
		"--dns-timeout", "0s", "--on-result", "dmarc_reject=drop,dmarc_temperror=reject,spf_pass=reject")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"--verify unix:relative: want an absolute path", "--authserv-id:", "--resolver dns.example: want an address", "--resolver 192.0.2.1:0: want an address",
		"--dns-timeout 0s: want more than 0", "--on-result dmarc_reject=drop: want one of tag, quarantine, reject",
		"--on-result dmarc_temperror=reject: want one of tag, quarantine, tempfail", "--on-result spf_pass: no such result; want one of dmarc_reject, ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if _, err := execute(t, "--sign", "unix:/s", "--verify", "unix:/s", "--keys", "/k"); err == nil || !strings.Contains(err.Error(), "--verify unix:/s is given twice") {
		t.Errorf("one socket for two: %v", err)
	}
	if text, err := execute(t, "--check", "--verify", "unix:/s", "--resolver", "192.0.2.53"); err != nil || text != "no key directory is given: nothing would be signed\n" {
		t.Errorf("a check without keys: %q %v", text, err)
	}
	if help, err := execute(t, "--help"); err != nil || !strings.Contains(help, "  dmarc_quarantine  DMARC fails, and the author's domain asks to quarantine\n") {
		t.Errorf("%v\n%s", err, help)
	}
}

func TestTheMilterVerifiesWithoutAKey(t *testing.T) {
	// To whom it asks, it makes no difference that this one knows all names by itself.
	zone, err := nameserver.ParseZone(".", `
example.org.        300 TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.example.org. 300 TXT "v=DMARC1; p=reject"
`)
	if err != nil {
		t.Fatal(err)
	}
	network, err := nameserver.Start(t.Context(), nameserver.Config{Servers: []nameserver.ServerConfig{{Addr: "127.0.0.1", Primary: []*nameserver.Zone{zone}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	socket := "unix:" + filepath.Join(t.TempDir(), "verify.sock")
	log := make(lines, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	cmd := newCommand(io.Discard, log)
	cmd.SetArgs([]string{"--verify", socket, "--resolver", network.Servers()[0].AddrPort().String(), "--http", "127.0.0.1:0", "--on-result", "dmarc_reject=reject"})
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	log.await("verifying listener")
	address := log.await("http listener")["address"].(string)
	for client, want := range map[string]string{"192.0.2.1": "", "192.0.2.2": "550 5.7.26 example.org asks to reject"} {
		reply, out, err := miltertest.Send(t.Context(), socket, miltertest.Message{
			Raw: []byte("From: a@example.org\r\n\r\nHi\r\n"), Client: netip.MustParseAddr(client), Sender: "<a@example.org>",
		})
		if err != nil || !strings.HasPrefix(reply.Text, want) || reply.Accepted != (want == "") {
			t.Errorf("%s: %+v %v\n%s", client, reply, err, out)
		}
	}
	for path, want := range map[string]string{
		"/readyz": "ok\n", "/metrics": `maildomain_milter_results_total{method="dmarc",result="pass"} 1`, "/metrics#dns": "maildomain_milter_dns_questions_total ",
	} {
		if text := get(t, "http://"+address+path); !strings.Contains(text, want) {
			t.Errorf("%s:\n%s", path, text)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s\n%s", response.Status, text)
}
