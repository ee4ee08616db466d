// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	powerDNSServerID = "localhost"
	// A server of one's own bears more than a vendor's API.
	powerDNSRate, powerDNSBurst = 20, 40
)

// powerDNS is the driver of a PowerDNS server with its HTTP API, spoken directly (docs/adr/0005).
type powerDNS struct {
	api *jsonAPI
}

func openPowerDNS(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	endpoint, err := url.Parse(spec.PowerDNS.URL)
	if err != nil || endpoint.Host == "" || endpoint.User != nil {
		return nil, newError(Invalid, nil, "powerdns.url is not the address of an API: write it as https://pdns.example.org:8081")
	}
	hostport := hostPort(endpoint.Host, map[string]string{"http": "80", "https": "443"}[endpoint.Scheme])
	if opts.EndpointAllowed != nil && !opts.EndpointAllowed(hostport) {
		return nil, newError(Invalid, nil, fmt.Sprintf("the server %s is not among those that --provider-endpoint-allow names", hostport))
	}
	key, err := readToken(ctx, opts.Secrets, spec.PowerDNS.APIKeySecretRef, "API key")
	if err != nil {
		return nil, err
	}
	server := cmp.Or(spec.PowerDNS.ServerID, powerDNSServerID)
	base := strings.TrimSuffix(strings.TrimSuffix(endpoint.String(), "/"), "/api/v1") + "/api/v1/servers/" + url.PathEscape(server)
	d := &powerDNS{api: &jsonAPI{
		who: "PowerDNS at " + hostport, base: base, secrets: []string{key}, client: httpClient(opts.Transport), now: opts.Now,
		header: http.Header{"X-Api-Key": {key}}, explain: explainPowerDNS,
	}}
	return &Account{Driver: d, Fingerprint: fingerprint("powerdns", base, key), RequestsPerSecond: powerDNSRate, Burst: powerDNSBurst}, nil
}

// explainPowerDNS: an error in the body; what is wrong with a record, or the zone is read only, is 422.
func explainPowerDNS(status int, body []byte) (Reason, string) {
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", ""
	}
	if status == http.StatusInternalServerError && answer.Error != "" { // a record that the backend does not take
		return Unknown, answer.Error
	}
	return "", answer.Error
}

// Zones lists the zones of the server.
func (d *powerDNS) Zones(ctx context.Context) ([]dnsrecord.Name, error) {
	var zones []struct {
		Name string `json:"name"`
	}
	if err := d.api.call(ctx, http.MethodGet, "/zones", nil, nil, &zones); err != nil {
		return nil, err
	}
	var names []dnsrecord.Name
	for _, z := range zones {
		if name, err := dnsrecord.ParseName(z.Name); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Check reads each zone: the API key is good for all or nothing.
func (d *powerDNS) Check(ctx context.Context, zones []dnsrecord.Name) error {
	if len(zones) == 0 {
		return d.api.call(ctx, http.MethodGet, "", nil, nil, nil)
	}
	var errs []error
	for _, name := range zones {
		_, err := (&powerDNSZone{d, name}).list(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MinimumTTL is none.
func (d *powerDNS) MinimumTTL() uint32 { return 0 }

// Batch is that of lists.
func (d *powerDNS) Batch() int { return listedBatch }

// Zone returns a zone of the server.
func (d *powerDNS) Zone(name dnsrecord.Name) Zone { return &powerDNSZone{d, name} }

type powerDNSZone struct {
	*powerDNS
	name dnsrecord.Name
}

// powerDNSSet is an RRset; content is the zone-file form.
type powerDNSSet struct {
	Name       string           `json:"name"`
	Type       string           `json:"type"`
	TTL        uint32           `json:"ttl,omitempty"`
	ChangeType string           `json:"changetype,omitempty"`
	Records    []powerDNSRecord `json:"records,omitempty"`
}

// powerDNSRecord that is disabled is kept and not served.
type powerDNSRecord struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

func (z *powerDNSZone) path() string { return "/zones/" + url.PathEscape(z.name.FQDN()) }

func (z *powerDNSZone) list(ctx context.Context) (map[Question]powerDNSSet, error) {
	var zone struct {
		Sets []powerDNSSet `json:"rrsets"`
	}
	if err := z.api.call(ctx, http.MethodGet, z.path(), nil, nil, &zone); err != nil {
		return nil, err
	}
	if zone.Sets == nil {
		return nil, z.api.fail(Unknown, nil, "the answer of %s holds no record sets: nothing is concluded from it", z.api.who)
	}
	sets := map[Question]powerDNSSet{}
	for _, s := range zone.Sets {
		if name, err := dnsrecord.ParseName(s.Name); err == nil {
			sets[Question{Name: name, Type: dnsrecord.Type(s.Type)}] = s
		}
	}
	return sets, nil
}

func listingOf(sets map[Question]powerDNSSet) listing {
	l := listing{}
	for k, s := range sets {
		set := dnsrecord.Set{Name: k.Name, Type: k.Type, TTL: s.TTL}
		for _, r := range s.Records {
			if !r.Disabled {
				set.Values = append(set.Values, powerDNSValue(k.Type, r.Content))
			}
		}
		l[k] = set
	}
	return l
}

func powerDNSValue(t dnsrecord.Type, content string) string {
	if t == dnsrecord.TXT {
		if value, err := dnsrecord.ParseTXT(content); err == nil {
			return value
		}
	}
	return content
}

// Read lists the zone: one request, whatever is asked.
func (z *powerDNSZone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	sets, err := z.list(ctx)
	if err != nil {
		return nil, err
	}
	return listingOf(sets).answer(z.name, questions), nil
}

// powerDNSPart is one change in the words of the API.
type powerDNSPart struct {
	at  int
	set powerDNSSet
}

// Apply replaces whole RRsets, for the API has nothing smaller: they are read right before, and what others have in them
// goes back as it came. The API has no compare-and-swap; this leaves the time between two requests.
func (z *powerDNSZone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	sets, err := z.list(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	now := listingOf(sets)
	var parts []powerDNSPart
	for i, c := range changes {
		if !now[c.Key()].SameValues(c.Prerequisite) || dnsplan.Obstacle(now.answer(z.name, []Question{c.Key()}), c.Key()) != "" {
			errs[i] = ErrChanged
			continue
		}
		parts = append(parts, powerDNSPart{i, sets[c.Key()].after(c)})
	}
	halving([][]powerDNSPart{parts}, func(parts []powerDNSPart) error {
		var body struct {
			Sets []powerDNSSet `json:"rrsets"`
		}
		for _, p := range parts {
			body.Sets = append(body.Sets, p.set)
		}
		return z.api.call(ctx, http.MethodPatch, z.path(), nil, body, nil)
	}, func(p powerDNSPart, err error) { errs[p.at] = err })
	return errs
}

// after is the RRset as it should stand after the change.
func (s powerDNSSet) after(c dnsplan.Change) powerDNSSet {
	next := powerDNSSet{Name: c.Name.FQDN(), Type: string(c.Type), TTL: c.TTL, ChangeType: "REPLACE"}
	for _, r := range s.Records {
		if r.Disabled || !slices.Contains(c.Delete, powerDNSValue(c.Type, r.Content)) {
			next.Records, next.TTL = append(next.Records, r), s.TTL
		}
	}
	for _, value := range c.Add {
		content := value
		if c.Type == dnsrecord.TXT {
			content = dnsrecord.FormatTXT(value)
		}
		next.Records = append(next.Records, powerDNSRecord{Content: content})
	}
	if len(next.Records) == 0 {
		return powerDNSSet{Name: next.Name, Type: next.Type, ChangeType: "DELETE"}
	}
	return next
}
