// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver is what a judgement asks the DNS with. The lookups are as *net.Resolver and
// blitiri.com.ar/go/spf have them: an error that is a *net.DNSError with
// IsNotFound says that the name or the type is not there; any other, that nothing is known.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	// Exists tells whether a name is there, with records or without (RFC 8020 §2). With an error nothing is known.
	Exists(ctx context.Context, name string) (bool, error)
}

// Envelope is what SMTP says of a message before the message.
type Envelope struct {
	Client   netip.Addr // who delivers it; invalid if it did not come over a network
	HELO     string     // the name in HELO or EHLO
	MailFrom string     // the reverse path without < and >; "" for a null sender
}

const (
	// maxSignatures bounds how many signatures of a message are judged: each costs a key and a public-key operation.
	maxSignatures = 10
	// maxKept bounds the header that is kept, with what each field costs beside its octets.
	maxKept   = 1 << 20
	fieldCost = 64
)

// Judgement judges one message as it streams past.
//
//	Header × n → Body × n → Verdict(resolver, now)
//
// It keeps the header, since a signature may cover any field, and a hash of
// the body for each way in which signatures take it, whatever the body's size.
type Judgement struct {
	envelope Envelope
	fields   []rawField
	places   map[string][]int // of fields, by name in lower case
	size     int
	tooLarge bool
	ended    bool // the header has ended

	claims []examined
	unread int // signatures beyond maxSignatures
	bodies bodyHashes
}

// rawField is a header field as it came, with CRLF at its folds.
type rawField struct{ name, value string }

// examined is a signature, and why it is no good already.
type examined struct {
	claim
	place int // of its field
	err   error
}

// NewJudgement begins a message.
func NewJudgement(e Envelope) *Judgement {
	return &Judgement{envelope: e, places: map[string][]int{}}
}

// Header takes the next field, from top to bottom: the name, and all that
// follows the colon, folded with CRLF or LF.
func (j *Judgement) Header(name string, value []byte) {
	j.size += len(name) + len(value) + fieldCost
	if j.size > maxKept {
		j.tooLarge = true
		return
	}
	lower := strings.ToLower(strings.TrimRight(name, " \t"))
	j.places[lower] = append(j.places[lower], len(j.fields))
	text := strings.ReplaceAll(string(value), "\r\n", "\n")
	j.fields = append(j.fields, rawField{name, strings.ReplaceAll(text, "\n", "\r\n")})
}

// Body takes the next piece of the body; the first ends the header.
func (j *Judgement) Body(p []byte) {
	j.endHeader()
	j.bodies.write(p)
}

// endHeader reads the signatures: now it is known which hashes of the body they need.
func (j *Judgement) endHeader() {
	if j.ended {
		return
	}
	j.ended = true
	for _, place := range j.places["dkim-signature"] {
		if len(j.claims) == maxSignatures {
			j.unread++
			continue
		}
		s := examined{place: place}
		s.claim, s.err = readClaim(j.fields[place].value)
		if j.tooLarge && s.err == nil {
			s.err = flaw{Unacceptable, "the header is too large to be judged"}
		}
		if s.err == nil {
			j.bodies.want(s.bodyForm, s.length)
		}
		j.claims = append(j.claims, s)
	}
}

// Verdict ends the message and judges it. The context bounds how long the DNS may take.
func (j *Judgement) Verdict(ctx context.Context, resolver Resolver, now time.Time) Verdict {
	j.endHeader()
	j.bodies.end()
	dns := &budget{Resolver: resolver}
	dns.left.Store(maxLookups)

	v := Verdict{Unread: j.unread, DKIM: make([]Signature, len(j.claims))}
	// Both wait for the DNS, so they wait at the same time.
	fault := make(chan any, 1)
	go func() {
		defer func() { fault <- recover() }()
		v.SPF = judgeSPF(ctx, dns, j.envelope)
	}()
	j.judgeDKIM(ctx, dns, now, v.DKIM)
	if fault := <-fault; fault != nil {
		panic(fault) // here, where the caller can catch it
	}
	v.DMARC = judgeDMARC(ctx, dns, j.from(), v)
	return v
}

// Size is about how many octets are kept of the message.
func (j *Judgement) Size() int { return min(j.size, maxKept) }

// from are the values of the From fields.
func (j *Judgement) from() []string {
	var values []string
	for _, place := range j.places["from"] {
		values = append(values, j.fields[place].value)
	}
	return values
}
