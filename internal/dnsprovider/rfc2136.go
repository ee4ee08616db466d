// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	udpTimeout = 2 * time.Second
	tcpTimeout = 5 * time.Second
)

// rfc2136 is the driver of a DNS server that takes dynamic updates (RFC 2136).
// It reads exact names at the primary; AXFR is not needed.
type rfc2136 struct {
	server string // host:port
	update string // "tcp" or "udp", for updates that fit
	tsig   *tsigKey
	now    func() time.Time

	udpTimeout, tcpTimeout time.Duration
}

// tsigKey signs messages (RFC 8945).
type tsigKey struct {
	name      string // absolute, lower case
	algorithm string // as miekg/dns writes it, with a dot at the end
	secret    string // base64
}

// String keeps the secret out of every log.
func (k *tsigKey) String() string { return "TSIG key " + k.name }

// GoString is String.
func (k *tsigKey) GoString() string { return k.String() }

func openRFC2136(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	server := hostPort(spec.RFC2136.Server, "53")
	if opts.EndpointAllowed != nil && !opts.EndpointAllowed(server) {
		return nil, newError(Invalid, nil, fmt.Sprintf("the server %s is not among those that --provider-endpoint-allow names", server))
	}
	d := &rfc2136{server: server, update: "tcp", now: opts.Now, udpTimeout: udpTimeout, tcpTimeout: tcpTimeout}
	if spec.RFC2136.Transport == v1alpha1.TransportUDP {
		d.update = "udp"
	}
	parts := []string{"rfc2136", server, d.update}
	if spec.RFC2136.TSIG != nil {
		key, err := readTSIG(ctx, spec.RFC2136.TSIG, opts.Secrets)
		if err != nil {
			return nil, err
		}
		d.tsig = key
		parts = append(parts, key.name, key.algorithm, key.secret)
	}
	return &Account{Driver: d, Fingerprint: fingerprint(parts...)}, nil
}

func readTSIG(ctx context.Context, spec *v1alpha1.TSIG, secrets SecretReader) (*tsigKey, error) {
	algorithm := spec.Algorithm
	if algorithm == "" {
		algorithm = v1alpha1.TSIGHMACSHA256
	}
	data, err := secrets(ctx, spec.SecretRef)
	if err != nil {
		return nil, newError(Invalid, err, fmt.Sprintf("entry %s of Secret %s cannot be read: %v", spec.SecretRef.Key, spec.SecretRef.Name, err))
	}
	secret := strings.Join(strings.Fields(string(data)), "")
	if raw, err := base64.StdEncoding.DecodeString(secret); err != nil || len(raw) == 0 {
		return nil, newError(Invalid, nil, fmt.Sprintf("entry %s of Secret %s is not the TSIG key in base64, as tsig-keygen prints it after \"secret\"",
			spec.SecretRef.Key, spec.SecretRef.Name))
	}
	return &tsigKey{name: dns.CanonicalName(spec.KeyName), algorithm: dns.CanonicalName(string(algorithm)), secret: secret}, nil
}

// hostPort adds the port where there is none; an IPv6 address may come with or without brackets.
func hostPort(server, port string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), port)
}

// Zones is not known to the protocol.
func (d *rfc2136) Zones(context.Context) ([]dnsrecord.Name, error) { return nil, ErrUnsupported }

// MinimumTTL is none.
func (d *rfc2136) MinimumTTL() uint32 { return 0 }

// Zone returns a zone at the server.
func (d *rfc2136) Zone(name dnsrecord.Name) Zone { return &rfc2136Zone{rfc2136: d, name: name} }

// Check asks for the SOA of each zone and sends it an update that changes
// nothing, both signed: so the key is tried, and whether the zone takes updates
// here. Without zones only the key is tried.
func (d *rfc2136) Check(ctx context.Context, zones []dnsrecord.Name) error {
	if len(zones) == 0 {
		_, err := d.lookup(ctx, "", dns.TypeSOA)
		return err
	}
	var errs []error
	for _, name := range zones {
		z := &rfc2136Zone{rfc2136: d, name: name}
		errs = append(errs, z.check(ctx))
	}
	return errors.Join(errs...)
}
