// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package linode is the part of Linode's API v4 that DNS needs, in the process and with its semantics: pages, filters in a
// header, records with ids of their own, text without quotation marks, TTLs that are rounded to those that Linode has.
//
// Sources: the reference at techdocs.akamai.com/linode-api, and linodego.
package linode

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

const recordsPerPage = 100

// Record is one record as the API has it; the apex has the name "".
type Record struct {
	ID       int     `json:"id"`
	Type     string  `json:"type"`
	Name     string  `json:"name"`
	Target   string  `json:"target"`
	Priority int     `json:"priority"`
	Weight   int     `json:"weight"`
	Port     int     `json:"port"`
	Service  *string `json:"service"`
	Protocol *string `json:"protocol"`
	TTL      int     `json:"ttl_sec"`
}

// Server is one account.
type Server struct {
	*webapi.API
	token string

	mu      sync.Mutex
	domains []*domain
	serial  int
}

type domain struct {
	id      int
	name    string
	records []Record
}

// New returns an account with these zones.
func New(token string, zones ...string) *Server {
	s := &Server{token: token}
	for _, z := range zones {
		s.serial++
		s.domains = append(s.domains, &domain{id: s.serial, name: z})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v4/domains", s.handle(s.listDomains))
	mux.HandleFunc("GET /v4/domains/{domain}/records", s.handle(s.listRecords))
	mux.HandleFunc("POST /v4/domains/{domain}/records", s.handle(s.addRecord))
	mux.HandleFunc("DELETE /v4/domains/{domain}/records/{record}", s.handle(s.deleteRecord))
	s.API = &webapi.API{
		Handler:   mux,
		Operation: func(r *http.Request) string { return r.Method },
		Throttled: func(w http.ResponseWriter, _ time.Duration) {
			send(w, problem{http.StatusTooManyRequests, "Too many requests"})
		},
	}
	return s
}

// Put adds a record as a person would.
func (s *Server) Put(zone string, r Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[slices.IndexFunc(s.domains, func(d *domain) bool { return d.name == zone })]
	s.add(d, r)
}

// Records are all records of a zone.
func (s *Server) Records(zone string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.domains {
		if d.name == zone {
			return slices.Clone(d.records)
		}
	}
	return nil
}

func (s *Server) add(d *domain, r Record) Record {
	s.serial++
	r.ID, r.TTL = s.serial, rounded(r.TTL)
	d.records = append(d.records, r)
	return r
}

// rounded is the TTL that Linode has for one that is asked for: the next of its own.
func rounded(ttl int) int {
	for _, own := range []int{300, 3600, 7200, 14400, 28800, 57600, 86400, 172800, 345600, 604800, 1209600} {
		if ttl <= own {
			return own
		}
	}
	return 2419200
}

type problem struct {
	status int
	reason string
}

func send(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if p, ok := answer.(problem); ok {
		w.WriteHeader(p.status)
		answer = map[string]any{"errors": []map[string]string{{"reason": p.reason}}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *Server) handle(f func(*http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+s.token {
			send(w, problem{http.StatusUnauthorized, "Invalid Token"})
			return
		}
		send(w, f(r))
	}
}

// paged answers with the page that was asked for.
func paged[T any](r *http.Request, all []T) any {
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	page = max(page, 1)
	from, to := min((page-1)*recordsPerPage, len(all)), min(page*recordsPerPage, len(all))
	return map[string]any{"data": append([]T{}, all[from:to]...), "page": page, "pages": max(1, (len(all)+recordsPerPage-1)/recordsPerPage), "results": len(all)}
}

func (s *Server) listDomains(r *http.Request) any {
	var filter struct {
		Domain string `json:"domain"`
	}
	if text := r.Header.Get("X-Filter"); text != "" {
		if err := json.Unmarshal([]byte(text), &filter); err != nil {
			return problem{http.StatusBadRequest, "Cannot filter on this"}
		}
	}
	var all []map[string]any
	for _, d := range s.domains {
		if filter.Domain == "" || filter.Domain == d.name {
			all = append(all, map[string]any{"id": d.id, "domain": d.name, "type": "master", "status": "active"})
		}
	}
	return paged(r, all)
}

// find is the zone of a request.
func (s *Server) find(r *http.Request) (*domain, any) {
	for _, d := range s.domains {
		if strconv.Itoa(d.id) == r.PathValue("domain") {
			return d, nil
		}
	}
	return nil, problem{http.StatusNotFound, "Not found"}
}

func (s *Server) listRecords(r *http.Request) any {
	d, wrong := s.find(r)
	if wrong != nil {
		return wrong
	}
	return paged(r, d.records)
}

func (s *Server) addRecord(r *http.Request) any {
	d, wrong := s.find(r)
	if wrong != nil {
		return wrong
	}
	var rec Record
	if err := json.NewDecoder(r.Body).Decode(&rec); err != nil {
		return problem{http.StatusBadRequest, fmt.Sprint("not JSON: ", err)}
	}
	if rec.Type == "TXT" && (rec.Target == "" || strings.ContainsFunc(rec.Target, func(c rune) bool { return c < ' ' })) {
		return problem{http.StatusBadRequest, "Invalid TXT record"}
	}
	return s.add(d, rec)
}

func (s *Server) deleteRecord(r *http.Request) any {
	d, wrong := s.find(r)
	if wrong != nil {
		return wrong
	}
	before := len(d.records)
	d.records = slices.DeleteFunc(d.records, func(rec Record) bool { return strconv.Itoa(rec.ID) == r.PathValue("record") })
	if len(d.records) == before {
		return problem{http.StatusNotFound, "Not found"}
	}
	return struct{}{}
}
