// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package route53 is the part of Amazon Route 53's API that DNS needs, in the process and with its semantics: change
// batches that are all or nothing, their limits, deletions that must name every value, octal escapes, pages in the order
// of reversed names, PENDING before INSYNC, 5 requests a second.
//
// Sources: API reference and developer guide of Route 53, version 2013-04-01.
package route53

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/webapi"
)

// Limits of the API.
const (
	// MaxRecords and MaxCharacters bound one change batch; both count twice in an UPSERT.
	MaxRecords    = 1000
	MaxCharacters = 32000
	// RequestsPerSecond is what one account may ask.
	RequestsPerSecond = 5

	maxPage  = 300
	maxZones = 100
)

// Set is one resource record set; Values are as the API has them, TXT in quotation marks.
type Set struct {
	Name   string // absolute, with its last dot
	Type   string
	TTL    int64
	Values []string
}

// Server is one account.
type Server struct {
	*webapi.API
	// AccessKeyID is the one that is known.
	AccessKeyID string
	// PendingPolls is how often GetChange answers PENDING before a change is INSYNC.
	PendingPolls int
	// Propagation, with Now, is how long a change stays PENDING.
	Propagation time.Duration
	// Now, if set, has the server refuse what goes beyond RequestsPerSecond.
	Now func() time.Time

	mu      sync.Mutex
	zones   []*zone
	serial  int
	changes map[string]pending
	recent  []time.Time
	batches []Batch
	before  func(operation string)
}

// pending is a change that not all name servers have.
type pending struct {
	polls int // how often it is still PENDING
	until time.Time
}

// Batch is one change batch that was carried out.
type Batch struct{ Changes, Records, Characters int }

type zone struct {
	id, name string
	private  bool
	sets     []Set
}

// New returns an account with these zones; a name with the prefix "private:" is a private zone.
func New(accessKeyID string, zones ...string) *Server {
	s := &Server{AccessKeyID: accessKeyID, changes: map[string]pending{}}
	for _, name := range zones {
		s.AddZone(name)
	}
	mux := http.NewServeMux()
	const base = "/2013-04-01"
	mux.HandleFunc("GET "+base+"/hostedzone", s.handle(s.listZones))
	mux.HandleFunc("GET "+base+"/hostedzonesbyname", s.handle(s.listZonesByName))
	mux.HandleFunc("GET "+base+"/hostedzone/{zone}", s.handle(s.getZone))
	mux.HandleFunc("GET "+base+"/hostedzone/{zone}/rrset", s.handle(s.listSets))
	mux.HandleFunc("POST "+base+"/hostedzone/{zone}/rrset", s.handle(s.change))
	mux.HandleFunc("POST "+base+"/hostedzone/{zone}/rrset/", s.handle(s.change))
	mux.HandleFunc("GET "+base+"/change/{change}", s.handle(s.getChange))
	s.API = &webapi.API{Handler: mux, Operation: operation, Throttled: func(w http.ResponseWriter, _ time.Duration) {
		sendProblem(w, throttling)
	}}
	return s
}

// operation names a call: "zones", "list", "change" or "poll".
func operation(r *http.Request) string {
	switch {
	case strings.Contains(r.URL.Path, "/change/"):
		return "poll"
	case !strings.Contains(r.URL.Path, "/rrset"):
		return "zones"
	case r.Method == http.MethodPost:
		return "change"
	}
	return "list"
}

// AddZone adds a zone and returns its id.
func (s *Server) AddZone(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	name, private := strings.CutPrefix(name, "private:")
	z := &zone{id: fmt.Sprintf("Z%019d", s.serial), name: fqdn(name), private: private}
	s.zones = append(s.zones, z)
	return z.id
}

// Put sets one record set as a person in the console would.
func (s *Server) Put(zoneName string, set Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set.Name = fqdn(set.Name)
	z := s.byName(zoneName)
	z.sets = append(slices.DeleteFunc(z.sets, func(o Set) bool { return o.Name == set.Name && o.Type == set.Type }), set)
}

// Sets are all record sets of the zone of this name, in the API's order.
func (s *Server) Sets(zoneName string) []Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName(zoneName).sorted()
}

// Batches are the change batches carried out so far.
func (s *Server) Batches() []Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// Before has f called before each call is carried out: somebody else who writes at that moment.
func (s *Server) Before(f func(operation string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// byName prefers a public zone.
func (s *Server) byName(name string) *zone {
	found := &zone{}
	for _, z := range s.zones {
		if z.name == fqdn(name) && (found.id == "" || found.private) {
			found = z
		}
	}
	return found
}

func (z *zone) sorted() []Set {
	sets := slices.Clone(z.sets)
	slices.SortFunc(sets, func(a, b Set) int {
		if c := strings.Compare(reversed(a.Name), reversed(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(a.Type, b.Type)
	})
	return sets
}

func fqdn(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// reversed is what names are ordered by: com.example.www. with its last dot.
func reversed(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

// escaped is a name as the API returns it: everything but letters, digits, - and _ in octal.
func escaped(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String()
}

// unescaped reads three octal digits after a backslash.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// problem is an error of the API.
type problem struct {
	status   int
	code     string
	messages []string
}

var throttling = &problem{http.StatusBadRequest, "Throttling", []string{"Rate exceeded"}} //nolint:gochecknoglobals // a constant

func problemf(status int, code, format string, args ...any) *problem {
	return &problem{status, code, []string{fmt.Sprintf(format, args...)}}
}

func sendProblem(w http.ResponseWriter, p *problem) {
	const requestID = "b25f48e8-84fd-11e6-80d9-574e0c4664cb"
	if p.code == "InvalidChangeBatch" { // has a form of its own
		type body struct {
			XMLName   xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ InvalidChangeBatch"`
			Messages  []string `xml:"Messages>Message"`
			RequestID string   `xml:"RequestId"`
		}
		send(w, p.status, body{Messages: p.messages, RequestID: requestID})
		return
	}
	type body struct {
		XMLName   xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ErrorResponse"`
		Type      string   `xml:"Error>Type"`
		Code      string   `xml:"Error>Code"`
		Message   string   `xml:"Error>Message"`
		RequestID string   `xml:"RequestId"`
	}
	send(w, p.status, body{Type: "Sender", Code: p.code, Message: strings.Join(p.messages, ", "), RequestID: requestID})
}

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(xml.Header))
	_ = xml.NewEncoder(w).Encode(body)
}

// handle checks rate and credentials.
func (s *Server) handle(f func(*http.Request) (any, *problem)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		if before != nil {
			before(operation(r))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.authorize(r)
		if !s.inRate() {
			p = throttling
		}
		var body any
		if p == nil {
			body, p = f(r)
		}
		if p != nil {
			sendProblem(w, p)
			return
		}
		send(w, http.StatusOK, body)
	}
}

// inRate counts the requests of the last second.
func (s *Server) inRate() bool {
	if s.Now == nil {
		return true
	}
	now := s.Now()
	s.recent = slices.DeleteFunc(s.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(s.recent) >= RequestsPerSecond {
		return false
	}
	s.recent = append(s.recent, now)
	return true
}

func (s *Server) authorize(r *http.Request) *problem {
	credential, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	id, _, _ := strings.Cut(credential, "/")
	switch {
	case !ok:
		return problemf(http.StatusForbidden, "MissingAuthenticationToken", "Missing Authentication Token")
	case id != s.AccessKeyID:
		return problemf(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	return nil
}
