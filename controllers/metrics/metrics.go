// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics tells Prometheus how domains and keys stand. It keeps nothing: each scrape lists what is in the
// cache, so that the numbers are those of the API server, and the series of what was deleted end by themselves.
//
// One object has at most one series of each metric, and its name is among the labels: nothing that tenants write makes
// two series alike, which would fail the whole scrape.
package metrics

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// patience bounds one listing; the cache answers at once, once it is filled.
const patience = 5 * time.Second

// Collector lists MailDomains and DKIMKeys whenever it is scraped.
type Collector struct {
	Objects client.Reader
	Clock   clock.PassiveClock
}

// gauge is one metric of an object. A value that does not exist has no series: there is no time that means never.
type gauge[T any] struct {
	*prometheus.Desc

	value func(of T, now time.Time) (value float64, exists bool)
}

// What the series are told apart by. The name is that of the object.
var (
	domainLabels = []string{"namespace", "name", "domain"}
	keyLabels    = []string{"namespace", "name", "domain", "selector", "algorithm"}
)

func ofDomain(name, help string, value func(domain, time.Time) (float64, bool)) gauge[domain] {
	return gauge[domain]{prometheus.NewDesc("maildomain_"+name, help, domainLabels, nil), value}
}

func ofKey(name, help string, value func(*v1alpha1.DKIMKey, time.Time) (float64, bool)) gauge[*v1alpha1.DKIMKey] {
	return gauge[*v1alpha1.DKIMKey]{prometheus.NewDesc("maildomain_dkim_key_"+name, help, keyLabels, nil), value}
}

// The metrics. docs/metrics.md explains them; a test compares.
var (
	phase = prometheus.NewDesc("maildomain_dkim_key_phase",
		"1 for the phase in which the key is: Pending, Publishing, Standby, Signing, Retiring or Revoked.", slices.Concat(keyLabels, []string{"phase"}), nil)

	keyGauges = []gauge[*v1alpha1.DKIMKey]{
		ofKey("created_timestamp_seconds", "When the DKIMKey was made.", created),
		ofKey("signing_since_timestamp_seconds", "Since when the key signs; only while it does.", signingSince),
		ofKey("record_verified", "1 if every authoritative server answers the key's record as it should be, 0 if not.", recordVerified),
		ofKey("stuck_since_timestamp_seconds", "Since when the key has not come further; only while that is too long or needs a person.", keyStuckSince),
	}
	domainGauges = []gauge[domain]{
		ofDomain("rotation_next_timestamp_seconds", "When the next rotation begins; only where one is planned.", nextRotation),
		ofDomain("rotation_last_success_timestamp_seconds", "When a new key last began to sign in place of another one.", lastRotation),
		ofDomain("rotation_stuck_since_timestamp_seconds", "Since when a rotation that is due, or the key for the next one, has not come further; only while it is stuck.", rotationStuckSince),
		ofDomain("removal_held", "1 if the domain's records are to go together with so many others that a person has to agree first, 0 if not.", removalHeld),
		ofDomain("spf_lookups_left", "DNS lookups that are left of 10 for the SPF record with all that it includes; below 0 receivers answer permerror. Only once somebody has looked.", spfLookupsLeft),
		ofDomain("spf_void_lookups_left", "DNS lookups without an answer that are left of 2 for the SPF record with all that it includes; below 0 receivers answer permerror. Only once somebody has looked.", spfVoidLookupsLeft),
		ofDomain("spf_permerror", "1 if receivers give the SPF record up: beyond a limit, or for a record that it includes, 0 if not. Only once somebody has looked.", spfPermError),
		ofDomain("mail_held", "1 if signers hold the mail of the domain (451) because no usable key is left, 0 if not.", mailHeld),
	}
)

// Describe names every metric.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	out <- phase
	for _, g := range keyGauges {
		out <- g.Desc
	}
	for _, g := range domainGauges {
		out <- g.Desc
	}
}

// Collect lists and counts. What could not be listed fails the scrape, for unknown is not absent.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var keys v1alpha1.DKIMKeyList
	var domains v1alpha1.MailDomainList
	for _, list := range []client.ObjectList{&keys, &domains} {
		// Nothing is changed here: a thousand domains need not be copied for each scrape.
		if err := c.Objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			out <- prometheus.NewInvalidMetric(phase, fmt.Errorf("list %T for metrics: %w", list, err))
			return
		}
	}
	now := c.Clock.Now()
	ofDomain := map[owner][]*v1alpha1.DKIMKey{}
	for i := range keys.Items {
		k := &keys.Items[i]
		of := owner{k.Namespace, asciiName(k.Spec.Domain)}
		ofDomain[of] = append(ofDomain[of], k)
		labels := []string{k.Namespace, k.Name, of.domain, k.Spec.Selector, string(k.Spec.Algorithm)}
		send(out, keyGauges, k, now, labels)
		if k.Status.Phase != "" {
			out <- prometheus.MustNewConstMetric(phase, prometheus.GaugeValue, 1, append(labels, string(k.Status.Phase))...)
		}
	}
	for i := range domains.Items {
		d := &domains.Items[i]
		of := owner{d.Namespace, asciiName(d.Spec.Domain)}
		send(out, domainGauges, domain{d, ofDomain[of]}, now, []string{d.Namespace, d.Name, of.domain})
	}
}

// owner is what keys and the MailDomain of a domain have in common.
type owner struct{ namespace, domain string }

func send[T any](out chan<- prometheus.Metric, gauges []gauge[T], of T, now time.Time, labels []string) {
	for _, g := range gauges {
		if value, exists := g.value(of, now); exists {
			out <- prometheus.MustNewConstMetric(g.Desc, prometheus.GaugeValue, value, labels...)
		}
	}
}

// asciiName is the domain as it stands in the DNS and in the milter's metrics; as it was written where it is none.
func asciiName(written v1alpha1.DomainName) string {
	name, err := dnsrecord.ParseDomain(written)
	if err != nil {
		return written
	}
	return name.String()
}
