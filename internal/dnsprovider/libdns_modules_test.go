// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/googleclouddns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// spec is a specification of a module with all its fields.
func (m module) spec(name string) *v1alpha1.Libdns {
	spec := &v1alpha1.Libdns{Name: name, Config: map[string]v1alpha1.LibdnsValue{}, SecretRef: &v1alpha1.SecretRef{Name: "s"}}
	for _, f := range m.fields {
		switch {
		case len(f.among) > 0:
			spec.Config[f.name] = v1alpha1.LibdnsValue(f.among[0])
		case f.endpoint:
			spec.Config[f.name] = "https://api.example.net"
		case !f.secret:
			spec.Config[f.name] = "x"
		}
	}
	return spec
}

// hunter2 is the secret of every Secret, in the form that an entry has to have.
func hunter2(_ context.Context, ref v1alpha1.SecretKeyRef) ([]byte, error) {
	if ref.Key == googleKeyField {
		return []byte("{\n\"type\": \"service_account\", \"client_email\": \"a@b.example\", \"private_key\": \"hunter2\"}\n"), nil
	}
	return []byte("hunter2"), nil
}

// A field of a module that nobody has judged may send credentials elsewhere: a new version with one fails here.
func TestEveryFieldOfEveryModuleIsJudged(t *testing.T) {
	for name, m := range modules {
		if m.refused != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var judged, has []string
			for _, f := range m.fields {
				judged = append(judged, f.name)
			}
			for field, why := range m.withheld {
				judged = append(judged, field)
				if why == "" {
					t.Errorf("%s is withheld without a reason", field)
				}
			}
			client, err := m.make(map[string]string{}, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range reflect.VisibleFields(reflect.TypeOf(client).Elem()) {
				if f.IsExported() && !f.Anonymous {
					tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
					has = append(has, tag)
				}
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(judged)), slices.Sorted(slices.Values(has))); diff != "" {
				t.Errorf("fields that are judged (-) and that the module has (+):\n%s", diff)
			}
		})
	}
}

// The versions that the docs name are those that are built in.
func TestTheVersionsOfTheModulesAreThoseOfGoMod(t *testing.T) {
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) >= 2 {
			built[words[0]] = words[1]
		}
	}
	for name, m := range modules {
		version := built["github.com/libdns/"+name]
		if name == "hetzner" {
			version = built["github.com/libdns/hetzner/v2"]
		}
		if m.refused == "" && version != m.version || m.refused != "" && version != "" {
			t.Errorf("%s: the catalogue says %s, go.mod %s", name, m.version, version)
		}
	}
}

func TestModulesOpenWithTheirFieldsAndNoOthers(t *testing.T) {
	for name, m := range modules {
		if m.refused != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			open := func(change func(*v1alpha1.Libdns)) (*Account, error) {
				spec := m.spec(name)
				change(spec)
				return Open(t.Context(), v1alpha1.DNSProviderSpec{Libdns: spec}, OpenOptions{Secrets: hunter2, Now: nil})
			}
			account, err := open(func(*v1alpha1.Libdns) {})
			if err != nil || !strings.Contains(account.Experimental, name) || account.Driver.MinimumTTL() != m.minimumTTL {
				t.Fatalf("%+v %v", account, err)
			}
			for what, c := range map[string]struct {
				change func(*v1alpha1.Libdns)
				words  string
			}{
				"an unknown field":   {func(l *v1alpha1.Libdns) { l.Config["proxy"] = "http://evil.example" }, "config.proxy is not among what may be set"},
				"a secret in config": {func(l *v1alpha1.Libdns) { l.Config[m.firstSecret()] = "x" }, "is a secret: put it into the Secret"},
				"no Secret":          {func(l *v1alpha1.Libdns) { l.SecretRef = nil }, "secretRef must name a Secret with the entry " + m.firstSecret()},
			} {
				_, err := open(c.change)
				if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Invalid || !strings.Contains(e.Message, c.words) || strings.Contains(e.Message, "hunter2") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// Who names nobody is the operator's own pod: a ClusterDNSProvider may be, a tenant may not, and half a name is none.
func TestTheIdentityOfThePodIsForClusterProvidersAloneWithModulesToo(t *testing.T) {
	for name, m := range modules {
		if !slices.ContainsFunc(m.fields, func(f field) bool { return f.ambient }) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.Libdns{Name: name, Config: map[string]v1alpha1.LibdnsValue{}}
			for _, f := range m.fields {
				if !f.ambient {
					spec.Config[f.name] = "x"
				}
			}
			open := func(ambient bool) error {
				_, err := Open(t.Context(), v1alpha1.DNSProviderSpec{Libdns: spec}, OpenOptions{Secrets: hunter2, AmbientIdentity: ambient})
				return err
			}
			if err := open(true); err != nil {
				t.Errorf("as the operator: %v", err)
			}
			if err := open(false); err == nil || !strings.Contains(err.Error(), m.firstSecret()) && !strings.Contains(err.Error(), "tenant_id is missing") {
				t.Errorf("as a tenant: %v", err)
			}
			spec.SecretRef = &v1alpha1.SecretRef{Name: "s"}
			if name == "azure" {
				if err := open(true); err == nil || !strings.Contains(err.Error(), "tenant_id is missing") {
					t.Errorf("half a name: %v", err)
				}
			}
		})
	}
}

// A key of Google's may say where it is sent, and other kinds of credentials what is run and read: none of that is taken.
func TestOnlyTheKeyOfAServiceAccountIsTaken(t *testing.T) {
	key, err := readGoogleKey([]byte(`{"type":"service_account","private_key":"k","client_email":"e","token_uri":"https://evil.example","universe_domain":"evil.example"}`))
	if err != nil || strings.Contains(key, "evil") || !strings.Contains(key, googleTokenURI) {
		t.Errorf("%s %v", key, err)
	}
	for _, text := range []string{
		``, `hunter2`, `{"type":"service_account","private_key":"hunter2"}`,
		`{"type":"external_account","credential_source":{"executable":{"command":"hunter2"}},"private_key":"k","client_email":"e"}`,
		`{"type":"authorized_user","refresh_token":"hunter2","private_key":"k","client_email":"e"}`,
	} {
		if key, err := readGoogleKey([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %s %v", text, key, err)
		}
	}
}

// The key is in no directory, and in no file when the call has ended.
func TestTheKeyIsAFileAsLongAsACallLasts(t *testing.T) {
	g := &googleClient{Provider: &googleclouddns.Provider{}, key: []byte("hunter2")}
	read := func() string { data, _ := os.ReadFile(g.ServiceAccountJSON); return string(data) }
	var during, again string
	if err := g.with(t.Context(), func(context.Context) error { during, again = read(), read(); return nil }); err != nil {
		t.Fatal(err)
	}
	if during != "hunter2" || again != during || read() == during {
		t.Errorf("during the call %q, %q, and afterwards %q", during, again, read())
	}
}

func (m module) firstSecret() string {
	return m.fields[slices.IndexFunc(m.fields, func(f field) bool { return f.secret })].name
}

func TestCredentialsAreNotSentElsewhere(t *testing.T) {
	for words, l := range map[string]v1alpha1.Libdns{
		"the server evil.example:443 is not among those that --provider-endpoint-allow names": {Name: "linode", Config: map[string]v1alpha1.LibdnsValue{"api_url": "https://evil.example"}},
		"config.api_url must be an http or https URL":                                         {Name: "linode", Config: map[string]v1alpha1.LibdnsValue{"api_url": "file:///etc"}},
		"config.debug_logs_enabled may not be set: it would log what is sent":                 {Name: "linode", Config: map[string]v1alpha1.LibdnsValue{"debug_logs_enabled": "true"}},
		"config.endpoint must be one of ovh-eu":                                               {Name: "ovh", Config: map[string]v1alpha1.LibdnsValue{"endpoint": "https://evil.example/1.0"}},
		"config.endpoint is missing":                                                          {Name: "ovh"},
	} {
		l.SecretRef = &v1alpha1.SecretRef{Name: "s"}
		_, err := Open(t.Context(), v1alpha1.DNSProviderSpec{Libdns: &l}, OpenOptions{Secrets: hunter2, EndpointAllowed: func(h string) bool { return h != "evil.example:443" }})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, not: %s", err, words)
		}
	}
}

// libdns/linode takes over the log of the whole process with its first call.
func TestTheLogOfTheProcessStaysItsOwn(t *testing.T) {
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	m := modules["linode"]
	account, err := Open(t.Context(), v1alpha1.DNSProviderSpec{Libdns: m.spec("linode")}, OpenOptions{Secrets: hunter2})
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel() // nobody is reached
	if _, err := account.Driver.Zones(cancelled); err == nil {
		t.Error("no error")
	}
	if _, err := account.Driver.Zone("example.org").Read(cancelled, nil); err == nil {
		t.Error("no error")
	}
	if slog.Default() != logger || log.Writer() != writer || log.Flags() != flags {
		t.Error("the log is another one")
	}
}
