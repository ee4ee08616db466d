// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

func TestOpen(t *testing.T) {
	ref := v1alpha1.SecretKeyRef{Name: "tsig", Key: "secret"}
	secret := func(value string, err error) SecretReader {
		return func(context.Context, v1alpha1.SecretKeyRef) ([]byte, error) { return []byte(value), err }
	}
	server := &v1alpha1.RFC2136{Server: "ns1.example.org", TSIG: &v1alpha1.TSIG{KeyName: "op", SecretRef: ref}}
	for name, c := range map[string]struct {
		spec    v1alpha1.DNSProviderSpec
		secrets SecretReader
		allowed func(string) bool
		reason  Reason
		words   string
	}{
		"manual needs nothing":           {spec: v1alpha1.DNSProviderSpec{Manual: &v1alpha1.Manual{}}},
		"rfc2136 reads its key":          {spec: v1alpha1.DNSProviderSpec{RFC2136: server}, secrets: secret(" c2Vj\ncmV0 ", nil)},
		"rfc2136 without a key":          {spec: v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{Server: "::1"}}},
		"a key that is not base64":       {spec: v1alpha1.DNSProviderSpec{RFC2136: server}, secrets: secret("hunter2!", nil), reason: Invalid, words: "not the TSIG key in base64"},
		"a key that is empty":            {spec: v1alpha1.DNSProviderSpec{RFC2136: server}, secrets: secret("", nil), reason: Invalid, words: "entry secret of Secret tsig"},
		"a Secret that is missing":       {spec: v1alpha1.DNSProviderSpec{RFC2136: server}, secrets: secret("", errors.New("not found")), reason: Invalid, words: "not found"},
		"a server that is not allowed":   {spec: v1alpha1.DNSProviderSpec{RFC2136: server}, allowed: func(h string) bool { return h != "ns1.example.org:53" }, reason: Invalid, words: "--provider-endpoint-allow"},
		"cloudflare reads its token":     {spec: v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.Cloudflare{APITokenSecretRef: ref}}, secrets: secret(" token\n", nil)},
		"a token of two lines":           {spec: v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.Cloudflare{APITokenSecretRef: ref}}, secrets: secret("hunter2\nx", nil), reason: Invalid, words: "entry secret of Secret tsig is not an API token"},
		"route53 with keys of its own":   {spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{AccessKeyID: "AKIA", SecretAccessKeySecretRef: &ref}}, secrets: secret("hunter2", nil)},
		"route53 as the operator itself": {spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53{}}, reason: Invalid, words: "for a ClusterDNSProvider alone"},
		"powerdns reads its key":         {spec: v1alpha1.DNSProviderSpec{PowerDNS: &v1alpha1.PowerDNS{URL: "http://pdns.example.org:8081", APIKeySecretRef: ref}}, secrets: secret("hunter2", nil)},
		"a PowerDNS that is not allowed": {
			spec:    v1alpha1.DNSProviderSpec{PowerDNS: &v1alpha1.PowerDNS{URL: "https://pdns.example.org/", APIKeySecretRef: ref}},
			allowed: func(h string) bool { return h != "pdns.example.org:443" }, reason: Invalid, words: "--provider-endpoint-allow",
		},
		"a libdns module of no such name":  {spec: v1alpha1.DNSProviderSpec{Libdns: &v1alpha1.Libdns{Name: "hover"}}, reason: NotBuiltIn, words: "module hover is not built into this version; there are azure, desec"},
		"a libdns module that is left out": {spec: v1alpha1.DNSProviderSpec{Libdns: &v1alpha1.Libdns{Name: "namecheap"}}, reason: NotBuiltIn, words: "writes the whole zone anew"},
		"no driver":                        {reason: Invalid, words: "exactly one of [cloudflare libdns manual powerdns rfc2136 route53]"},
		"two drivers":                      {spec: v1alpha1.DNSProviderSpec{Manual: &v1alpha1.Manual{}, RFC2136: server}, reason: Invalid, words: "exactly one"},
	} {
		t.Run(name, func(t *testing.T) {
			account, err := Open(t.Context(), c.spec, OpenOptions{Secrets: c.secrets, EndpointAllowed: c.allowed})
			if c.reason == "" {
				if err != nil || account.Fingerprint == "" {
					t.Fatalf("%+v %v", account, err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Reason != c.reason || !strings.Contains(e.Message, c.words) || e.Temporary() {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestOpenTakesTheRateLimit(t *testing.T) {
	account, err := Open(t.Context(), v1alpha1.DNSProviderSpec{Manual: &v1alpha1.Manual{}, RateLimit: &v1alpha1.RateLimit{RequestsPerSecond: 7, Burst: 9}}, OpenOptions{})
	if err != nil || account.RequestsPerSecond != 7 || account.Burst != 9 {
		t.Errorf("%v %v", account.RequestsPerSecond, err)
	}
}

func TestAccountsWithOtherCredentialsHaveOtherFingerprints(t *testing.T) {
	open := func(key string, secret string) string {
		spec := v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{Server: "ns1.example.org", TSIG: &v1alpha1.TSIG{KeyName: key}}}
		account, err := Open(t.Context(), spec, OpenOptions{Secrets: func(context.Context, v1alpha1.SecretKeyRef) ([]byte, error) { return []byte(secret), nil }})
		if err != nil {
			t.Fatal(err)
		}
		return account.Fingerprint
	}
	if open("op", "YQ==") != open("OP.", "YQ==") {
		t.Error("one key, two fingerprints")
	}
	if open("op", "YQ==") == open("op", "Yg==") || open("op", "YQ==") == open("po", "YQ==") {
		t.Error("two keys, one fingerprint")
	}
}

func TestErrorsAreFitForAStatus(t *testing.T) {
	e := newError(Unknown, nil, "token s3cr3t\n\x1b[31m"+strings.Repeat("é", 1000), "s3cr3t")
	if strings.Contains(e.Message, "s3cr3t") || strings.ContainsAny(e.Message, "\n\x1b") || len(e.Message) > maxMessage+len("…") {
		t.Errorf("%q", e.Message)
	}
	if e := asError(context.DeadlineExceeded); e.Reason != Unreachable || !e.Temporary() {
		t.Errorf("%+v", e)
	}
}

func TestAFingerprintTellsWhatIsWantedNotWhatIsRemembered(t *testing.T) {
	s := submission("a", txt("_dmarc.example.org", "x"), txt("old.example.org", "", "y"))
	noted := s
	noted.RememberedGeneration = 7
	noted.Wishes = append(noted.Wishes[:0:0], noted.Wishes...)
	noted.Wishes[0].Ours = []string{"x"}
	if s.Fingerprint() != noted.Fingerprint() {
		t.Error("a status that was noted looks like another wish")
	}
	other := s
	other.Wishes = append(other.Wishes[:0:0], other.Wishes...)
	for _, value := range []string{"y", "x\xff", "x\xfe"} {
		other.Wishes[0].Value = value
		if s.Fingerprint() == other.Fingerprint() {
			t.Errorf("%q looks like x", value)
		}
	}
}
