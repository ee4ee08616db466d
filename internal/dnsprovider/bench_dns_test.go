// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"
	theirroute53 "github.com/libdns/route53"
	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/cloudflare"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

// domains is how many domains of one zone are brought up: two RSA keys of 2048 bits, SPF and DMARC each. `make bench-dns`
// takes 500; 50 are enough to see that calls do not grow with records.
var domains, route53Budget, updatesBudget = size()

// size returns the domains, and the budgets of their bring-up in calls of every kind: lists, polls and markers, too.
func size() (domains, route53, updates int) {
	if os.Getenv("BENCH_DNS") != "" {
		return 500, 60, 60
	}
	return 50, 30, 15
}

func mailDomain(i int) dnsrecord.Name { return dnsrecord.Name(fmt.Sprintf("d%03d.example.org", i)) }

func wanted(name dnsrecord.Name, kind dnsplan.Kind, value string) dnsplan.Wish {
	return dnsplan.Wish{Name: name, Type: dnsrecord.TXT, Kind: kind, Value: value, TTL: 300, Adoption: dnsplan.Never}
}

// mailWishes are what the MailDomain itself publishes.
func mailWishes(i int) []dnsplan.Wish {
	d := mailDomain(i)
	return []dnsplan.Wish{wanted(d, dnsplan.SPF, "v=spf1 mx -all"), wanted(d.Child("_dmarc"), dnsplan.Exclusive, "v=DMARC1; p=none; rua=mailto:dmarc@example.org")}
}

func keyWish(i int, selector string) dnsplan.Wish {
	return wanted(mailDomain(i).Child(selector+"._domainkey"), dnsplan.Exclusive, dkim2048)
}

// load submits what the objects of all domains want, as the controllers do: one submission for each object.
type load struct {
	t  *testing.T
	q  *dnsprovider.Queue
	by map[dnsprovider.Owner]dnsprovider.Submission
}

func (l *load) submit(i int, kind, name string, wishes ...dnsplan.Wish) {
	s := dnsprovider.Submission{
		Owner:    dnsprovider.Owner{Kind: kind, Namespace: "mail", Name: fmt.Sprintf("d%03d-%s", i, name)},
		Provider: testProvider, Zone: "example.org", Domain: mailDomain(i), Wishes: wishes,
	}
	l.by[s.Owner] = s
	l.q.Submit(s)
}

func (l *load) bringUp() {
	for i := range domains {
		l.submit(i, "MailDomain", "mail", mailWishes(i)...)
		l.submit(i, "DKIMKey", "r1", keyWish(i, "r1"))
		l.submit(i, "DKIMKey", "r2", keyWish(i, "r2"))
	}
}

// rotate publishes two new keys for each domain.
func (l *load) rotate() {
	for i := range domains {
		l.submit(i, "DKIMKey", "r3", keyWish(i, "r3"))
		l.submit(i, "DKIMKey", "r4", keyWish(i, "r4"))
	}
}

// retire removes the two old ones.
func (l *load) retire() {
	for i := range domains {
		for _, selector := range []string{"r1", "r2"} {
			w := keyWish(i, selector)
			w.Value, w.Ours = "", []string{w.Value}
			l.submit(i, "DKIMKey", selector, w)
		}
	}
}

func (l *load) settled() (open int) {
	for owner, s := range l.by {
		r, ok := l.q.Result(owner)
		if !ok || r.Fingerprint != s.Fingerprint() || !r.Settled() {
			open++
		}
	}
	return open
}

// phases runs the three in the time of a bubble, and returns what each added to count.
func (l *load) phases(count func() int) (calls []int) {
	before := 0
	for _, phase := range []func(){l.bringUp, l.rotate, l.retire} {
		phase()
		for minutes := 0; l.settled() > 0; minutes++ {
			if minutes == 120 {
				l.t.Fatalf("%d submissions are open after two hours", l.settled())
			}
			pass(time.Minute)
		}
		calls = append(calls, count()-before)
		before = count()
	}
	return calls
}

func TestCallsThatDomainsCost(t *testing.T) {
	var r53, cf []int
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	synctest.Test(t, func(t *testing.T) {
		server := route53.New(accessKeyID, "example.org")
		server.Propagation = 30 * time.Second
		server.Now = time.Now //nolint:forbidigo // the time of the bubble
		l := &load{t, startQueue(t, openRoute53Account(t, server)), map[dnsprovider.Owner]dnsprovider.Submission{}}
		r53 = l.phases(func() int { return server.Calls()[""] })
		t.Logf("Route 53: %v", server.Calls())
	})
	synctest.Test(t, func(t *testing.T) {
		server := cloudflare.New(cloudflareToken, "example.org")
		l := &load{t, startQueue(t, openCloudflareAccount(t, server)), map[dnsprovider.Owner]dnsprovider.Submission{}}
		cf = l.phases(func() int { return server.Calls()[""] })
		t.Logf("Cloudflare: %v", server.Calls())
	})
	updates, queries := updatesFor(t)
	floor := route53Floor()
	if r53[0] > route53Budget || r53[0] < floor {
		t.Errorf("%d calls of Route 53 for the bring-up: at least %d are needed, at most %d wanted", r53[0], floor, route53Budget)
	}
	if updates > updatesBudget {
		t.Errorf("%d updates for the bring-up, at most %d wanted", updates, updatesBudget)
	}
	say("route53_rotation_calls %d", r53[1]+r53[2])
	say("cloudflare_rotation_calls %d", cf[1]+cf[2])
	say("rfc2136_queries %d", queries)
	say("route53_calls %d", r53[0])
	say("route53_floor %d", floor)
	say("rfc2136_messages %d", updates)
	say("cloudflare_calls %d", cf[0])
	say("libdns_direct_route53_calls %d", libdnsDirectly(t))
	for _, line := range lines {
		fmt.Println(line) //nolint:forbidigo // what the benchmark is for
	}
}

// route53Floor is what Route 53's limits ask for, whatever is done: the records' characters and the markers' in full
// batches, one poll for the last of them, one lookup of the zone, one list before, and the pages of the whole zone after.
func route53Floor() int {
	characters := 0
	for i := range domains {
		for _, w := range append(mailWishes(i), keyWish(i, "r1"), keyWish(i, "r2")) {
			characters += len(dnsrecord.FormatTXT(w.Value))
		}
	}
	pages := (5*domains + 299) / 300 // four records and a marker for each domain
	return (characters+route53.MaxCharacters-1)/route53.MaxCharacters + 1 + 1 + 1 + 1 + pages
}

// updatesFor brings the domains up at a server that takes updates, and counts its messages.
func updatesFor(t *testing.T) (updates, queries int) {
	t.Helper()
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE="
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{
		Keys:  []nameserver.Key{{Name: "operator", Secret: secret, Allow: func(_ string, rrtype uint16) bool { return rrtype == dns.TypeTXT }}},
		Sites: []nameserver.Site{{Zone: "example.org", Addrs: []string{"127.0.0.3"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	server := world.Server("127.0.0.3")
	spec := v1alpha1.DNSProviderSpec{
		RFC2136: &v1alpha1.RFC2136{Server: server.AddrPort().String(), TSIG: &v1alpha1.TSIG{
			KeyName: "operator", SecretRef: v1alpha1.SecretKeyRef{Name: "tsig", Key: "secret"},
		}},
		RateLimit: &v1alpha1.RateLimit{RequestsPerSecond: 1000, Burst: 1000},
	}
	account, err := dnsprovider.Open(t.Context(), spec, dnsprovider.OpenOptions{Secrets: secretsAre(map[string]string{"secret": secret}), Now: time.Now}) //nolint:forbidigo // TSIG
	if err != nil {
		t.Fatal(err)
	}
	l := &load{t, startQueue(t, account), map[dnsprovider.Owner]dnsprovider.Submission{}}
	l.bringUp()
	for patience := 0; l.settled() > 0; patience++ {
		if patience == 6000 {
			t.Fatalf("%d submissions are open", l.settled())
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // until a real server has answered; no bound is asserted
	}
	return server.Updates(), server.Queries("", dns.TypeANY)
}

// libdnsDirectly does the same record by record.
func libdnsDirectly(t *testing.T) int {
	t.Helper()
	server := route53.New(accessKeyID, "example.org")
	url, stop := server.Listen()
	defer stop()
	t.Setenv("AWS_ENDPOINT_URL_ROUTE_53", url)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	p := &theirroute53.Provider{Region: "us-east-1", AccessKeyId: accessKeyID, SecretAccessKey: "secret", MaxRetries: 1}
	for i := range domains {
		for _, w := range append(mailWishes(i), keyWish(i, "r1"), keyWish(i, "r2")) {
			name, _ := w.Name.RelativeTo("example.org")
			if _, err := p.SetRecords(t.Context(), "example.org.", []libdns.Record{libdns.TXT{Name: name, Text: w.Value, TTL: 5 * time.Minute}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return server.Calls()[""]
}
