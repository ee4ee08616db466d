// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

const operatorsKey = "AKIAIOSFODNN7EXAMPLE"

// serve shows in the DNS what an account of Route 53 holds, as its name servers do.
func (b *bench) serve(account *route53.Server, zone string) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		shown := map[string]string{}
		for ctx.Err() == nil {
			now := map[string]string{}
			for _, s := range account.Sets(zone) {
				for _, v := range s.Values {
					now[s.Name] += fmt.Sprintf("%s %d IN %s %s\n", s.Name, s.TTL, s.Type, v)
				}
			}
			for name := range shown {
				if _, ok := now[name]; !ok {
					_ = b.world.Zone(zone).Remove(name, dns.TypeTXT)
					delete(shown, name)
				}
			}
			for name, text := range now {
				if shown[name] != text {
					_ = b.world.Zone(zone).Replace(name, dns.TypeTXT, text)
					shown[name] = text
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
}

// A ClusterDNSProvider without credentials is the operator itself to the cloud; a DNSProvider may not be.
func TestADomainComesToReadyAtRoute53AsTheOperatorItself(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": operatorsKey, "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ROLE_ARN": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CA_BUNDLE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	const zone = "example.org"
	account := route53.New(operatorsKey, zone)
	account.Put(zone, route53.Set{Name: zone, Type: "TXT", TTL: 2, Values: []string{`"site-verification=abc; \"quoted\""`}})
	b := newBench(t, zone)
	b.serve(account, zone)
	b.restart(func(s *controllers.Settings) { s.Providers.Transport = account })

	limit := &v1alpha1.RateLimit{RequestsPerSecond: 500, Burst: 1000}
	tenant := &v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: b.namespace},
		Spec:       v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{}},
	}
	if err := b.Create(t.Context(), tenant); err == nil || !strings.Contains(err.Error(), "the identity of the operator's pod is for a ClusterDNSProvider alone") {
		t.Errorf("a tenant as the operator: %v", err)
	}
	cluster := &v1alpha1.ClusterDNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: "route53-" + b.namespace},
		Spec: v1alpha1.ClusterDNSProviderSpec{
			DNSProviderSpec: v1alpha1.DNSProviderSpec{TTLSeconds: 60, Route53: &v1alpha1.Route53{}, RateLimit: limit},
			Grants:          []v1alpha1.Grant{{NamespaceSelector: v1alpha1.LabelSelector{}, Domains: []v1alpha1.GrantedDomain{zone}}},
		},
	}
	b.create(cluster)
	d := b.domain(zone, func(d *v1alpha1.MailDomain) {
		d.Spec.ProviderRef = v1alpha1.ProviderRef{Kind: v1alpha1.ProviderKindClusterDNSProvider, Name: cluster.Name}
	})
	b.awaitReady(cluster)
	b.awaitReady(d)

	apex := slices.IndexFunc(account.Sets(zone), func(s route53.Set) bool { return s.Name == zone+"." && s.Type == "TXT" })
	if got := account.Sets(zone)[apex].Values; !slices.Contains(got, `"site-verification=abc; \"quoted\""`) || !slices.Contains(got, `"v=spf1 mx ~all"`) || len(got) != 2 {
		t.Errorf("the apex holds %q", got)
	}
	b.awaitTXT("_dmarc.example.org", record(d, v1alpha1.PurposeDMARC).Value)
	t.Logf("calls of Route 53: %v", account.Calls())
}
