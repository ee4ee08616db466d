// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"sync"

	"github.com/libdns/desec"
	"github.com/libdns/digitalocean"
	"github.com/libdns/gandi"
	hetzner "github.com/libdns/hetzner/v2"
	"github.com/libdns/libdns"
	"github.com/libdns/linode"
	"github.com/libdns/ovh"
	"github.com/libdns/porkbun"
)

func secret(name string) field { return field{name: name, secret: true} }

// modules is the catalogue of libdns modules, by the names that people write.
var modules = map[string]module{
	"desec": {
		title: "deSEC", version: "v1.1.1", minimumTTL: 3600, make: made[desec.Provider],
		fields: []field{secret("token")},
		faults: "zones of more than 500 record sets are an error; octets that are not UTF-8 are changed: ours are ASCII",
	},
	"digitalocean": {
		title: "DigitalOcean", version: "v0.0.0-20250606071607-dfa7af5c2e31", minimumTTL: 30, make: made[digitalocean.Provider],
		fields: []field{secret("auth_token")},
		faults: "Set and Delete need an id that only its own records have: records are deleted as they were read, Set is never called",
	},
	"gandi": {
		title: "Gandi LiveDNS", version: "v1.1.0", minimumTTL: 300, make: made[gandi.Provider],
		fields: []field{secret("bearer_token")},
		faults: "Set only adds; a record is read with quotation marks and found without: how it is deleted is tried first",
	},
	"hetzner": {
		title: "Hetzner (module hetzner/v2)", version: "v2.0.1", minimumTTL: 60, make: made[hetzner.Provider],
		fields: []field{secret("api_token")},
		faults: "long text is not cut, and no TTL is a nil pointer: text goes as zone files have it, always with a TTL",
	},
	"linode": {
		title: "Linode", version: "v0.5.0", minimumTTL: 300, make: newLinode,
		fields: []field{secret("api_token"), {name: "api_url", optional: true, endpoint: true}},
		withheld: map[string]string{
			"api_version":        "it is part of the address",
			"debug_logs_enabled": "it would log what is sent",
		},
		tested: "a fake of the API v4",
		faults: "Append says nothing of records that it skipped, Set drops types, the process's log is taken over: all is read back, Set is never called, the log is given back",
	},
	"ovh": {
		title: "OVHcloud", version: "v1.1.0", minimumTTL: 60, make: made[ovh.Provider],
		fields: []field{
			{name: "endpoint", among: []string{"ovh-eu", "ovh-ca", "ovh-us", "kimsufi-eu", "kimsufi-ca", "soyoustart-eu", "soyoustart-ca"}},
			secret("application_key"), secret("application_secret"), secret("consumer_key"),
		},
		faults: "quotation marks are taken out, the seams of long text stay in: text is understood either way, and read back",
	},
	"porkbun": {
		title: "Porkbun", version: "v1.1.0", minimumTTL: 600, make: made[porkbun.Provider],
		fields: []field{secret("api_key"), secret("api_secret_key")},
		faults: "deletes by name and type, ignores the context, has no timeout: nothing is deleted beside others, and a call is given up after 30 s",
	},
	"azure": {
		title: "Azure DNS", version: "v0.5.0", minimumTTL: 1, make: newAzure,
		fields: []field{
			{name: "subscription_id"},
			{name: "resource_group_name"},
			{name: "tenant_id", ambient: true},
			{name: "client_id", ambient: true},
			{name: "client_secret", secret: true, ambient: true},
		},
		tested: "a fake of the API",
		faults: "a text goes as one string, so that no key fits, a zone with an unknown type reads as empty, a delete takes the whole set: its calls are made by the vendor's SDK, with compare-and-swap",
	},
	"googleclouddns": {
		title: "Google Cloud DNS", version: "v1.2.0", minimumTTL: 1, make: newGoogle,
		fields: []field{{name: "gcp_project"}, {name: googleKeyField, secret: true, read: readGoogleKey, ambient: true}},
		tested: "a fake of the API v1",
		faults: "text is not cut: it goes as zone files have it; credentials are a path: the key of a service account is handed over as a file in memory, and goes to Google alone",
	},
	"namecheap": {
		title: "Namecheap", version: "v1.0.0",
		refused: "libdns/namecheap v1.0.0 writes the whole zone anew with each change, which the API takes without any precondition, and leaves the domain's e-mail setting out: what others change meanwhile, and forwarded mail, would be lost",
	},
}

// ownTransport keeps what a module does to http.DefaultClient from reaching the other modules: one that has no transport
// gets one, for everybody.
var ownTransport = sync.OnceFunc(func() { http.DefaultClient.Transport = http.DefaultTransport }) //nolint:gochecknoglobals // of the process

// linodeClient gives the log of the process (slog and log) back, which the module takes over with its first call.
type linodeClient struct{ *linode.Provider }

func newLinode(settings map[string]string, opts OpenOptions) (libdnsClient, error) {
	ownTransport()
	giveLogBack() // that is to say: it is known from here on
	client, err := made[linode.Provider](settings, opts)
	if err != nil {
		return nil, err
	}
	return &linodeClient{client.(*linode.Provider)}, nil
}

// GetRecords is the first call in every zone.
func (l *linodeClient) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	defer giveLogBack()
	return l.Provider.GetRecords(ctx, zone)
}

// ListZones is the first call of an account.
func (l *linodeClient) ListZones(ctx context.Context) ([]libdns.Zone, error) {
	defer giveLogBack()
	return l.Provider.ListZones(ctx)
}

// processLog is the log as it was before the module's first call.
var processLog = sync.OnceValue(func() func() { //nolint:gochecknoglobals // of the process
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	return func() {
		if slog.Default() == logger {
			return
		}
		slog.SetDefault(logger)
		log.SetOutput(writer)
		log.SetFlags(flags)
	}
})

func giveLogBack() { processLog()() }
