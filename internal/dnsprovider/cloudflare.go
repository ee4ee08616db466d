// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	cloudflareURL = "https://api.cloudflare.com/client/v4"
	// 1,200 requests in five minutes are allowed to one user: this leaves some to others.
	cloudflareRate, cloudflareBurst = 3.5, 20
	// cloudflareMinimumTTL is what zones of every plan take, "automatic" aside.
	cloudflareMinimumTTL = 60

	zonesPerPage = 50
)

// cloudflare is the driver of an account at Cloudflare: API v4, spoken directly (docs/adr/0005).
type cloudflare struct {
	api    *jsonAPI
	zoneID string // of the specification
	ids    zoneIDs
}

func openCloudflare(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	token, err := readToken(ctx, opts.Secrets, spec.Cloudflare.APITokenSecretRef, "API token")
	if err != nil {
		return nil, err
	}
	d := &cloudflare{zoneID: spec.Cloudflare.ZoneID, api: &jsonAPI{
		who: "Cloudflare", base: cloudflareURL, secrets: []string{token}, client: httpClient(opts.Transport), now: opts.Now,
		header: http.Header{"Authorization": {"Bearer " + token}}, explain: explainCloudflare,
	}}
	return &Account{
		Driver: d, Fingerprint: fingerprint("cloudflare", token, d.zoneID),
		RequestsPerSecond: cloudflareRate, Burst: cloudflareBurst,
	}, nil
}

// readToken reads a credential that goes into a header.
func readToken(ctx context.Context, secrets SecretReader, ref v1alpha1.SecretKeyRef, what string) (string, error) {
	data, err := secrets(ctx, ref)
	if err != nil {
		return "", newError(Invalid, err, fmt.Sprintf("entry %s of Secret %s cannot be read: %v", ref.Key, ref.Name, err))
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", newError(Invalid, nil, fmt.Sprintf("entry %s of Secret %s is not an %s: it must be one line of printable characters", ref.Key, ref.Name, what))
	}
	return token, nil
}

// cloudflareAnswer is the envelope of every answer.
type cloudflareAnswer struct {
	Errors []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Chain   []struct {
			Message string `json:"message"`
		} `json:"error_chain"`
	} `json:"errors"`
	Result json.RawMessage `json:"result"`
	Info   *struct {
		Page       int `json:"page"`
		TotalCount int `json:"total_count"`
	} `json:"result_info"`
}

// What the errors of Cloudflare's API say by their codes, where the status does not.
var cloudflareReasons = map[int]Reason{ //nolint:gochecknoglobals // a constant
	6003: Unauthorized, 6111: Unauthorized, 9106: Unauthorized, 9109: Unauthorized, 10000: Unauthorized,
	971: Throttled, 10429: Throttled,
	7003: ZoneNotFound, 1001: ZoneNotFound,
	81044: Refused, // the record does not exist (any more)
}

func explainCloudflare(_ int, body []byte) (Reason, string) {
	var answer cloudflareAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", ""
	}
	var reason Reason
	var words []string
	for _, e := range answer.Errors {
		if r, ok := cloudflareReasons[e.Code]; ok && reason == "" {
			reason = r
		}
		words = append(words, fmt.Sprintf("%s (%d)", strings.TrimRight(e.Message, "."), e.Code))
		for _, c := range e.Chain {
			words = append(words, c.Message)
		}
	}
	return reason, strings.Join(words, "; ")
}

// pages reads a list page by page and hands each to add. Every list of the API says how long it is; where that is missing
// or changes while we read, something may have been left out, and what was left out would be taken for absent.
func (d *cloudflare) pages(ctx context.Context, path string, query url.Values, perPage int, add func(json.RawMessage) (int, error)) error {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	query.Set("per_page", strconv.Itoa(perPage))
	for page, got, length := 1, 0, -1; got != length; page++ {
		query.Set("page", strconv.Itoa(page))
		n, total, err := d.page(ctx, path, query, add)
		if err != nil {
			return err
		}
		got += n
		if length >= 0 && total != length || got > total || got < total && n == 0 {
			return errListChanged
		}
		length = total
	}
	return nil
}

// page reads one page and returns how many entries it has, and how many there are.
func (d *cloudflare) page(ctx context.Context, path string, query url.Values, add func(json.RawMessage) (int, error)) (n, total int, err error) {
	var answer cloudflareAnswer
	if err := d.api.call(ctx, http.MethodGet, path, query, nil, &answer); err != nil {
		return 0, 0, err
	}
	if answer.Info == nil || bytes.Equal(answer.Result, []byte("null")) {
		return 0, 0, d.api.fail(Unknown, nil, "Cloudflare does not say how many entries %s has: nothing is concluded from what it sent", path)
	}
	n, err = add(answer.Result)
	if err != nil && !errors.Is(err, errListChanged) {
		err = d.api.fail(Unknown, err, "the answer of Cloudflare is not of its API")
	}
	return n, answer.Info.TotalCount, err
}

var errListChanged = newError(Unknown, nil, "the list changed while it was read") //nolint:gochecknoglobals // a constant

type cloudflareZoneEntry struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (d *cloudflare) zones(ctx context.Context, query url.Values) ([]cloudflareZoneEntry, error) {
	var zones []cloudflareZoneEntry
	err := d.pages(ctx, "/zones", query, zonesPerPage, func(result json.RawMessage) (int, error) {
		var page []cloudflareZoneEntry
		err := json.Unmarshal(result, &page)
		zones = append(zones, page...)
		return len(page), err
	})
	return zones, err
}

// Zones lists what the token may see. A token for one zone may list none.
func (d *cloudflare) Zones(ctx context.Context) ([]dnsrecord.Name, error) {
	if d.zoneID != "" {
		return nil, ErrUnsupported
	}
	zones, err := d.zones(ctx, nil)
	if err != nil {
		return nil, err
	}
	names := make([]dnsrecord.Name, 0, len(zones))
	for _, z := range zones {
		if name, err := dnsrecord.ParseName(z.Name); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Check looks the zones up and reads them: whether the token may write too is seen when it does.
func (d *cloudflare) Check(ctx context.Context, zones []dnsrecord.Name) error {
	switch {
	case len(zones) > 0:
	case d.zoneID != "":
		return d.api.call(ctx, http.MethodGet, "/zones/"+d.zoneID+"/dns_records", url.Values{"per_page": {"5"}}, nil, nil)
	default:
		_, err := d.zones(ctx, nil)
		return err
	}
	var errs []error
	for _, name := range zones {
		_, err := (&cloudflareZone{d, name}).list(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MinimumTTL is that of the free plan.
func (d *cloudflare) MinimumTTL() uint32 { return cloudflareMinimumTTL }

// Batch is that of lists.
func (d *cloudflare) Batch() int { return listedBatch }

// Zone returns a zone of the account.
func (d *cloudflare) Zone(name dnsrecord.Name) Zone { return &cloudflareZone{d, name} }

// idOf returns the id of a zone.
func (d *cloudflare) idOf(ctx context.Context, name dnsrecord.Name) (string, error) {
	if d.zoneID != "" {
		return d.zoneID, nil
	}
	if id, ok := d.ids.get(name); ok {
		return id, nil
	}
	zones, err := d.zones(ctx, url.Values{"name": {string(name)}})
	if err != nil {
		return "", err
	}
	for _, z := range zones {
		if found, err := dnsrecord.ParseName(z.Name); err == nil && found == name {
			d.ids.put(name, z.ID)
			return z.ID, nil
		}
	}
	return "", d.api.fail(ZoneNotFound, nil, "Cloudflare shows no zone %s to this API token: give it Zone:Read and DNS:Edit for the zone, or set zoneID", name)
}
