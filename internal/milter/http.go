// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// Report says which keys a table holds. Nothing private is in it.
func (t *Table) Report(now time.Time) keydir.Report {
	r := keydir.Report{Time: now, Read: t.Read, Blind: t.Blind, Faults: []keydir.ReportFault{}, Domains: []keydir.ReportDomain{}}
	for _, f := range t.Faults {
		r.Faults = append(r.Faults, keydir.ReportFault(f))
	}
	for _, e := range t.Entries() {
		d := keydir.ReportDomain{
			Domain: e.Domain.Domain.String(), State: e.state(), Required: e.Required, Subdomains: e.Subdomains,
			Since: e.Since, Fault: e.Fault, Keys: []keydir.ReportKey{},
		}
		for i, k := range e.Keys {
			d.Keys = append(d.Keys, keydir.ReportKey{
				Selector: k.Selector, Algorithm: k.Pair.Algorithm().SignatureName(),
				PublicKeySHA256: k.Pair.PublicKeySHA256(), Since: e.keySince[i], Unused: e.unused[k.Selector],
			})
		}
		r.Domains = append(r.Domains, d)
	}
	return r
}

// Ready says why the milter cannot do its work; empty if it can. A fault of one
// domain is that domain's: it is told, and the milter stays ready for the others.
func (s *Server) Ready(listeners int) string {
	switch t := s.cfg.Live.Table(); {
	case s.isDraining():
		return "shutting down"
	case s.Listening() < listeners:
		return fmt.Sprintf("%d of %d listeners are up", s.Listening(), listeners)
	case s.signs():
		return t.Blind
	}
	return ""
}

// Handler serves /healthz, /readyz, /keys and /metrics. listeners is how many listeners must be up.
func (s *Server) Handler(gatherer prometheus.Gatherer, listeners int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s.readyz(w, listeners)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(s.cfg.Live.Table().Report(s.cfg.Now()))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	return mux
}

func (s *Server) readyz(w http.ResponseWriter, listeners int) {
	var text bytes.Buffer
	status := http.StatusOK
	if why := s.Ready(listeners); why != "" {
		status = http.StatusServiceUnavailable
		fmt.Fprintf(&text, "not ready: %s\n", why)
	} else {
		text.WriteString("ok\n")
	}
	for _, f := range s.cfg.Live.Table().Faults {
		fmt.Fprintf(&text, "fault: %s: %s\n", f.Subject, f.Message)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes())
}
