// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"maps"
	"slices"
)

// Description is what people want to know of a provider before they use it. docs/providers/README.md is made of these.
type Description struct {
	// Name is the field of the specification.
	Name string
	about
	// BuiltIn is false for what this version does not have.
	BuiltIn bool
}

// about is a driver in words.
type about struct {
	Title string
	// Needs are the credentials that it takes, and the least that they must be allowed.
	Needs      string
	MinimumTTL uint32
	// Limits are those of the provider that are kept.
	Limits string
	// Fence is what keeps another writer's change from being lost.
	Fence string
	// Tested is what the driver is proven against.
	Tested string
	Quirks []Quirk
}

// Descriptions are those of all providers in the catalogue, by name.
func Descriptions() []Description {
	var all []Description
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		all = append(all, Description{Name: name, about: drivers[name].about, BuiltIn: drivers[name].open != nil})
	}
	return all
}

// ModuleDescription is what people want to know of a libdns module.
type ModuleDescription struct {
	Name, Title, Version string
	// Takes are the fields that may be set, and where.
	Takes      string
	MinimumTTL uint32
	// Faults are what the module does wrong, and what becomes of them.
	Faults string
	// Refused says why it is not built in; "" if it is.
	Refused string
	// Tested is what the module itself is proven against, besides its settings.
	Tested string
}

// ModuleDescriptions are those of all libdns modules in the catalogue, by name.
func ModuleDescriptions() []ModuleDescription {
	var all []ModuleDescription
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		all = append(all, ModuleDescription{
			Name: name, Title: m.title, Version: m.version, Takes: m.takes(), MinimumTTL: m.minimumTTL,
			Faults: m.faults, Refused: m.refused, Tested: cmp.Or(m.tested, "not yet"),
		})
	}
	return all
}

var (
	aboutCloudflare = about{
		Title:      "Cloudflare",
		Needs:      "API token with Zone:Read and DNS:Edit for the zones, nothing else",
		MinimumTTL: cloudflareMinimumTTL,
		Limits:     "1,200 requests in 5 minutes; batches of 200 records; TXT content of 2,048 characters",
		Fence:      "none: read right before the write, and read back",
		Tested:     "a fake of the API v4",
		Quirks:     cloudflareQuirks,
	}
	aboutRoute53 = about{
		Title:      "Amazon Route 53",
		Needs:      "access key, or the operator's own identity (ClusterDNSProvider only), with a role to take on if wanted; ListHostedZones, ListHostedZonesByName, ListResourceRecordSets, ChangeResourceRecordSets, GetChange",
		MinimumTTL: route53MinimumTTL,
		Limits:     "5 requests a second in an AWS account; batches of 1,000 records and 32,000 characters; values of 4,000 characters",
		Fence:      "compare-and-swap: a batch deletes exactly what was read",
		Tested:     "a fake of the API",
		Quirks:     route53Quirks,
	}
	aboutRFC2136 = about{
		Title:  "Dynamic updates (RFC 2136)",
		Needs:  "TSIG key that may update TXT records of the zone, or the address",
		Limits: "messages of 48 KiB",
		Fence:  "compare-and-swap: prerequisites (RFC 2136 §2.4)",
		Tested: "BIND 9, Knot DNS, PowerDNS, the name server of the tests",
		Quirks: rfc2136Quirks,
	}
	aboutPowerDNS = about{
		Title:  "PowerDNS, HTTP API",
		Needs:  "API key, which is good for the whole server; updates by TSIG can be limited to a zone",
		Limits: "20 requests a second, of our own accord",
		Fence:  "none: read right before the write, and read back",
		Tested: "PowerDNS",
		Quirks: powerDNSQuirks,
	}
	aboutManual = about{Title: "By hand", Needs: "none", Limits: "none", Fence: "you", Tested: "the name server of the tests"}
	aboutLibdns = about{
		Title:  "Other providers, by their libdns modules: see below",
		Needs:  "as the module wants them",
		Limits: "4 calls of the module a second",
		Fence:  "none: read right before each write, and read back; what changes beside it halts the zone",
		Tested: "modules in the process that misbehave in every known way",
	}
)
