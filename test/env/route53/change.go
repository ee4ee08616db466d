// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

type xmlBatch struct {
	Changes []struct {
		Action string
		Set    xmlSet `xml:"ResourceRecordSet"`
	} `xml:"ChangeBatch>Changes>Change"`
}

type changeInfo struct {
	XMLName     xml.Name
	ID          string `xml:"ChangeInfo>Id"`
	Status      string `xml:"ChangeInfo>Status"`
	SubmittedAt string `xml:"ChangeInfo>SubmittedAt"`
}

// change carries out a batch, all or nothing.
func (s *Server) change(r *http.Request) (any, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, p
	}
	var body xmlBatch
	if err := xml.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, problemf(http.StatusBadRequest, "InvalidInput", "Invalid XML ; %v", err)
	}
	size, wrong := measure(body)
	draft := &zone{id: z.id, name: z.name, sets: slices.Clone(z.sets)}
	for _, c := range body.Changes {
		if w := draft.change(c.Action, c.Set.set()); w != "" {
			wrong = append(wrong, w)
		}
	}
	if len(wrong) > 0 {
		return nil, &problem{http.StatusBadRequest, "InvalidChangeBatch", wrong}
	}
	z.sets = draft.sets
	s.batches = append(s.batches, size)
	s.serial++
	id := fmt.Sprintf("C%019d", s.serial)
	left := pending{polls: s.PendingPolls}
	if s.Now != nil {
		left.until = s.Now().Add(s.Propagation)
	}
	s.changes[id] = left
	return info("ChangeResourceRecordSetsResponse", id, "PENDING"), nil
}

func info(element, id, status string) changeInfo {
	return changeInfo{name(element), "/change/" + id, status, "2026-01-01T00:00:00Z"}
}

func (s *Server) getChange(r *http.Request) (any, *problem) {
	id := r.PathValue("change")
	change, ok := s.changes[id]
	if !ok {
		return nil, problemf(http.StatusNotFound, "NoSuchChange", "No change found with ID: %s", id)
	}
	status := "INSYNC"
	if change.polls > 0 || s.Now != nil && s.Now().Before(change.until) {
		change.polls--
		s.changes[id], status = change, "PENDING"
	}
	return info("GetChangeResponse", id, status), nil
}

// measure counts a batch; records and characters of an UPSERT count twice.
func measure(body xmlBatch) (size Batch, wrong []string) {
	size.Changes = len(body.Changes)
	for _, c := range body.Changes {
		times := 1
		if c.Action == "UPSERT" {
			times = 2
		}
		for _, r := range c.Set.Records {
			size.Records += times
			size.Characters += times * len(r.Value)
		}
	}
	if size.Records > MaxRecords {
		wrong = append(wrong, fmt.Sprintf("Number of records limit of %d exceeded.", MaxRecords))
	}
	if size.Characters > MaxCharacters {
		wrong = append(wrong, fmt.Sprintf("Value length limit of %d exceeded.", MaxCharacters))
	}
	return size, wrong
}

func (z *zone) change(action string, set Set) (wrong string) {
	if set.Name != z.name && !strings.HasSuffix(set.Name, "."+z.name) {
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", escaped(set.Name), z.name)
	}
	is := func(o Set) bool { return o.Name == set.Name && o.Type == set.Type }
	i := slices.IndexFunc(z.sets, is)
	about := fmt.Sprintf("resource record set [name='%s', type='%s']", escaped(set.Name), set.Type)
	switch {
	case action == "DELETE" && i < 0:
		return "Tried to delete " + about + " but it was not found"
	case action == "DELETE" && !same(z.sets[i], set):
		return "Tried to delete " + about + " but the values provided do not match the current values"
	case action == "DELETE":
		z.sets = slices.Delete(z.sets, i, i+1)
		return ""
	case action == "CREATE" && i >= 0:
		return "Tried to create " + about + " but it already exists"
	case action != "CREATE" && action != "UPSERT":
		return "Unknown action " + action
	}
	if wrong := set.invalid(); wrong != "" {
		return wrong
	}
	for _, o := range z.sets {
		if o.Name == set.Name && o.Type != set.Type && (o.Type == "CNAME" || set.Type == "CNAME") {
			return fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted because a conflicting RRSet of type %s with the same DNS name already exists in zone %s",
				set.Type, escaped(set.Name), o.Type, z.name)
		}
	}
	z.sets = append(slices.DeleteFunc(z.sets, is), set)
	return ""
}

// same compares TTL and values; how characters are escaped makes no difference.
func same(a, b Set) bool {
	values := func(s Set) []string {
		var out []string
		for _, v := range s.Values {
			out = append(out, unescaped(v))
		}
		slices.Sort(out)
		return out
	}
	return a.TTL == b.TTL && slices.Equal(values(a), values(b))
}

func (s Set) invalid() string {
	fatal := func(problem, value string) string {
		return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: %s encountered with '%s''", problem, value)
	}
	if len(s.Values) == 0 {
		return "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords]], but found none"
	}
	for i, v := range s.Values {
		if slices.Contains(s.Values[:i], v) {
			return fmt.Sprintf("Duplicate Resource Record: '%s'", v)
		}
		if s.Type != "TXT" {
			continue
		}
		if len(v) > 4000 {
			return fatal("TXTRDATATooLong (The TXT record is too long)", v)
		}
		if problem := invalidTXT(v); problem != "" {
			return fatal(problem, v)
		}
	}
	return ""
}

// invalidTXT reads strings in quotation marks, each of 255 octets at most; octets outside of ASCII must be escaped.
func invalidTXT(v string) string {
	for rest := v; rest != ""; rest = strings.TrimLeft(rest, " \t") {
		octets, length := characterString(rest)
		switch {
		case length < 0:
			return "InvalidCharacterString (Value should be enclosed in quotation marks)"
		case strings.ContainsFunc(rest[:length], func(r rune) bool { return r < ' ' || r > '~' }):
			return "UnsupportedCharacter (Value contains unsupported characters)"
		case octets > 255:
			return "CharacterStringTooLong (Value is too long)"
		}
		rest = rest[length:]
	}
	return ""
}

// characterString returns how many octets the first string holds and how long it is written; -1 if it is none.
func characterString(s string) (octets, length int) {
	if s[0] != '"' {
		return 0, -1
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return octets, i + 1
		case s[i] == '\\' && i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3':
			i += 3
		case s[i] == '\\':
			i++
		}
		octets++
	}
	return 0, -1
}
