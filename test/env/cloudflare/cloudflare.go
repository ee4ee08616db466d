// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cloudflare is the part of Cloudflare's API v4 that DNS needs, in the process and with its semantics: tokens,
// pages, TXT content in quotation marks that is cut at 255 octets, no two equal records, batches that are all or nothing.
//
// Sources: the reference at developers.cloudflare.com/api and what libdns/cloudflare met and wrote down.
package cloudflare

import (
	"crypto/sha256"
	"encoding/hex"
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

// BaseURL is where the API is, as clients have it.
const BaseURL = "https://api.cloudflare.com/client/v4"

// Limits of the API.
const (
	zonesPerPage      = 20
	maxZonesPerPage   = 50
	recordsPerPage    = 100
	maxRecordsPerPage = 5_000_000
	// BatchLimit is how many records one batch may change in a zone of the free plan.
	BatchLimit = 200
	// contentLimit is the longest content of a TXT record.
	contentLimit = 2048
)

// Record is one record as the API has it.
type Record struct {
	ID       string  `json:"id"`
	Type     string  `json:"type"`
	Name     string  `json:"name"`
	Content  string  `json:"content"`
	TTL      int     `json:"ttl"`
	Priority *uint16 `json:"priority,omitempty"`
	Comment  string  `json:"comment,omitempty"`
	Data     any     `json:"data,omitempty"`
}

// Server is one account.
type Server struct {
	*webapi.API
	// Token may do everything.
	Token string
	// PageLimit, if not 0, is the most records that a page holds, whatever is asked for.
	PageLimit int
	// NoResultInfo leaves result_info out, as some answers of the API do.
	NoResultInfo bool

	mu     sync.Mutex
	zones  []*zone
	serial int
	before func(operation string)
}

type zone struct {
	id, name string
	records  []Record
}

// New returns an account with these zones.
func New(token string, zones ...string) *Server {
	s := &Server{Token: token}
	for _, name := range zones {
		s.AddZone(name)
	}
	mux := http.NewServeMux()
	const base = "/client/v4/zones"
	mux.HandleFunc("GET "+base, s.handle(s.listZones))
	mux.HandleFunc("GET "+base+"/{zone}", s.handle(s.getZone))
	mux.HandleFunc("GET "+base+"/{zone}/dns_records", s.handle(s.listRecords))
	mux.HandleFunc("POST "+base+"/{zone}/dns_records", s.handle(s.postRecord))
	mux.HandleFunc("PATCH "+base+"/{zone}/dns_records/{record}", s.handle(s.patchRecord))
	mux.HandleFunc("DELETE "+base+"/{zone}/dns_records/{record}", s.handle(s.deleteRecord))
	mux.HandleFunc("POST "+base+"/{zone}/dns_records/batch", s.handle(s.batch))
	s.API = &webapi.API{Handler: mux, Operation: operation, Throttled: throttled}
	return s
}

// operation names a call: "zones", "list", "POST", "PATCH", "DELETE" or "batch".
func operation(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.URL.Path, "/batch"):
		return "batch"
	case !strings.Contains(r.URL.Path, "/dns_records"):
		return "zones"
	case r.Method == http.MethodGet:
		return "list"
	default:
		return r.Method
	}
}

// AddZone adds a zone and returns its id.
func (s *Server) AddZone(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := &zone{id: s.newID(), name: name}
	s.zones = append(s.zones, z)
	return z.id
}

// RemoveZone removes a zone with its records.
func (s *Server) RemoveZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z *zone) bool { return z.name == name })
}

// Put adds a record as a person in the dashboard would; content is stored as it is.
func (s *Server) Put(zoneName string, r Record) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.byName(zoneName)
	r.ID = s.newID()
	z.records = append(z.records, r)
	return r.ID
}

// Records are all records of a zone, by name, type and content.
func (s *Server) Records(zoneName string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := slices.Clone(s.byName(zoneName).records)
	slices.SortFunc(records, func(a, b Record) int {
		return strings.Compare(a.Name+" "+a.Type+" "+a.Content, b.Name+" "+b.Type+" "+b.Content)
	})
	return records
}

// Before has f called before each call is carried out: somebody else who writes at that moment.
func (s *Server) Before(f func(operation string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// newID is 32 hexadecimal digits. Call with the lock.
func (s *Server) newID() string {
	s.serial++
	sum := sha256.Sum256([]byte(strconv.Itoa(s.serial)))
	return hex.EncodeToString(sum[:16])
}

func (s *Server) byName(name string) *zone {
	for _, z := range s.zones {
		if z.name == name {
			return z
		}
	}
	return &zone{}
}

// problem is an error of the API.
type problem struct {
	status  int
	code    int
	message string
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s", p.code, p.message) }

func problemf(status, code int, format string, args ...any) *problem {
	return &problem{status, code, fmt.Sprintf(format, args...)}
}

// reply is the envelope of every answer.
type reply struct {
	Success  bool       `json:"success"`
	Errors   []envError `json:"errors"`
	Messages []string   `json:"messages"`
	Result   any        `json:"result"`
	Info     *pageInfo  `json:"result_info,omitempty"`
}

type envError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type pageInfo struct {
	Page       int `json:"page"`
	PerPage    int `json:"per_page"`
	Count      int `json:"count"`
	TotalCount int `json:"total_count"`
	TotalPages int `json:"total_pages"`
}

func throttled(w http.ResponseWriter, retryAfter time.Duration) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	send(w, http.StatusTooManyRequests, reply{Errors: []envError{{971, "Please wait and consider throttling your request speed"}}})
}

func send(w http.ResponseWriter, status int, body reply) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// handle checks the token and puts result or problem into the envelope.
func (s *Server) handle(f func(*http.Request) (any, *pageInfo, *problem)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		if before != nil {
			before(operation(r))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		result, info, p := any(nil), (*pageInfo)(nil), s.authorize(r)
		if p == nil {
			result, info, p = f(r)
		}
		if p != nil {
			send(w, p.status, reply{Errors: []envError{{p.code, p.message}}})
			return
		}
		if s.NoResultInfo {
			info = nil
		}
		send(w, http.StatusOK, reply{Success: true, Errors: []envError{}, Messages: []string{}, Result: result, Info: info})
	}
}

func (s *Server) authorize(r *http.Request) *problem {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || token == "" || strings.ContainsAny(token, " \n"):
		return problemf(http.StatusBadRequest, 6003, "Invalid request headers")
	case token != s.Token:
		return problemf(http.StatusForbidden, 9109, "Invalid access token")
	}
	return nil
}
