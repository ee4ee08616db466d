// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// ednsSize is what passes through the Internet in one piece (DNS flag day 2020).
	ednsSize = 1232
	// tsigFudge is how many seconds clocks may be apart (RFC 8945 §10).
	tsigFudge = 300
)

// lookup asks the server for one name and type over UDP, then over TCP if the
// answer does not fit or does not come. The reply is authentic but for its
// RCODE, which the caller judges.
func (d *rfc2136) lookup(ctx context.Context, name dnsrecord.Name, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name.FQDN(), qtype)
	m.RecursionDesired = false
	m.SetEdns0(ednsSize, false)
	reply, err := d.exchange(ctx, "udp", m, d.udpTimeout)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Reason == Unauthorized:
		return nil, err
	case err == nil && reply.Rcode == dns.RcodeFormatError:
		m.Extra = nil // a server from before EDNS (RFC 6891 §7)
	case err == nil && !reply.Truncated:
		return reply, nil
	}
	reply, err = d.exchange(ctx, "tcp", m, d.tcpTimeout)
	if err != nil {
		return nil, err
	}
	if len(reply.Question) != 1 || dns.CanonicalName(reply.Question[0].Name) != name.FQDN() || reply.Question[0].Qtype != qtype {
		return nil, d.fail(Unknown, nil, "server %s answers another question than the one it was asked", d.server)
	}
	return reply, nil
}

// exchange sends one message, signed, and returns the reply if its signature is
// good. It never sends twice: a change that was made and whose reply was lost
// would look like one that was refused.
func (d *rfc2136) exchange(ctx context.Context, network string, m *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	m = m.Copy()
	m.Id = dns.Id()
	client := &dns.Client{Net: network, Timeout: timeout}
	if d.tsig != nil {
		client.TsigSecret = map[string]string{d.tsig.name: d.tsig.secret}
		m.SetTsig(d.tsig.name, d.tsig.algorithm, tsigFudge, d.now().Unix())
	}
	conn, err := client.DialContext(ctx, d.server)
	if err != nil {
		return nil, d.fail(Unreachable, err, "server %s cannot be reached: %v", d.server, plain(err))
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reply, _, err := client.ExchangeWithConnContext(ctx, m, conn)
	if terr := d.tsigError(reply, err); terr != nil {
		return nil, terr
	}
	if errors.Is(err, dns.ErrAuth) {
		return reply, nil // the library will not verify a NOTAUTH; it is an error either way
	}
	if err != nil {
		return nil, d.fail(Unreachable, err, "server %s did not answer over %s: %v", d.server, network, plain(err))
	}
	if !reply.Response || reply.Opcode != m.Opcode {
		return nil, d.fail(Unknown, nil, "server %s answered with something that is no reply", d.server)
	}
	return reply, nil
}

// plain says in few words what went wrong on the network. The error's own text
// names ports of the moment, which would make every message a new one.
func plain(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	var last error
	for e := err; e != nil; e = errors.Unwrap(e) {
		last = e
	}
	return last.Error()
}

// tsigError judges the signature of a reply (RFC 8945 §5.2, §5.4).
func (d *rfc2136) tsigError(reply *dns.Msg, err error) error {
	if d.tsig == nil || reply == nil {
		return nil
	}
	t := reply.IsTsig()
	switch {
	case t != nil && t.Error == dns.RcodeBadKey:
		return d.fail(Unauthorized, nil, "server %s does not know the TSIG key %s with the algorithm %s", d.server, d.keyName(), d.algorithm())
	case t != nil && t.Error == dns.RcodeBadSig:
		return d.fail(Unauthorized, nil, "server %s has another secret for the TSIG key %s, or another algorithm than %s", d.server, d.keyName(), d.algorithm())
	case t != nil && t.Error == dns.RcodeBadTime:
		return d.fail(Unauthorized, nil, "the clock of server %s and ours are more than %d s apart (TSIG BADTIME): set them right", d.server, tsigFudge)
	case t == nil && err == nil && (reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError):
		return d.fail(Unauthorized, nil, "server %s did not sign its reply with the TSIG key %s: it does not know the key, or something stands in between", d.server, d.keyName())
	case errors.Is(err, dns.ErrTime):
		return d.fail(Unauthorized, err, "the reply of server %s was signed at another time: the clocks are more than %d s apart", d.server, tsigFudge)
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKey), errors.Is(err, dns.ErrKeyAlg):
		return d.fail(Unauthorized, err, "the reply of server %s is not rightly signed with the TSIG key %s", d.server, d.keyName())
	}
	return nil
}

// What messages are about.
const (
	questionsAbout = "questions about"
	updatesOf      = "updates of"
)

// rcodeError puts an RCODE into words; nil for those that are answers. what is
// updatesOf or questionsAbout.
func (z *rfc2136Zone) rcodeError(rcode int, what string) error {
	switch rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return nil
	case dns.RcodeYXDomain, dns.RcodeYXRrset, dns.RcodeNXRrset:
		return ErrChanged
	case dns.RcodeNotAuth:
		return z.fail(ZoneNotFound, nil, "server %s is not authoritative for the zone %s (NOTAUTH): name the primary server, and the zone as it has it", z.server, z.name)
	case dns.RcodeNotZone:
		return z.fail(ZoneNotFound, nil, "server %s says that the record is not in the zone %s (NOTZONE)", z.server, z.name)
	case dns.RcodeRefused:
		if what == questionsAbout { // what servers say of zones that they do not have
			return z.fail(ZoneNotFound, nil, "server %s refuses questions about the zone %s (REFUSED): it does not hold the zone, or %s may not ask it; "+
				"name the primary server, and the zone as it has it", z.server, z.name, z.who())
		}
		return z.fail(Refused, nil, "server %s refuses %s %s (REFUSED): let %s do that, in BIND with update-policy or allow-update, and check that this is the primary of the zone",
			z.server, what, z.name, z.who())
	case dns.RcodeNotImplemented:
		return z.fail(Refused, nil, "server %s does not take %s %s (NOTIMP)", z.server, what, z.name)
	case dns.RcodeServerFailure:
		return z.fail(Unreachable, nil, "server %s failed on %s %s (SERVFAIL): its log says why", z.server, what, z.name)
	}
	return z.fail(Unknown, nil, "server %s answers %s %s with %s", z.server, what, z.name, dns.RcodeToString[rcode])
}

func (d *rfc2136) who() string {
	if d.tsig == nil {
		return "this client"
	}
	return "the TSIG key " + d.keyName()
}

func (d *rfc2136) keyName() string {
	return dnsrecord.Name(d.tsig.name[:len(d.tsig.name)-1]).String()
}

func (d *rfc2136) algorithm() string { return d.tsig.algorithm[:len(d.tsig.algorithm)-1] }

func (d *rfc2136) fail(reason Reason, cause error, format string, args ...any) error {
	var secret string
	if d.tsig != nil {
		secret = d.tsig.secret
	}
	return newError(reason, cause, fmt.Sprintf(format, args...), secret)
}
