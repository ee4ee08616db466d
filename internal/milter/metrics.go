// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
)

// Metrics are the numbers of one milter. Every label has a bounded set of
// values; the labels of keys that left the table are dropped.
type Metrics struct {
	messages    *prometheus.CounterVec
	signatures  *prometheus.CounterVec
	unsigned    *prometheus.CounterVec
	fragile     *prometheus.CounterVec
	latency     prometheus.Histogram
	connections prometheus.Gauge
	refused     prometheus.Counter
	evicted     prometheus.Counter
	displaced   prometheus.Counter
	protocol    *prometheus.CounterVec
	panics      prometheus.Counter
	reloads     *prometheus.CounterVec
	domains     *prometheus.GaugeVec
	results     *prometheus.CounterVec
	forged      prometheus.Counter
	judging     prometheus.Histogram

	mu     sync.Mutex
	series map[series]bool // of signatures
}

// series are the labels of one key.
type series struct{ domain, selector, algorithm string }

const namespace = "maildomain_milter"

// NewMetrics registers the metrics. now and live give the age of the key table when it is asked for.
func NewMetrics(registry prometheus.Registerer, policy Policy, live *Live, now func() time.Time) *Metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		registry.MustRegister(c)
		return c
	}
	m := &Metrics{
		messages:   counters("messages_total", "Messages by what was done and why.", "action", "reason"),
		signatures: counters("signatures_total", "Signatures by key.", "domain", "selector", "algorithm"),
		unsigned:   counters("unsigned_egress_total", "Messages of a domain that requires signatures, or that should have been judged, and left without one.", "reason"),
		fragile:    counters("fragile_messages_total", "Signed messages that a server further on may change, by what makes it do so.", "flaw"),
		protocol:   counters("protocol_errors_total", "Connections ended for what the peer said or did not say.", "kind"),
		reloads:    counters("key_reloads_total", "Readings of the key tree by result: ok, fault (of a domain or file), blind (nothing or not all could be read).", "result"),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "sign_duration_seconds", Help: "Time from the end of a message to its signatures.",
			Buckets: []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 4, 8, 16},
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "connections", Help: "Connections of MTAs that are open."}),
		refused:     prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "connections_refused_total", Help: "Connections closed because too many were open, and none of them was silent."}),
		displaced:   prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "connections_displaced_total", Help: "Silent connections closed because too many were open, and another came."}),
		evicted:     prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "connections_evicted_total", Help: "Connections closed because all together kept too much of headers (--memory)."}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "panics_total", Help: "Faults of the program that were caught."}),
		domains:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "domains", Help: "Domains of the key table by state: signing, keyless, stale (kept from an earlier reading), unread."}, []string{"state"}),
		results:     counters("results_total", "Messages judged, by method (dkim, spf, dmarc) and result (RFC 8601 §2.7). Of several signatures the best counts.", "method", "result"),
		forged:      prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "forged_results_total", Help: "Authentication-Results fields that came in under our own name, and were removed."}),
		judging: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "verify_duration_seconds", Help: "Time from the end of a message to its verdict; nearly all of it is the DNS.",
			Buckets: []float64{.001, .004, .016, .064, .256, 1, 4, 16},
		}),
		series: map[series]bool{},
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "key_table_age_seconds", Help: "Time since the key tree was last read; 0 before the first reading.",
	}, func() float64 {
		read := live.Table().Read
		if read.IsZero() {
			return 0
		}
		return now().Sub(read).Seconds()
	})
	failOpen := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "fail_open", Help: "1 if messages leave unsigned when signing fails (--on-failure=accept).",
	})
	if policy.AcceptFailures {
		failOpen.Set(1)
	}
	registry.MustRegister(m.latency, m.connections, m.refused, m.evicted, m.displaced, m.panics, m.domains, m.forged, m.judging, age, failOpen)
	m.begin()
	return m
}

// begin makes the series that alerts are built on exist at 0.
func (m *Metrics) begin() {
	m.messages.WithLabelValues(string(Sign), string(ReasonOurs))
	for _, r := range append(PolicyReasons(), ReasonNoTree, ReasonUnread, ReasonNoKey, ReasonKeyFailed, ReasonDeadline, ReasonHeaderTooLarge, ReasonInternal) {
		m.unsigned.WithLabelValues(string(r))
	}
	for _, f := range (mailauth.EightBit | mailauth.LongLine | mailauth.BareCR | mailauth.BareLF).Names() {
		m.fragile.WithLabelValues(f)
	}
}

// message counts one message that was answered.
func (m *Metrics) message(d Decision, flaws mailauth.Flaws) {
	m.messages.WithLabelValues(string(d.Action), string(d.Reason)).Inc()
	if d.Unsigned {
		m.unsigned.WithLabelValues(string(d.Reason)).Inc()
	}
	if d.Action != Sign {
		return
	}
	for _, name := range flaws.Names() {
		m.fragile.WithLabelValues(name).Inc()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range d.Entry.series() {
		m.series[s] = true
		m.signatures.WithLabelValues(s.domain, s.selector, s.algorithm).Inc()
	}
}

// series are the labels of the keys of a domain. Sub-domains count as the domain that signs for them.
func (e *Entry) series() []series {
	out := make([]series, len(e.keys))
	for i, k := range e.keys {
		out[i] = series{e.Domain.Domain.String(), k.Selector, k.Algorithm.SignatureName()}
	}
	return out
}

// Reloaded counts a reading of the key tree and drops the series of keys that are gone.
func (m *Metrics) Reloaded(t *Table) {
	switch {
	case t.Blind != "":
		m.reloads.WithLabelValues("blind").Inc()
	case len(t.Faults) > 0:
		m.reloads.WithLabelValues("fault").Inc()
	default:
		m.reloads.WithLabelValues("ok").Inc()
	}
	states := map[string]int{"signing": 0, "keyless": 0, "stale": 0, "unread": 0}
	live := map[series]bool{}
	for _, e := range t.entries {
		states[e.state()]++
		for _, s := range e.series() {
			live[s] = true
		}
	}
	for state, n := range states {
		m.domains.WithLabelValues(state).Set(float64(n))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.series {
		if !live[s] {
			delete(m.series, s)
			m.signatures.DeleteLabelValues(s.domain, s.selector, s.algorithm)
		}
	}
}

// state is the state of a domain for people and metrics.
func (e *Entry) state() string {
	switch {
	case e.Unread:
		return "unread"
	case e.Fault != "":
		return "stale"
	case len(e.keys) == 0:
		return "keyless"
	}
	return "signing"
}

// judged counts one message that was judged.
func (m *Metrics) judged(r ruling, v mailauth.Verdict, forged int, duration time.Duration) {
	m.messages.WithLabelValues(string(r.action), string(r.reason)).Inc()
	m.results.WithLabelValues("dkim", string(v.Signed().Result)).Inc()
	m.results.WithLabelValues("spf", string(v.Sent().Result)).Inc()
	m.results.WithLabelValues("dmarc", string(v.DMARC.Result)).Inc()
	m.forged.Add(float64(forged))
	m.judging.Observe(duration.Seconds())
}
