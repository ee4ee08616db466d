// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/route53"
)

// cloud is Route 53, with AWS's token service beside it, which gives keys for the token of a service account.
type cloud struct {
	*route53.Server
	exchanged []string // what the token service was asked
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Host, "sts.") {
		return c.Server.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.exchanged = append(c.exchanged, string(body))
	answer := `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>` + c.AccessKeyID + `</AccessKeyId><SecretAccessKey>lent</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/xml"}},
		Body: io.NopCloser(strings.NewReader(answer)), Request: r,
	}, nil
}

// noIdentity takes everything away that the machine of the tests may be to AWS.
func noIdentity(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CA_BUNDLE",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// The operator's own identity opens Route 53 for a ClusterDNSProvider, whatever kind of identity it is, and for no tenant.
func TestTheIdentityOfThePodIsForClusterProvidersAlone(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("of-the-service-account"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env       map[string]string
		works     bool
		exchanges string
	}{
		"keys in the environment":           {map[string]string{"AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": "hunter2"}, true, ""},
		"the service account's role (IRSA)": {map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/dns", "AWS_WEB_IDENTITY_TOKEN_FILE": token}, true, "of-the-service-account"},
		"none":                              {nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			noIdentity(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			aws := &cloud{Server: route53.New(accessKeyID, "example.org")}
			spec := v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{}}
			options := dnsprovider.OpenOptions{AmbientIdentity: true, Transport: aws, Now: now}
			account, err := dnsprovider.Open(t.Context(), spec, options)
			if err != nil {
				t.Fatal(err)
			}
			err = account.Driver.Check(t.Context(), []dnsrecord.Name{"example.org"})
			if c.works != (err == nil) || err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("as the operator: %v", err)
			}
			if got := strings.Join(aws.exchanged, " "); !strings.Contains(got, c.exchanges) || (c.exchanges == "") != (got == "") {
				t.Errorf("the token service was asked %q", got)
			}
			before := aws.Calls()[""]
			options.AmbientIdentity = false
			_, err = dnsprovider.Open(t.Context(), spec, options)
			if e, ok := errors.AsType[*dnsprovider.Error](err); !ok || e.Reason != dnsprovider.Invalid || !strings.Contains(e.Message, "accessKeyID and secretAccessKeySecretRef") || aws.Calls()[""] != before {
				t.Errorf("as a tenant: %v", err)
			}
		})
	}
}
