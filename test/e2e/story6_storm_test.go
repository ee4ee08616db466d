// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
)

const (
	stormNamespace = "storm"
	stormDomains   = 10
	stormKills     = 33
	// A manager lives this long: long enough to write, too short to finish.
	shortestLife, longestLife = 600 * time.Millisecond, 2400 * time.Millisecond
)

// stormDomain names the domain n and its zone: half of them share one.
func stormDomain(n int) (domain, zone string) {
	if n < stormDomains/2 {
		return fmt.Sprintf("d%d.storm.example", n), "storm.example"
	}
	return fmt.Sprintf("storm%d.example", n), fmt.Sprintf("storm%d.example", n)
}

func stormZones() []string {
	var names []string
	for n := range stormDomains {
		_, zone := stormDomain(n)
		names = append(names, zone)
	}
	return slices.Compact(names)
}

// TestTenDomainsComeUpThroughAStormOfKills: the manager is killed again and
// again, every other time at any moment, and else in the very moment in which
// BIND took a write that no status tells of yet. In the end all is as without:
// one key pair and one record per selector, and nothing that nobody accounts for.
func TestTenDomainsComeUpThroughAStormOfKills(t *testing.T) {
	e := get(t)
	before := map[string][]string{}
	for _, zone := range stormZones() {
		records, err := bind.Transfer(t.Context(), zone)
		if err != nil {
			t.Fatal(err)
		}
		before[zone] = records
	}
	if err := e.Provider(t.Context(), stormNamespace, "bind", bind.Primary, e.DNS.Secret); err != nil {
		t.Fatal(err)
	}

	seed := uint64(time.Now().UnixNano())
	e.tell(t, "seed %d", seed)
	e.storm(t, rand.New(rand.NewPCG(seed, 0)))
	if err := e.StartManager(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.tell(t, "the manager lives: pid %d", e.Manager.PID())

	var domains []*v1alpha1.MailDomain
	for n := range stormDomains {
		domains = append(domains, e.mailDomain(t, stormNamespace, fmt.Sprintf("storm%d", n), "Ready and at rest", func(d *v1alpha1.MailDomain) bool {
			return ready(d) && signs(d, v1alpha1.AlgorithmRSA, v1alpha1.AlgorithmEd25519) && atRest(d) && len(d.Status.Keys) == 4
		}))
	}
	e.tell(t, "all %d domains are Ready", len(domains))
	e.auditSecrets(t)
	e.auditZones(t, before, domains)
}

// storm kills the manager again and again while domain after domain is asked for.
func (e *environment) storm(t *testing.T, random *rand.Rand) {
	t.Helper()
	var pids []int
	writes := 0
	for kill := range stormKills {
		if n := kill / 3; kill%3 == 0 && n < stormDomains {
			domain, _ := stormDomain(n)
			manifest := fmt.Sprintf(`apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: storm%d, namespace: %s}
spec:
  domain: %s
  providerRef: {name: bind}
  dkim: {keys: [{algorithm: RSA}, {algorithm: Ed25519}], signingSecretName: storm-signing}
  spf: {mechanisms: [mx]}
  dmarc: {policy: None}
`, n, stormNamespace, domain)
			if err := e.ApplyManifest(t.Context(), manifest); err != nil {
				t.Fatal(err)
			}
		}
		life := shortestLife + time.Duration(random.Int64N(int64(longestLife-shortestLife)))
		if kill%2 == 0 {
			writes += e.afterWrite(t, stormZones(), longestLife, time.Duration(random.Int64N(int64(20*time.Millisecond))))
		} else {
			e.live(t, life)
		}
		pids = append(pids, e.Manager.PID())
		e.Manager.Kill()
		if err := e.LaunchManager(); err != nil {
			t.Fatal(err)
		}
	}
	pids = append(pids, e.Manager.PID())
	e.Manager.Kill()
	e.tell(t, "killed by SIGKILL: %v (%d managers, %d of them just after a write)", pids, len(pids), writes)
	var keys v1alpha1.DKIMKeyList
	if err := e.List(t.Context(), &keys, client.InNamespace(stormNamespace)); err != nil {
		t.Fatal(err)
	}
	e.tell(t, "at the end of the storm there are %d of %d keys", len(keys.Items), 4*stormDomains)
}

// live lets the manager live for a while.
func (e *environment) live(t *testing.T, life time.Duration) {
	t.Helper()
	select {
	case <-time.After(life):
	case <-e.Manager.Ended():
		t.Fatalf("the manager ended by itself:\n%s", e.Manager.Tail(30))
	}
}

// afterWrite returns a moment after BIND has taken an update of one of the
// zones, or when limit has passed, and how many updates it has seen: 1 or 0.
func (e *environment) afterWrite(t *testing.T, zones []string, limit, moment time.Duration) int {
	t.Helper()
	end := time.After(limit)
	before := serials(t, zones)
	for {
		if !slices.Equal(before, serials(t, zones)) {
			e.live(t, moment)
			return 1
		}
		select {
		case <-end:
			return 0
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// serials are those of zones at the primary, asked for without a process for each.
func serials(t *testing.T, zones []string) []uint32 {
	t.Helper()
	var all []uint32
	for _, zone := range zones {
		question := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
		answer, err := dns.ExchangeContext(t.Context(), question, netip.AddrPortFrom(bind.Primary, 53).String())
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range answer.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				all = append(all, soa.Serial)
			}
		}
	}
	return all
}

// auditSecrets holds keys and Secrets against each other: one for one, the same key pair.
func (e *environment) auditSecrets(t *testing.T) {
	t.Helper()
	var keys v1alpha1.DKIMKeyList
	var secrets corev1.SecretList
	if err := e.List(t.Context(), &keys, client.InNamespace(stormNamespace)); err != nil {
		t.Fatal(err)
	}
	if err := e.List(t.Context(), &secrets, client.InNamespace(stormNamespace)); err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{"storm-signing": "signing", "bind-tsig": ""}, map[string]string{}
	for _, k := range keys.Items {
		if _, twice := want[k.Status.PrivateKeySecretName]; twice {
			t.Errorf("two keys have Secret %s", k.Status.PrivateKeySecretName)
		}
		want[k.Status.PrivateKeySecretName] = k.Status.PublicKeySHA256
	}
	for _, s := range secrets.Items {
		switch s.Labels[v1alpha1.LabelSecret] {
		case v1alpha1.SecretPrivateKey:
			pair, err := dkim.ParsePEM(s.Data[v1alpha1.PrivateKeyEntry])
			if err != nil {
				t.Errorf("Secret %s: %v", s.Name, err)
				continue
			}
			got[s.Name] = pair.PublicKeySHA256()
		default:
			got[s.Name] = s.Labels[v1alpha1.LabelSecret]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DKIMKeys (-) and Secrets (+) are not one for one:\n%s", diff)
	}
	e.tell(t, "%d DKIMKeys, %d private-key Secrets, one for one", len(keys.Items), len(got)-2)
}

// auditZones accounts for every record of the zones: it was there before, or an object's status has it, and the marker of its domain lists it.
func (e *environment) auditZones(t *testing.T, before map[string][]string, domains []*v1alpha1.MailDomain) {
	t.Helper()
	wanted := map[string]string{} // "name value" by domain
	digests := map[string][]string{}
	for _, d := range domains {
		for _, r := range d.Status.Records {
			wanted[r.Name+" "+r.Value] = d.Spec.Domain
			digests[d.Spec.Domain] = append(digests[d.Spec.Domain], dnsplan.Digest(dnsrecord.Name(r.Name), dnsrecord.TXT, r.Value))
		}
	}
	count := 0
	for zone, old := range before {
		now, err := bind.Transfer(t.Context(), zone)
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for _, line := range now {
			if slices.Contains(old, line) {
				kept = append(kept, line)
				continue
			}
			fields := strings.Fields(line)
			name, value := strings.TrimSuffix(fields[0], "."), texts(strings.Join(fields[4:], " "))[0]
			if domain, isMarker := strings.CutPrefix(name, "_maildomain."); isMarker {
				marker, err := dnsplan.ParseMarker(value)
				slices.Sort(digests[domain])
				if diff := cmp.Diff(digests[domain], marker.Digests); err != nil || diff != "" {
					t.Errorf("status (-) and marker (+) of %s differ: %v\n%s", domain, err, diff)
				}
				continue
			}
			if wanted[name+" "+value] == "" {
				t.Errorf("nobody accounts for %s", line)
			}
			delete(wanted, name+" "+value)
			count++
		}
		if diff := cmp.Diff(old, kept); diff != "" {
			t.Errorf("records of others in %s changed (-before +after):\n%s", zone, diff)
		}
	}
	for record := range wanted {
		t.Errorf("BIND lacks %s", record)
	}
	e.tell(t, "%d records in %d zones, each accounted for by a status and a marker; what was there before is unchanged", count, len(before))
}
