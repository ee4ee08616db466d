// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) listZones(r *http.Request) (any, *pageInfo, *problem) {
	q := r.URL.Query()
	matching := []map[string]any{}
	for _, z := range s.zones {
		// An empty name is no filter.
		if want := q.Get("name"); want == "" || strings.TrimSuffix(want, ".") == z.name {
			matching = append(matching, z.json())
		}
	}
	return paged(matching, q, zonesPerPage, maxZonesPerPage)
}

func (z *zone) json() map[string]any {
	return map[string]any{"id": z.id, "name": z.name, "status": "active", "type": "full", "permissions": []string{"#dns_records:edit", "#zone:read"}}
}

func (s *Server) getZone(r *http.Request) (any, *pageInfo, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, nil, p
	}
	return z.json(), nil, nil
}

func (s *Server) zoneOf(r *http.Request) (*zone, *problem) {
	for _, z := range s.zones {
		if z.id == r.PathValue("zone") {
			return z, nil
		}
	}
	return nil, problemf(http.StatusNotFound, 7003, "Could not route to /client/v4/zones/%s, perhaps your object identifier is invalid?", r.PathValue("zone"))
}

// paged cuts out the page that is asked for.
func paged[T any](all []T, q url.Values, perPage, limit int) (any, *pageInfo, *problem) {
	page := 1
	for name, target := range map[string]*int{"page": &page, "per_page": &perPage} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return nil, nil, problemf(http.StatusBadRequest, 9999, "%s is invalid", name)
			}
			*target = n
		}
	}
	perPage = min(perPage, limit)
	from := min(len(all), (page-1)*perPage)
	part := append([]T{}, all[from:min(len(all), from+perPage)]...)
	info := &pageInfo{Page: page, PerPage: perPage, Count: len(part), TotalCount: len(all), TotalPages: (len(all) + perPage - 1) / perPage}
	return part, info, nil
}

func (s *Server) listRecords(r *http.Request) (any, *pageInfo, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, nil, p
	}
	q := r.URL.Query()
	matching := []Record{}
	for _, rec := range z.records {
		if matches(q, rec) {
			matching = append(matching, rec)
		}
	}
	limit := maxRecordsPerPage
	if s.PageLimit > 0 {
		limit = s.PageLimit
	}
	return paged(matching, q, recordsPerPage, limit)
}

// matches applies the filters; one that is empty is none.
func matches(q url.Values, r Record) bool {
	fold := strings.EqualFold
	for filter, ok := range map[string]func(string) bool{
		"type":             func(v string) bool { return fold(v, r.Type) },
		"name":             func(v string) bool { return fold(strings.TrimSuffix(v, "."), r.Name) },
		"name.exact":       func(v string) bool { return fold(v, r.Name) },
		"content":          func(v string) bool { return fold(v, r.Content) },
		"content.exact":    func(v string) bool { return fold(v, r.Content) },
		"content.contains": func(v string) bool { return strings.Contains(strings.ToLower(r.Content), strings.ToLower(v)) },
	} {
		if v := q.Get(filter); v != "" && !ok(v) {
			return false
		}
	}
	return true
}

func (s *Server) postRecord(r *http.Request) (any, *pageInfo, *problem) {
	return s.one(r, func(z *zone, body Record) (Record, *problem) { return s.create(z, body) })
}

func (s *Server) patchRecord(r *http.Request) (any, *pageInfo, *problem) {
	return s.one(r, func(z *zone, body Record) (Record, *problem) {
		body.ID = r.PathValue("record")
		return z.patch(body)
	})
}

func (s *Server) deleteRecord(r *http.Request) (any, *pageInfo, *problem) {
	return s.one(r, func(z *zone, _ Record) (Record, *problem) { return z.remove(r.PathValue("record")) })
}

func (s *Server) one(r *http.Request, do func(*zone, Record) (Record, *problem)) (any, *pageInfo, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, nil, p
	}
	var body Record
	if r.Method != http.MethodDelete {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, nil, problemf(http.StatusBadRequest, 9207, "Request body is invalid.")
		}
	}
	rec, p := do(z, body)
	if p != nil {
		return nil, nil, p
	}
	return rec, nil, nil
}

// batch carries out deletes, patches, puts and posts, in this order, all or nothing.
func (s *Server) batch(r *http.Request) (any, *pageInfo, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, nil, p
	}
	var body struct{ Deletes, Patches, Puts, Posts []Record }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, nil, problemf(http.StatusBadRequest, 9207, "Request body is invalid.")
	}
	if n := len(body.Deletes) + len(body.Patches) + len(body.Puts) + len(body.Posts); n > BatchLimit {
		return nil, nil, problemf(http.StatusBadRequest, 9208, "A batch may hold %d records at most.", BatchLimit)
	}
	draft := &zone{id: z.id, name: z.name, records: slices.Clone(z.records)}
	for _, part := range []struct {
		records []Record
		do      func(Record) (Record, *problem)
	}{
		{body.Deletes, func(r Record) (Record, *problem) { return draft.remove(r.ID) }},
		{body.Patches, draft.patch},
		{body.Puts, draft.patch},
		{body.Posts, func(r Record) (Record, *problem) { return s.create(draft, r) }},
	} {
		for _, rec := range part.records {
			if _, p := part.do(rec); p != nil {
				return nil, nil, p
			}
		}
	}
	z.records = draft.records
	return map[string]any{"deletes": body.Deletes, "patches": body.Patches, "posts": body.Posts}, nil, nil
}

func (s *Server) create(z *zone, r Record) (Record, *problem) {
	r.Name = strings.ToLower(strings.TrimSuffix(r.Name, "."))
	switch {
	case r.Name == "@" || r.Name == "":
		r.Name = z.name
	case r.Name != z.name && !strings.HasSuffix(r.Name, "."+z.name):
		r.Name += "." + z.name // relative names are taken, and foreign ones are taken for such
	}
	r.ID = s.newID()
	r, p := z.checked(r)
	if p == nil {
		z.records = append(z.records, r)
	}
	return r, p
}

func (z *zone) patch(change Record) (Record, *problem) {
	i := slices.IndexFunc(z.records, func(r Record) bool { return r.ID == change.ID })
	if i < 0 {
		return Record{}, problemf(http.StatusNotFound, 81044, "Record does not exist.")
	}
	r := z.records[i]
	if change.Content != "" {
		r.Content = change.Content
	}
	if change.TTL != 0 {
		r.TTL = change.TTL
	}
	if change.Priority != nil {
		r.Priority = change.Priority
	}
	r, p := z.checked(r)
	if p == nil {
		z.records[i] = r
	}
	return r, p
}

func (z *zone) remove(id string) (Record, *problem) {
	i := slices.IndexFunc(z.records, func(r Record) bool { return r.ID == id })
	if i < 0 {
		return Record{}, problemf(http.StatusNotFound, 81044, "Record does not exist.")
	}
	gone := z.records[i]
	z.records = slices.Delete(z.records, i, i+1)
	return gone, nil
}

// checked is the record as it is stored, or why it is not.
func (z *zone) checked(r Record) (Record, *problem) {
	if r.TTL == 0 {
		r.TTL = 1 // automatic
	}
	if r.TTL != 1 && (r.TTL < 60 || r.TTL > 86400) {
		return r, problemf(http.StatusBadRequest, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic")
	}
	if r.Content == "" {
		return r, problemf(http.StatusBadRequest, 9005, "Content for %s record is invalid.", r.Type)
	}
	if r.Type == "TXT" {
		var p *problem
		if r.Content, p = storedTXT(r.Content); p != nil {
			return r, p
		}
	}
	for _, other := range z.records {
		switch {
		case other.ID == r.ID || other.Name != r.Name:
		case other.Type == r.Type && other.Content == r.Content && r.Type != "SRV":
			return r, problemf(http.StatusBadRequest, 81058, "An identical record already exists.")
		case other.Type == "CNAME" || r.Type == "CNAME":
			return r, problemf(http.StatusBadRequest, 81053, "An A, AAAA, or CNAME record with that host already exists.")
		}
	}
	return r, nil
}
