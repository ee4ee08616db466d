// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// libdnsClient is what is called of a module. Set is not: it replaces all that stands at a name.
type libdnsClient interface {
	libdns.RecordGetter
	libdns.RecordAppender
	libdns.RecordDeleter
}

// module is one libdns module of the catalogue.
type module struct {
	title   string
	version string
	// fields are what may be set, and all but the optional ones must be: what is missing, several modules take from the
	// environment or from files of the operator's pod.
	fields []field
	// withheld are fields that the module has and nobody may set, with the reason.
	withheld   map[string]string
	minimumTTL uint32
	// faults are what its source and its tests show, and what becomes of them here.
	faults string
	// tested is what the module itself has passed the conformance suite against; "" if nothing.
	tested string
	// refused says why it is not built in; "" if it is.
	refused string
	make    func(map[string]string, OpenOptions) (libdnsClient, error)
}

// field is one field of a module, by its name in JSON.
type field struct {
	name string
	// secret fields come from the Secret, the others from config.
	secret, optional bool
	// endpoint is where the credentials are sent: --provider-endpoint-allow judges it.
	endpoint bool
	// read makes of a secret what is taken of it, where that is not one line; its error must not hold the secret.
	read func([]byte) (string, error)
	// ambient fields say who the account is. Where all of them are left out, and the provider object may do so, it is the
	// operator's own pod.
	ambient bool
	// among are the only values, if there are any.
	among []string
}

// settings are the fields as the module takes them, checked, and those of them that are secret.
func (m module) settings(ctx context.Context, spec *v1alpha1.Libdns, opts OpenOptions) (settings map[string]string, secrets []string, err error) {
	settings = map[string]string{}
	if err := m.allowed(spec); err != nil {
		return nil, nil, err
	}
	borrows := opts.AmbientIdentity && m.namesNobody(spec)
	for _, f := range m.fields {
		if f.ambient && borrows {
			continue
		}
		value := string(spec.Config[f.name])
		if f.secret {
			if value, err = secretSetting(ctx, spec, f, opts); err != nil {
				return nil, nil, err
			}
			secrets = append(secrets, value, url.QueryEscape(value), url.PathEscape(value))
		}
		if err := f.check(spec, value, opts); err != nil {
			return nil, nil, err
		}
		if value != "" {
			settings[f.name] = value
		}
	}
	return settings, secrets, nil
}

// namesNobody tells whether the specification leaves it open who the account is.
func (m module) namesNobody(spec *v1alpha1.Libdns) bool {
	return spec.SecretRef == nil && !slices.ContainsFunc(m.fields, func(f field) bool { return f.ambient && spec.Config[f.name] != "" })
}

func secretSetting(ctx context.Context, spec *v1alpha1.Libdns, f field, opts OpenOptions) (string, error) {
	if spec.SecretRef == nil {
		return "", invalidSetting(spec, "secretRef must name a Secret with the entry %s", f.name)
	}
	ref := v1alpha1.SecretKeyRef{Name: spec.SecretRef.Name, Key: f.name}
	if f.read == nil {
		return readToken(ctx, opts.Secrets, ref, f.name)
	}
	data, err := opts.Secrets(ctx, ref)
	if err != nil {
		return "", newError(Invalid, err, fmt.Sprintf("entry %s of Secret %s cannot be read: %v", ref.Key, ref.Name, err))
	}
	value, err := f.read(data)
	if err != nil {
		return "", invalidSetting(spec, "entry %s of Secret %s: %v", ref.Key, ref.Name, err)
	}
	return value, nil
}

// check says what is wrong with the value of a field.
func (f field) check(spec *v1alpha1.Libdns, value string, opts OpenOptions) error {
	switch {
	case value == "" && f.optional:
		return nil
	case value == "":
		return invalidSetting(spec, "config.%s is missing", f.name)
	case len(f.among) > 0 && !slices.Contains(f.among, value):
		return invalidSetting(spec, "config.%s must be one of %s", f.name, strings.Join(f.among, ", "))
	case f.endpoint:
		return f.checkEndpoint(spec, value, opts)
	}
	return nil
}

// allowed refuses what is not on the list: a field may say where credentials go.
func (m module) allowed(spec *v1alpha1.Libdns) error {
	for _, name := range slices.Sorted(maps.Keys(spec.Config)) {
		at := slices.IndexFunc(m.fields, func(f field) bool { return f.name == name })
		switch {
		case at >= 0 && m.fields[at].secret:
			return invalidSetting(spec, "%s is a secret: put it into the Secret that secretRef names, under this name", name)
		case at >= 0:
		case m.withheld[name] != "":
			return invalidSetting(spec, "config.%s may not be set: %s", name, m.withheld[name])
		default:
			return invalidSetting(spec, "config.%s is not among what may be set: %s", name, m.takes())
		}
	}
	return nil
}

// takes lists the fields for people.
func (m module) takes() string {
	var config, secret []string
	for _, f := range m.fields {
		switch {
		case f.secret:
			secret = append(secret, f.name)
		case f.optional:
			config = append(config, f.name+" (optional)")
		default:
			config = append(config, f.name)
		}
	}
	words := "Secret: " + strings.Join(secret, ", ")
	if len(config) > 0 {
		words = "config: " + strings.Join(config, ", ") + "; " + words
	}
	if slices.ContainsFunc(m.fields, func(f field) bool { return f.ambient }) {
		words += " (a ClusterDNSProvider may leave out who it is, and is the operator's pod then)"
	}
	return words
}

func (f field) checkEndpoint(spec *v1alpha1.Libdns, value string, opts OpenOptions) error {
	endpoint, err := url.Parse(value)
	ports := map[string]string{"http": "80", "https": "443"}
	if err != nil || endpoint.Host == "" || endpoint.User != nil || ports[endpoint.Scheme] == "" {
		return invalidSetting(spec, "config.%s must be an http or https URL without a user name", f.name)
	}
	hostport := hostPort(endpoint.Host, ports[endpoint.Scheme])
	if opts.EndpointAllowed != nil && !opts.EndpointAllowed(hostport) {
		return invalidSetting(spec, "the server %s is not among those that --provider-endpoint-allow names", hostport)
	}
	return nil
}

func invalidSetting(spec *v1alpha1.Libdns, format string, args ...any) error {
	return newError(Invalid, nil, "libdns module "+spec.Name+": "+fmt.Sprintf(format, args...))
}

// made makes a module of type P with these settings.
func made[P any, M interface {
	*P
	libdnsClient
}](settings map[string]string, _ OpenOptions) (libdnsClient, error) {
	m := M(new(P))
	data, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(data, m)
}
