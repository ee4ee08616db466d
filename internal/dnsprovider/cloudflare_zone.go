// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// recordsPerPage: zones hold 200 to 3,500 records by their plan, so that one request mostly brings them all.
	recordsPerPage = 5000
	// cloudflareBatch is how many records one batch may change in every plan.
	cloudflareBatch = 200
	// automatic is how Cloudflare writes a TTL that it chooses: 300 seconds.
	automatic, automaticTTL = 1, 300
)

type cloudflareZone struct {
	*cloudflare
	name dnsrecord.Name
}

// cloudflareRecord is one record. Content of TXT is in quotation marks, cut into strings; older records have bare text.
type cloudflareRecord struct {
	ID       string  `json:"id,omitempty"`
	Type     string  `json:"type,omitempty"`
	Name     string  `json:"name,omitempty"`
	Content  string  `json:"content,omitempty"`
	TTL      uint32  `json:"ttl,omitempty"`
	Priority *uint16 `json:"priority,omitempty"`
}

// Read lists the zone: it costs one request, whatever is asked.
func (z *cloudflareZone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	records, err := z.list(ctx)
	if err != nil {
		return nil, err
	}
	return z.sets(records).answer(z.name, questions), nil
}

// list returns all records. A list that changed while it was read is read once more.
func (z *cloudflareZone) list(ctx context.Context) ([]cloudflareRecord, error) {
	id, err := z.idOf(ctx, z.name)
	if err != nil {
		return nil, err
	}
	records, err := z.listOnce(ctx, id)
	if errors.Is(err, errListChanged) {
		records, err = z.listOnce(ctx, id)
	}
	if err != nil {
		return nil, z.ids.judge(z.name, err)
	}
	for _, r := range records {
		if name, err := dnsrecord.ParseName(r.Name); err == nil && !name.In(z.name) {
			return nil, z.api.fail(ZoneNotFound, nil, "zoneID is that of another zone than %s: it holds %s", z.name, name)
		}
	}
	return records, nil
}

func (z *cloudflareZone) listOnce(ctx context.Context, id string) ([]cloudflareRecord, error) {
	var records []cloudflareRecord
	known := map[string]bool{}
	err := z.pages(ctx, "/zones/"+id+"/dns_records", nil, recordsPerPage, func(result json.RawMessage) (int, error) {
		var page []cloudflareRecord
		if err := json.Unmarshal(result, &page); err != nil {
			return 0, err
		}
		for _, r := range page {
			if known[r.ID] { // it moved from one page to the next, and another may have moved the other way
				return 0, errListChanged
			}
			known[r.ID] = true
		}
		records = append(records, page...)
		return len(page), nil
	})
	return records, err
}

// sets gathers the records; names that are none of ours to have are left out.
func (z *cloudflareZone) sets(records []cloudflareRecord) listing {
	l := listing{}
	for _, r := range records {
		k, ok := r.key()
		if !ok {
			continue
		}
		set := l[k]
		set.Name, set.Type, set.TTL = k.Name, k.Type, r.TTL
		if r.TTL == automatic {
			set.TTL = automaticTTL
		}
		set.Values = append(set.Values, r.value())
		l[k] = set
	}
	return l
}

func (r cloudflareRecord) key() (Question, bool) {
	name, err := dnsrecord.ParseName(r.Name)
	return Question{Name: name, Type: dnsrecord.Type(r.Type)}, err == nil
}

// value is what the record says. Text without quotation marks stands for itself.
func (r cloudflareRecord) value() string {
	switch {
	case r.Type == string(dnsrecord.TXT) && strings.HasPrefix(r.Content, `"`):
		if value, err := dnsrecord.ParseTXT(r.Content); err == nil {
			return value
		}
	case r.Type == string(dnsrecord.MX) && r.Priority != nil:
		return fmt.Sprintf("%d %s.", *r.Priority, strings.TrimSuffix(r.Content, "."))
	case r.Type == string(dnsrecord.CNAME) || r.Type == string(dnsrecord.NS) || r.Type == string(dnsrecord.DNAME):
		return strings.TrimSuffix(r.Content, ".") + "."
	}
	return r.Content
}

// withValue is the other way round; Cloudflare cuts and joins nothing that comes cut already.
func (r cloudflareRecord) withValue(value string) (cloudflareRecord, error) {
	switch dnsrecord.Type(r.Type) { //nolint:exhaustive // those that are published
	case dnsrecord.TXT:
		r.Content = dnsrecord.FormatTXT(value)
		return r, nil
	case dnsrecord.MX:
		preference, host, _ := strings.Cut(value, " ")
		n, err := strconv.ParseUint(preference, 10, 16)
		priority := uint16(n)
		r.Priority, r.Content = &priority, host
		if len(host) > 1 {
			r.Content = strings.TrimSuffix(host, ".")
		}
		return r, err
	}
	return r, fmt.Errorf("%s records are not written here", r.Type)
}

// cloudflareBatchBody is carried out as a whole or not at all, in the order of its fields.
type cloudflareBatchBody struct {
	Deletes []cloudflareRecord `json:"deletes,omitempty"`
	Patches []cloudflareRecord `json:"patches,omitempty"`
	Posts   []cloudflareRecord `json:"posts,omitempty"`
}

func (b *cloudflareBatchBody) size() int { return len(b.Deletes) + len(b.Patches) + len(b.Posts) }

func (b *cloudflareBatchBody) add(other cloudflareBatchBody) {
	b.Deletes = append(b.Deletes, other.Deletes...)
	b.Patches = append(b.Patches, other.Patches...)
	b.Posts = append(b.Posts, other.Posts...)
}

// cloudflarePart is one change in the words of the API.
type cloudflarePart struct {
	at   int
	body cloudflareBatchBody
}

// Apply reads the zone once more for the ids of the records, and touches those ids only: whatever else stands at a name
// is no part of any request. The API has no compare-and-swap; this leaves the time between two requests.
func (z *cloudflareZone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	records, err := z.list(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	now := z.sets(records)
	groups, size := [][]cloudflarePart{nil}, 0
	for i, c := range changes {
		body, err := z.plan(c, now, records)
		if err != nil {
			errs[i] = err
			continue
		}
		if size += body.size(); size > cloudflareBatch {
			groups, size = append(groups, nil), body.size()
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], cloudflarePart{i, body})
	}
	halving(groups, func(parts []cloudflarePart) error { return z.send(ctx, parts) }, func(p cloudflarePart, err error) { errs[p.at] = err })
	return errs
}

// plan turns a change into requests about single records. Where one goes and one comes, it is the same record with other
// content: readers never see two, and its comment and tags stay.
func (z *cloudflareZone) plan(c dnsplan.Change, now listing, records []cloudflareRecord) (cloudflareBatchBody, error) {
	var body cloudflareBatchBody
	if !now[c.Key()].SameValues(c.Prerequisite) || dnsplan.Obstacle(now.answer(z.name, []Question{c.Key()}), c.Key()) != "" {
		return body, ErrChanged
	}
	var gone []cloudflareRecord
	ttl := c.TTL
	for _, r := range records {
		k, ok := r.key()
		switch {
		case !ok || k != c.Key():
		case slices.Contains(c.Delete, r.value()):
			gone = append(gone, r)
		default:
			ttl = r.TTL // theirs, "automatic" too
		}
	}
	for i, value := range c.Add {
		r, err := cloudflareRecord{Type: string(c.Type), TTL: ttl}.withValue(value)
		if err != nil {
			return body, z.api.fail(Invalid, err, "%s is no %s record that can be written: %v", dnsrecord.Quote(value), c.Type, err)
		}
		if i < len(gone) {
			r.ID = gone[i].ID
			body.Patches = append(body.Patches, r)
			continue
		}
		r.Name = string(c.Name)
		body.Posts = append(body.Posts, r)
	}
	for _, r := range gone[min(len(gone), len(c.Add)):] {
		body.Deletes = append(body.Deletes, cloudflareRecord{ID: r.ID})
	}
	return body, nil
}

func (z *cloudflareZone) send(ctx context.Context, parts []cloudflarePart) error {
	id, err := z.idOf(ctx, z.name)
	if err != nil {
		return err
	}
	var body cloudflareBatchBody
	for _, p := range parts {
		body.add(p.body)
	}
	var answer cloudflareAnswer
	return z.ids.judge(z.name, z.api.call(ctx, http.MethodPost, "/zones/"+id+"/dns_records/batch", nil, body, &answer))
}
