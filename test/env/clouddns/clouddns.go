// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clouddns is the part of Google Cloud DNS's API v1 that libdns/googleclouddns needs, in the process and with its
// semantics: tokens for the key of a service account, record sets whose text is in the form of zone files, pages.
//
// Sources: the reference of the API v1, and google.golang.org/api/dns/v1.
package clouddns

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

const setsPerPage = 20

// Set is one record set, with an absolute name.
type Set struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	TTL     int64    `json:"ttl"`
	Rrdatas []string `json:"rrdatas"`
}

// Server is one project.
type Server struct {
	*webapi.API
	account string

	mu    sync.Mutex
	zones map[string][]Set
}

// New returns a project that this service account may change.
func New(account string, zones ...string) *Server {
	s := &Server{account: account, zones: map[string][]Set{}}
	for _, z := range zones {
		s.zones[z] = nil
	}
	const of = "/dns/v1/projects/a-project/managedZones"
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("GET "+of, s.handle(s.listZones))
	mux.HandleFunc("GET "+of+"/{zone}/rrsets", s.handle(s.list))
	mux.HandleFunc("POST "+of+"/{zone}/rrsets", s.handle(s.create))
	mux.HandleFunc("GET "+of+"/{zone}/rrsets/{name}/{type}", s.handle(s.get))
	mux.HandleFunc("PATCH "+of+"/{zone}/rrsets/{name}/{type}", s.handle(s.patch))
	mux.HandleFunc("DELETE "+of+"/{zone}/rrsets/{name}/{type}", s.handle(s.remove))
	s.API = &webapi.API{
		Handler:   mux,
		Operation: func(r *http.Request) string { return r.Method },
		Throttled: func(w http.ResponseWriter, _ time.Duration) {
			send(w, refusal{http.StatusTooManyRequests, "Quota exceeded"})
		},
	}
	return s
}

// Put makes a record set as a person would.
func (s *Server) Put(zone string, set Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones[zone] = append(s.zones[zone], set)
}

// Sets are all record sets of a zone.
func (s *Server) Sets(zone string) []Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.zones[zone])
}

type refusal struct {
	status int
	text   string
}

func send(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if p, ok := answer.(refusal); ok {
		w.WriteHeader(p.status)
		answer = map[string]any{"error": map[string]any{"code": p.status, "message": p.text}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// token gives one for an assertion of the account (RFC 7523).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.FormValue("assertion"), ".")
	var claims struct {
		Issuer string `json:"iss"`
	}
	if len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &claims)
		}
	}
	if claims.Issuer != s.account {
		send(w, refusal{http.StatusUnauthorized, "invalid_grant"})
		return
	}
	send(w, map[string]any{"access_token": "a-token", "token_type": "Bearer", "expires_in": 3599})
}

// zoneID is the name that the project has given to a zone.
func zoneID(zone string) string { return "z-" + strings.ReplaceAll(zone, ".", "-") }

func (s *Server) handle(f func(r *http.Request, zone string) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer a-token" {
			send(w, refusal{http.StatusUnauthorized, "Request had invalid authentication credentials"})
			return
		}
		for zone := range s.zones {
			if id := r.PathValue("zone"); id == "" || id == zoneID(zone) {
				send(w, f(r, zone))
				return
			}
		}
		send(w, refusal{http.StatusNotFound, "The 'parameters.managedZone' resource does not exist"})
	}
}

func (s *Server) listZones(*http.Request, string) any {
	var all []map[string]string
	for zone := range s.zones {
		all = append(all, map[string]string{"name": zoneID(zone), "dnsName": zone + ".", "visibility": "public"},
			map[string]string{"name": "private-" + zoneID(zone), "dnsName": zone + ".", "visibility": "private"})
	}
	return map[string]any{"managedZones": all}
}

func (s *Server) list(r *http.Request, zone string) any {
	from := 0
	_, _ = fmt.Sscan(r.URL.Query().Get("pageToken"), &from)
	all := s.zones[zone]
	to := min(from+setsPerPage, len(all))
	answer := map[string]any{"rrsets": all[min(from, to):to]}
	if to < len(all) {
		answer["nextPageToken"] = fmt.Sprint(to)
	}
	return answer
}

func (s *Server) find(zone, name, typ string) int {
	return slices.IndexFunc(s.zones[zone], func(set Set) bool { return set.Name == name && set.Type == typ })
}

func (s *Server) get(r *http.Request, zone string) any {
	at := s.find(zone, r.PathValue("name"), r.PathValue("type"))
	if at < 0 {
		return refusal{http.StatusNotFound, "The 'parameters.name' resource does not exist"}
	}
	return s.zones[zone][at]
}

func (s *Server) create(r *http.Request, zone string) any {
	set, wrong := read(r)
	if wrong != nil {
		return wrong
	}
	if s.find(zone, set.Name, set.Type) >= 0 {
		return refusal{http.StatusConflict, "The resource already exists"}
	}
	s.zones[zone] = append(s.zones[zone], set)
	return set
}

func (s *Server) patch(r *http.Request, zone string) any {
	at := s.find(zone, r.PathValue("name"), r.PathValue("type"))
	set, wrong := read(r)
	switch {
	case at < 0:
		return refusal{http.StatusNotFound, "The resource does not exist"}
	case wrong != nil:
		return wrong
	}
	s.zones[zone][at] = set
	return set
}

func (s *Server) remove(r *http.Request, zone string) any {
	at := s.find(zone, r.PathValue("name"), r.PathValue("type"))
	if at < 0 {
		return refusal{http.StatusNotFound, "The resource does not exist"}
	}
	s.zones[zone] = slices.Delete(s.zones[zone], at, at+1)
	return struct{}{}
}

// read is the set of a request, its data in the form in which the API gives them back: text always in quotation marks.
func read(r *http.Request) (Set, any) {
	var set Set
	if err := json.NewDecoder(r.Body).Decode(&set); err != nil {
		return set, refusal{http.StatusBadRequest, "not JSON: " + err.Error()}
	}
	for i, data := range set.Rrdatas {
		if set.Type != "TXT" {
			continue
		}
		rr, err := dns.NewRR(". 0 IN TXT " + data)
		txt, ok := rr.(*dns.TXT)
		if err != nil || !ok || tooLong(data) {
			return set, refusal{http.StatusBadRequest, "Invalid value for 'entity.rrdatas': a string holds 255 octets"}
		}
		set.Rrdatas[i] = `"` + strings.Join(txt.Txt, `" "`) + `"`
	}
	return set, nil
}

// tooLong tells whether a string of a text is; the parser cuts them where they are in quotation marks.
func tooLong(data string) bool {
	longest, n, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch {
		case data[i] == '\\':
			i++
			n++
		case data[i] == '"':
			quoted, n = !quoted, 0
		case data[i] == ' ' && !quoted:
			n = 0
		default:
			n++
		}
		longest = max(longest, n)
	}
	return longest > 255
}
