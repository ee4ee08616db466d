// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/libdns/googleclouddns"
	"github.com/libdns/libdns"
)

// googleClient hands the key of a service account to libdns/googleclouddns, which wants the path of a file: one that has no
// name in any directory, and is gone when the call has ended. Its client is made by the first call and keeps that call's
// context, which must not end with it.
type googleClient struct {
	*googleclouddns.Provider
	key []byte // nil: what the operator's own pod is to Google
}

// googleKey is all that is taken of a service account's key. Other kinds of credentials name programs to run, files to read
// and servers to ask; so may the addresses in a key.
type googleKey struct {
	Type         string `json:"type"`
	ProjectID    string `json:"project_id,omitempty"`
	PrivateKeyID string `json:"private_key_id,omitempty"`
	PrivateKey   string `json:"private_key"`
	ClientEmail  string `json:"client_email"`
	ClientID     string `json:"client_id,omitempty"`
	TokenURI     string `json:"token_uri"`
}

const (
	googleKeyField = "gcp_application_default"
	googleTokenURI = "https://oauth2.googleapis.com/token" //nolint:gosec // an address, no credential
)

func newGoogle(settings map[string]string, _ OpenOptions) (libdnsClient, error) {
	g := &googleClient{Provider: &googleclouddns.Provider{Project: settings["gcp_project"]}}
	if key := settings[googleKeyField]; key != "" {
		g.key = []byte(key)
	}
	return g, nil
}

// readGoogleKey keeps what identifies the account, and sends it to Google alone. What it says of bad text holds none of it.
func readGoogleKey(text []byte) (string, error) {
	var key googleKey
	if err := json.Unmarshal(text, &key); err != nil || key.Type != "service_account" || key.PrivateKey == "" || key.ClientEmail == "" {
		return "", errors.New("it must be the key of a service account, as the JSON that Google gives out: with type service_account, private_key and client_email; other kinds of credentials are not taken")
	}
	key.TokenURI = googleTokenURI
	data, err := json.Marshal(key) //nolint:gosec // for the module alone, which is handed it in memory
	return string(data), err
}

// with calls the module, whose path leads to the key meanwhile.
func (g *googleClient) with(ctx context.Context, call func(context.Context) error) error {
	if g.key == nil {
		return call(context.WithoutCancel(ctx))
	}
	file, err := unnamedFile(g.key)
	if err != nil {
		return fmt.Errorf("hand over the key of the service account: %w", err)
	}
	defer file.Close()
	g.ServiceAccountJSON = fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	return call(context.WithoutCancel(ctx))
}

// GetRecords lists the zone.
func (g *googleClient) GetRecords(ctx context.Context, zone string) (records []libdns.Record, err error) {
	err = g.with(ctx, func(ctx context.Context) error { records, err = g.Provider.GetRecords(ctx, zone); return err })
	return records, err
}

// AppendRecords adds to what stands at the names.
func (g *googleClient) AppendRecords(ctx context.Context, zone string, given []libdns.Record) (records []libdns.Record, err error) {
	err = g.with(ctx, func(ctx context.Context) error { records, err = g.Provider.AppendRecords(ctx, zone, given); return err })
	return records, err
}

// DeleteRecords takes away from what stands at the names.
func (g *googleClient) DeleteRecords(ctx context.Context, zone string, given []libdns.Record) (records []libdns.Record, err error) {
	err = g.with(ctx, func(ctx context.Context) error { records, err = g.Provider.DeleteRecords(ctx, zone, given); return err })
	return records, err
}
