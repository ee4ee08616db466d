// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type xmlZone struct {
	ID      string `xml:"Id"`
	Name    string
	Caller  string `xml:"CallerReference"`
	Private bool   `xml:"Config>PrivateZone"`
	Count   int    `xml:"ResourceRecordSetCount"`
}

func (z *zone) xml() xmlZone {
	return xmlZone{"/hostedzone/" + z.id, escaped(z.name), z.id, z.private, len(z.sets)}
}

type zonePage struct {
	XMLName     xml.Name
	Zones       []xmlZone `xml:"HostedZones>HostedZone"`
	DNSName     string    `xml:",omitempty"`
	IsTruncated bool
	Marker      string `xml:",omitempty"`
	NextMarker  string `xml:",omitempty"`
	NextDNSName string `xml:",omitempty"`
	NextZoneID  string `xml:"NextHostedZoneId,omitempty"`
	MaxItems    string
}

func maxItems(r *http.Request, limit int) (int, *problem) {
	text := r.URL.Query().Get("maxitems")
	if text == "" {
		return limit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, problemf(http.StatusBadRequest, "InvalidInput", "Invalid MaxItems")
	}
	return min(n, limit), nil
}

func (s *Server) listZones(r *http.Request) (any, *problem) {
	n, p := maxItems(r, maxZones)
	if p != nil {
		return nil, p
	}
	marker := r.URL.Query().Get("marker")
	from := max(0, slices.IndexFunc(s.zones, func(z *zone) bool { return z.id == marker }))
	page := zonePage{XMLName: name("ListHostedZonesResponse"), MaxItems: strconv.Itoa(n), Marker: marker}
	for _, z := range s.zones[from:min(len(s.zones), from+n)] {
		page.Zones = append(page.Zones, z.xml())
	}
	if from+n < len(s.zones) {
		page.IsTruncated, page.NextMarker = true, s.zones[from+n].id
	}
	return page, nil
}

func name(local string) xml.Name {
	return xml.Name{Space: "https://route53.amazonaws.com/doc/2013-04-01/", Local: local}
}

// listZonesByName begins at the name that is asked for, whether a zone has it or not.
func (s *Server) listZonesByName(r *http.Request) (any, *problem) {
	n, p := maxItems(r, maxZones)
	if p != nil {
		return nil, p
	}
	zones := slices.Clone(s.zones)
	slices.SortStableFunc(zones, func(a, b *zone) int { return strings.Compare(reversed(a.name), reversed(b.name)) })
	q := r.URL.Query()
	from := 0
	if q.Get("dnsname") != "" {
		from = len(zones)
		want, id := reversed(fqdn(unescaped(q.Get("dnsname")))), q.Get("hostedzoneid")
		for i, z := range zones {
			at := reversed(z.name)
			if at > want || at == want && (id == "" || z.id == id) {
				from = i
				break
			}
		}
	}
	page := zonePage{XMLName: name("ListHostedZonesByNameResponse"), MaxItems: strconv.Itoa(n), DNSName: q.Get("dnsname")}
	for _, z := range zones[from:min(len(zones), from+n)] {
		page.Zones = append(page.Zones, z.xml())
	}
	if from+n < len(zones) {
		next := zones[from+n]
		page.IsTruncated, page.NextDNSName, page.NextZoneID = true, escaped(next.name), next.id
	}
	return page, nil
}

func (s *Server) zoneOf(r *http.Request) (*zone, *problem) {
	id := r.PathValue("zone")
	for _, z := range s.zones {
		if z.id == id {
			return z, nil
		}
	}
	return nil, problemf(http.StatusNotFound, "NoSuchHostedZone", "No hosted zone found with ID: %s", id)
}

func (s *Server) getZone(r *http.Request) (any, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, p
	}
	return struct {
		XMLName xml.Name
		Zone    xmlZone `xml:"HostedZone"`
	}{name("GetHostedZoneResponse"), z.xml()}, nil
}

type xmlSet struct {
	Name    string
	Type    string
	TTL     int64
	Records []xmlRecord `xml:"ResourceRecords>ResourceRecord"`
}

type xmlRecord struct{ Value string }

func (s Set) xml() xmlSet {
	x := xmlSet{Name: escaped(s.Name), Type: s.Type, TTL: s.TTL}
	for _, v := range s.Values {
		x.Records = append(x.Records, xmlRecord{v})
	}
	return x
}

func (x xmlSet) set() Set {
	s := Set{Name: fqdn(unescaped(x.Name)), Type: x.Type, TTL: x.TTL}
	for _, r := range x.Records {
		s.Values = append(s.Values, r.Value)
	}
	return s
}

// listSets begins at the first set whose name and type are not before those that are asked for.
func (s *Server) listSets(r *http.Request) (any, *problem) {
	z, p := s.zoneOf(r)
	if p != nil {
		return nil, p
	}
	n, p := maxItems(r, maxPage)
	if p != nil {
		return nil, p
	}
	q := r.URL.Query()
	sets := z.sorted()
	from := 0
	if q.Get("name") != "" {
		at := reversed(fqdn(unescaped(q.Get("name"))))
		from = len(sets)
		for i, set := range sets {
			if is := reversed(set.Name); is > at || is == at && set.Type >= q.Get("type") {
				from = i
				break
			}
		}
	}
	page := struct {
		XMLName     xml.Name
		Sets        []xmlSet `xml:"ResourceRecordSets>ResourceRecordSet"`
		IsTruncated bool
		NextName    string `xml:"NextRecordName,omitempty"`
		NextType    string `xml:"NextRecordType,omitempty"`
		MaxItems    string
	}{XMLName: name("ListResourceRecordSetsResponse"), MaxItems: strconv.Itoa(n)}
	for _, set := range sets[from:min(len(sets), from+n)] {
		page.Sets = append(page.Sets, set.xml())
	}
	if from+n < len(sets) {
		next := sets[from+n]
		page.IsTruncated, page.NextName, page.NextType = true, escaped(next.Name), next.Type
	}
	return page, nil
}
