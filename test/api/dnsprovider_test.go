// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

const dnsProvider = `
apiVersion: maildomain.dev/v1alpha1
kind: DNSProvider
metadata: {name: dns, namespace: default}
spec: {}
`

const clusterDNSProvider = `
apiVersion: maildomain.dev/v1alpha1
kind: ClusterDNSProvider
metadata: {name: dns}
spec: {}
`

func TestBothKindsOfProvidersAreAcceptedWith(t *testing.T) {
	cases := []acceptance{
		{"Cloudflare", spec(`cloudflare: {apiTokenSecretRef: {name: cloudflare, key: token}, zoneID: 023e105f4ecef8ad9ca31a8372d0c353}`)},
		{"Route 53", spec(`route53: {region: us-gov-west-1, hostedZoneID: Z0123456789ABCDEFGHIJ, accessKeyID: AKIAIOSFODNN7EXAMPLE, secretAccessKeySecretRef: {name: aws, key: secret}, roleARN: "arn:aws:iam::123456789012:role/dns/mail"}`)},
		{"RFC 2136", spec(`rfc2136: {server: "192.0.2.53:5353", tsig: {keyName: operator.example.org., algorithm: hmac-sha512, secretRef: {name: tsig, key: secret}}, transport: UDP}`)},
		{"RFC 2136 at a name", spec(`rfc2136: {server: ns1.example.org}`)},
		{"RFC 2136 at a Service's name", spec(`rfc2136: {server: "bind.dns.svc.cluster.local:53"}`)},
		{"RFC 2136 at an IPv6 address", spec(`rfc2136: {server: "2001:db8::53"}`)},
		{"RFC 2136 at an IPv6 address and port", spec(`rfc2136: {server: "[2001:db8::53]:53"}`)},
		{"PowerDNS", spec(`powerdns: {url: "http://pdns:8081", serverID: localhost, apiKeySecretRef: {name: pdns, key: key}}`)},
		{"a libdns module", spec(`libdns: {name: hetzner, config: {endpoint: "https://api.example.net"}, secretRef: {name: hetzner}}`)},
		{"manual", spec(`manual: {}`)},
		{"zones and TTL", spec(`manual: {}, zones: [example.org, _domainkey.example.net, org, 2.0.192.in-addr.arpa, bücher.example], ttlSeconds: 60`)},
		{"name servers", spec(`manual: {}, verification: {mode: Recursive, strict: true, nameservers: [192.0.2.53, "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]}`)},
		{"a rate", spec(`manual: {}, rateLimit: {requestsPerSecond: 4, burst: 8}`)},
	}
	for kind, manifest := range map[string]string{"DNSProvider": dnsProvider, "ClusterDNSProvider": clusterDNSProvider} {
		t.Run(kind, func(t *testing.T) { mustAcceptNew(t, manifest, cases) })
	}
}

func TestBothKindsOfProvidersAreRefusedWith(t *testing.T) {
	const (
		oneOf        = "write exactly one of cloudflare, route53, rfc2136, powerdns, libdns and manual"
		noNameserver = "write a name server by its IP address, with a port where it is not 53"
		noServer     = "write the primary server as a name or an IP address"
		noZone       = "not the name of a zone: write it as example.org"
		noURL        = "write the address of the API as an http or https URL without a user name"
	)
	key := `apiKeySecretRef: {name: a, key: b}`
	cases := []refusal{
		{"no provider", `{}`, oneOf},
		{"two providers", spec(`manual: {}, cloudflare: {apiTokenSecretRef: {name: a, key: b}}`), oneOf},
		{"a zone with a final dot", spec(`manual: {}, zones: [example.org.]`), noZone},
		{"a wildcard as a zone", spec(`manual: {}, zones: ["*.example.org"]`), noZone},
		{"a zone twice", spec(`manual: {}, zones: [example.org, example.org]`), "Duplicate value"},
		{"a TTL of none", spec(`manual: {}, ttlSeconds: 0`), "should be greater than or equal to 1"},
		{"a TTL of a week", spec(`manual: {}, ttlSeconds: 604800`), "should be less than or equal to 86400"},
		{"a token without its entry", spec(`cloudflare: {apiTokenSecretRef: {name: a}}`), "apiTokenSecretRef.key: Required value"},
		{"an entry of a Secret with a slash", spec(`cloudflare: {apiTokenSecretRef: {name: a, key: ../b}}`), "not the name of an entry in a Secret"},
		{"a zone's name as its id", spec(`cloudflare: {apiTokenSecretRef: {name: a, key: b}, zoneID: example.org}`), "not a zone id of Cloudflare"},
		{"an access key without its secret", spec(`route53: {accessKeyID: AKIAIOSFODNN7EXAMPLE}`), "accessKeyID and secretAccessKeySecretRef belong together"},
		{"a region that is none", spec(`route53: {region: Frankfurt, accessKeyID: A1, secretAccessKeySecretRef: {name: a, key: b}}`), "not an AWS region"},
		{"a hosted zone with its path", spec(`route53: {hostedZoneID: /hostedzone/Z1, accessKeyID: A1, secretAccessKeySecretRef: {name: a, key: b}}`), "not the id of a hosted zone: write it as Z0123456789ABCDEFGHIJ"},
		{"a secret as an access key id", spec(`route53: {accessKeyID: "wJalrXUtnFEMI/K7MDENG", secretAccessKeySecretRef: {name: a, key: b}}`), "not an access key id"},
		{"a role by its name", spec(`route53: {roleARN: mail, accessKeyID: A1, secretAccessKeySecretRef: {name: a, key: b}}`), "not the ARN of a role"},
		{"a server with a scheme", spec(`rfc2136: {server: "tcp://192.0.2.53"}`), noServer},
		{"a server with brackets around a name", spec(`rfc2136: {server: "[ns1.example.org]:53"}`), noServer},
		{"no server", spec(`rfc2136: {server: ""}`), noServer},
		{"a TSIG key without its Secret", spec(`rfc2136: {server: ns1, tsig: {keyName: a}}`), "tsig.secretRef: Required value"},
		{"TSIG by MD5", spec(`rfc2136: {server: ns1, tsig: {keyName: a, algorithm: hmac-md5, secretRef: {name: a, key: b}}}`), `supported values: "hmac-sha224", "hmac-sha256"`},
		{"a TSIG key's name with its algorithm", spec(`rfc2136: {server: ns1, tsig: {keyName: "hmac-sha256:a", secretRef: {name: a, key: b}}}`), "not the name of a TSIG key"},
		{"an API without a scheme", spec(`powerdns: {url: "pdns:8081", ` + key + `}`), noURL},
		{"an API with a password", spec(`powerdns: {url: "https://a:b@pdns", ` + key + `}`), noURL},
		{"a file as an API", spec(`powerdns: {url: "file:///etc/passwd", ` + key + `}`), noURL},
		{"a server id with a slash", spec(`powerdns: {url: "https://pdns", serverID: a/b, ` + key + `}`), "not the id of a server"},
		{"a libdns module by its path", spec(`libdns: {name: github.com/libdns/hetzner}`), "not the name of a libdns module"},
		{"a name server by its name", spec(`manual: {}, verification: {nameservers: [ns1.example.org]}`), noNameserver},
		{"port 0", spec(`manual: {}, verification: {nameservers: ["192.0.2.53:0"]}`), noNameserver},
		{"port 65536", spec(`manual: {}, verification: {nameservers: ["[2001:db8::53]:65536"]}`), noNameserver},
		{"a broken address", spec(`manual: {}, verification: {nameservers: ["192.0.2.256:53"]}`), noNameserver},
		{"brackets without a port", spec(`manual: {}, verification: {nameservers: ["[2001:db8::53]"]}`), noNameserver},
		{"an unknown mode", spec(`manual: {}, verification: {mode: Sometimes}`), `supported values: "Authoritative", "Recursive", "None"`},
		{"no calls at all", spec(`manual: {}, rateLimit: {requestsPerSecond: 0}`), "should be greater than or equal to 1"},
	}
	for kind, manifest := range map[string]string{"DNSProvider": dnsProvider, "ClusterDNSProvider": clusterDNSProvider} {
		t.Run(kind, func(t *testing.T) { mustRefuseNew(t, manifest, cases) })
	}
}

func TestTheIdentityOfTheOperatorsPodIsForClusterProvidersAlone(t *testing.T) {
	ambient := []string{`route53: {}`, `route53: {region: us-east-1, roleARN: "arn:aws:iam::123456789012:role/dns"}`}
	for _, block := range ambient {
		mustAcceptNew(t, clusterDNSProvider, []acceptance{{block, spec(block)}})
		mustRefuseNew(t, dnsProvider, []refusal{{block, spec(block), "route53 needs accessKeyID and secretAccessKeySecretRef in a DNSProvider"}})
	}
}

func TestGrants(t *testing.T) {
	grant := func(fields string) string { return spec(`manual: {}, grants: [{` + fields + `}]`) }
	mustAcceptNew(t, clusterDNSProvider, []acceptance{
		{"a domain and the names below another", grant(`namespaceSelector: {matchLabels: {mail: "yes"}}, domains: [example.org, "*.example.net", "*.bücher.example"]`)},
		{"every namespace", grant(`namespaceSelector: {}, domains: [example.org]`)},
	})
	const noDomain = "write a domain (example.org) or all names below one (*.example.org)"
	mustRefuseNew(t, clusterDNSProvider, []refusal{
		{"no selector", grant(`domains: [example.org]`), "namespaceSelector: Required value"},
		{"no domains", grant(`namespaceSelector: {}`), "domains: Required value"},
		{"an empty list of domains", grant(`namespaceSelector: {}, domains: []`), "should have at least 1 items"},
		{"everything", grant(`namespaceSelector: {}, domains: ["*"]`), noDomain},
		{"a star inside", grant(`namespaceSelector: {}, domains: ["mail.*.example.org"]`), noDomain},
		{"a star in a label", grant(`namespaceSelector: {}, domains: ["m*.example.org"]`), noDomain},
		{"a whole top level", grant(`namespaceSelector: {}, domains: ["*.org"]`), noDomain},
		{"a single label", grant(`namespaceSelector: {}, domains: [org]`), noDomain},
	})
}

func TestADNSProviderHasNoGrants(t *testing.T) {
	c := newClient(t)
	provider := object(t, dnsProvider, spec(`manual: {}, grants: [{namespaceSelector: {}, domains: [example.org]}]`))
	err := c.Create(t.Context(), provider, dryRunStrict{})
	if err == nil || !strings.Contains(err.Error(), `unknown field "spec.grants"`) {
		t.Errorf("a namespace grants itself to others: %v", err)
	}
}
