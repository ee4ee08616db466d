// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package azure is the part of Azure's APIs that DNS needs, in the process and with its semantics: tokens for an application,
// record sets with ETags, preconditions, strings of 255 octets, pages.
//
// Sources: the REST reference of Azure DNS (2018-05-01), and armdns.
package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

const setsPerPage = 20

// Properties are those of a record set. Types that the tests do not look into are kept as they came.
type Properties struct {
	TTL         int64             `json:"TTL"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	TXTRecords  []TXT             `json:"TXTRecords,omitempty"`
	CNAMERecord *CNAME            `json:"CNAMERecord,omitempty"`
	NSRecords   []NS              `json:"NSRecords,omitempty"`
	// Of other types, whatever they have.
	ARecords    []map[string]any `json:"ARecords,omitempty"`
	MXRecords   []map[string]any `json:"MXRecords,omitempty"`
	SRVRecords  []map[string]any `json:"SRVRecords,omitempty"`
	TLSARecords []map[string]any `json:"TLSARecords,omitempty"` // of which the SDK knows nothing
}

// TXT is one record of a text, string by string.
type TXT struct {
	Value []string `json:"value"`
}

// CNAME is an alias.
type CNAME struct {
	CNAME string `json:"cname"`
}

// NS is one name server.
type NS struct {
	Name string `json:"nsdname"`
}

// Set is one record set; the apex has the name "@".
type Set struct {
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	ETag       string     `json:"etag"`
	Properties Properties `json:"properties"`
}

// Server is one subscription with one resource group.
type Server struct {
	*webapi.API
	secret string

	mu     sync.Mutex
	zones  map[string][]*Set
	serial int
}

// New returns a subscription whose application has this secret.
func New(secret string, zones ...string) *Server {
	s := &Server{secret: secret, zones: map[string][]*Set{}}
	for _, z := range zones {
		s.zones[z] = nil
	}
	const of = "/subscriptions/a-subscription/resourceGroups/a-group/providers/Microsoft.Network/dnsZones/{zone}"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", s.discover)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discover)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("GET "+of+"/all", s.handle(s.list))
	mux.HandleFunc("GET "+of+"/{type}/{name}", s.handle(s.get))
	mux.HandleFunc("PUT "+of+"/{type}/{name}", s.handle(s.put))
	mux.HandleFunc("DELETE "+of+"/{type}/{name}", s.handle(s.remove))
	s.API = &webapi.API{
		Handler:   mux,
		Operation: func(r *http.Request) string { return r.Method },
		Throttled: func(w http.ResponseWriter, after time.Duration) {
			w.Header().Set("Retry-After", fmt.Sprint(int(after.Seconds())))
			send(w, refusal{http.StatusTooManyRequests, "TooManyRequests"})
		},
	}
	return s
}

// Put makes a record set as a person would.
func (s *Server) Put(zone string, set Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(zone, &set)
}

// Sets are all record sets of a zone.
func (s *Server) Sets(zone string) []Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Set
	for _, set := range s.zones[zone] {
		all = append(all, *set)
	}
	return all
}

func (s *Server) store(zone string, set *Set) {
	s.serial++
	set.ETag = fmt.Sprintf("etag-%d", s.serial)
	if at := s.find(zone, set.Type, set.Name); at >= 0 {
		s.zones[zone][at] = set
		return
	}
	s.zones[zone] = append(s.zones[zone], set)
}

func (s *Server) find(zone, typ, name string) int {
	return slices.IndexFunc(s.zones[zone], func(set *Set) bool { return set.Type == typ && strings.EqualFold(set.Name, name) })
}

type refusal struct {
	status int
	code   string
}

func send(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if p, ok := answer.(refusal); ok {
		w.WriteHeader(p.status)
		answer = map[string]any{"error": map[string]string{"code": p.code, "message": p.code}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// discover tells where tokens are, as far as MSAL asks.
func (s *Server) discover(w http.ResponseWriter, _ *http.Request) {
	const at = "https://login.microsoftonline.com/a-tenant"
	send(w, map[string]any{
		"tenant_discovery_endpoint": at + "/v2.0/.well-known/openid-configuration",
		"metadata": []map[string]any{{
			"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": []string{"login.microsoftonline.com", "login.windows.net"},
		}},
		"authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token", "issuer": at + "/v2.0",
	})
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.PostForm.Get("client_id") != "a-client" || r.PostForm.Get("client_secret") != s.secret {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided"})
		return
	}
	send(w, map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "a-token"})
}

func (s *Server) handle(f func(*http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, holds := s.zones[r.PathValue("zone")]
		switch {
		case r.Header.Get("Authorization") != "Bearer a-token":
			send(w, refusal{http.StatusUnauthorized, "InvalidAuthenticationToken"})
		case !holds:
			send(w, refusal{http.StatusNotFound, "ParentResourceNotFound"})
		default:
			send(w, f(r))
		}
	}
}

// shown is a set as the API tells it.
func shown(set *Set) Set {
	out := *set
	out.Type = "Microsoft.Network/dnszones/" + set.Type
	return out
}

func (s *Server) list(r *http.Request) any {
	zone, from := r.PathValue("zone"), 0
	_, _ = fmt.Sscan(r.URL.Query().Get("$skiptoken"), &from)
	all := s.zones[zone]
	to := min(from+setsPerPage, len(all))
	page := []Set{}
	for _, set := range all[min(from, to):to] {
		page = append(page, shown(set))
	}
	answer := map[string]any{"value": page}
	if to < len(all) {
		next := *r.URL
		next.Scheme, next.Host = "https", "management.azure.com"
		query := next.Query()
		query.Set("$skiptoken", fmt.Sprint(to))
		next.RawQuery = query.Encode()
		answer["nextLink"] = next.String()
	}
	return answer
}

func (s *Server) get(r *http.Request) any {
	if at := s.find(r.PathValue("zone"), r.PathValue("type"), r.PathValue("name")); at >= 0 {
		return shown(s.zones[r.PathValue("zone")][at])
	}
	return refusal{http.StatusNotFound, "NotFound"}
}

// stale tells whether a precondition of the request does not hold.
func (s *Server) stale(r *http.Request, at int) bool {
	match := r.Header.Get("If-Match")
	return r.Header.Get("If-None-Match") == "*" && at >= 0 || match != "" && (at < 0 || s.zones[r.PathValue("zone")][at].ETag != match)
}

func (s *Server) put(r *http.Request) any {
	set := Set{Name: r.PathValue("name"), Type: r.PathValue("type")}
	if s.stale(r, s.find(r.PathValue("zone"), set.Type, set.Name)) {
		return refusal{http.StatusPreconditionFailed, "PreconditionFailed"}
	}
	var body struct {
		Properties Properties `json:"properties"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return refusal{http.StatusBadRequest, "not JSON: " + err.Error()}
	}
	set.Properties = body.Properties
	for _, record := range set.Properties.TXTRecords {
		if len(strings.Join(record.Value, "")) > 4096 || slices.ContainsFunc(record.Value, func(v string) bool { return len(v) > 255 }) || len(record.Value) == 0 {
			return refusal{http.StatusBadRequest, "BadRequest: a string of a TXT record holds 255 octets"}
		}
	}
	s.store(r.PathValue("zone"), &set)
	return shown(&set)
}

func (s *Server) remove(r *http.Request) any {
	zone := r.PathValue("zone")
	at := s.find(zone, r.PathValue("type"), r.PathValue("name"))
	if s.stale(r, at) {
		return refusal{http.StatusPreconditionFailed, "PreconditionFailed"}
	}
	if at >= 0 {
		s.zones[zone] = slices.Delete(s.zones[zone], at, at+1)
	}
	return struct{}{}
}
