// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	theirrfc2136 "github.com/libdns/rfc2136"
	theirroute53 "github.com/libdns/route53"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

// Data races are for the race detector to see, which ends the process: the module runs in one of its own.
func TestFirstCallsOfLibdnsRoute53Race(t *testing.T) {
	if !raceDetector {
		t.Skip("the race detector is off: make test has it on")
	}
	server := route53.New(accessKeyID, "example.org")
	if os.Getenv("RACE") != "" {
		p := &theirroute53.Provider{Region: "us-east-1", AccessKeyId: accessKeyID, SecretAccessKey: "secret", MaxRetries: 1}
		together(func() { _, _ = p.GetRecords(t.Context(), "example.org.") })
		return
	}
	url, stop := server.Listen()
	defer stop()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFirstCallsOfLibdnsRoute53Race$")
	child.Env = append(os.Environ(), "RACE=1", "AWS_ENDPOINT_URL_ROUTE_53="+url, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATA RACE") || !strings.Contains(string(out), "libdns/route53") {
		t.Errorf("libdns/route53 shows no fault: is it cured there? %v\n%s", err, out)
	}
	d := openRoute53(t, server)
	together(func() { _, _ = d.Zone("example.org").Read(t.Context(), nil) }) // a race ends this test
}

func together(f func()) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(f)
	}
	wg.Wait()
}

// endless is a name server that answers a transfer with one record after the other, for ever, and nothing else. It tells
// of each record that it sent.
func endless(t *testing.T) (addr string, sent <-chan struct{}) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	over := make(chan struct{})
	server := &dns.Server{Listener: listener, TsigSecret: map[string]string{"operator.": "c2VjcmV0"}, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		if req.Question[0].Qtype != dns.TypeAXFR {
			<-over
			return
		}
		records := make(chan *dns.Envelope)
		gone := make(chan struct{})
		go func() { defer close(gone); _ = new(dns.Transfer).Out(w, req, records) }()
		rr, _ := dns.NewRR("example.org. 60 IN SOA ns1.example.org. h.example.org. 1 2 3 4 5")
		for {
			select {
			case records <- &dns.Envelope{RR: []dns.RR{rr}}:
			case <-gone:
				return
			}
			rr, _ = dns.NewRR(`x.example.org. 60 IN TXT "once more"`)
			select {
			case told <- struct{}{}:
			case <-over:
				close(records)
				return
			}
		}
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { close(over); _ = server.Shutdown() })
	return listener.Addr().String(), told
}

// goesOn tells whether the call is still reading long after its context has ended.
func goesOn(t *testing.T, sent <-chan struct{}, call func(context.Context)) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan struct{})
	go func() { defer close(returned); call(ctx) }()
	cancelled := false
	for records := 0; ; records++ {
		select {
		case <-returned:
			return false
		case <-sent:
		case <-time.After(100 * time.Millisecond): // nothing is sent
		}
		if records == 10 {
			cancel()
			cancelled = true
		}
		if cancelled && records > 10+patientReads {
			return true
		}
	}
}

// patientReads is how much may be read after the end before it counts: a slow machine is no fault.
const patientReads = 2000

func TestTransfersOfLibdnsRFC2136IgnoreTheirContext(t *testing.T) {
	addr, sent := endless(t)
	theirs := &theirrfc2136.Provider{Server: addr, KeyName: "operator", KeyAlg: "hmac-sha256", Key: "c2VjcmV0"}
	if !goesOn(t, sent, func(ctx context.Context) { _, _ = theirs.GetRecords(ctx, "example.org.") }) {
		t.Error("libdns/rfc2136 shows no fault: is it cured there?")
	}
	addr, sent = endless(t)
	account, err := dnsprovider.Open(t.Context(), v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{Server: addr}}, dnsprovider.OpenOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	zone := account.Driver.Zone("example.org")
	question := dnsprovider.Question{Name: "x.example.org", Type: "TXT"}
	if goesOn(t, sent, func(ctx context.Context) { _, _ = zone.Read(ctx, []dnsprovider.Question{question}) }) {
		t.Error("our driver goes on, too")
	}
}
