// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"net"
	"path"
	"strings"
)

// Endpoints are patterns of hosts that tenants' providers may point at, such as ns1.example.org or *.example.org; none
// allows all. The operator's place in the network is not a tenant's: it may reach what a tenant may not.
type Endpoints []string

// Allow tells whether a host, with or without a port, matches one of the patterns.
func (e Endpoints) Allow(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range e {
		if ok, err := path.Match(strings.ToLower(pattern), host); err == nil && ok {
			return true
		}
	}
	return len(e) == 0
}
